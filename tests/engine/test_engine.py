import importlib

import pytest

import det2lite.engine


def test_every_name_is_there():
    namespace = {}
    exec("from det2lite.engine import *", namespace)
    assert set(det2lite.engine.__all__) <= namespace.keys()
    assert set(det2lite.engine.__all__) <= set(dir(det2lite.engine))


def test_launch_stays_the_function_when_its_module_is_imported():
    module = importlib.import_module("det2lite.engine.launch")
    assert det2lite.engine.launch is module.launch


def test_familiar_paths():
    for path, name in [("defaults", "DefaultTrainer"), ("train_loop", "SimpleTrainer"), ("hooks", "HookBase")]:
        module = importlib.import_module(f"det2lite.engine.{path}")
        assert getattr(module, name) is getattr(det2lite.engine, name)


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = det2lite.engine.nothing
