import importlib
import logging
import subprocess
import sys
from types import ModuleType

import pytest

from det2lite import compat
from det2lite.utils.errors import UserError


@pytest.fixture
def alias():
    compat.install()
    yield
    compat.uninstall()


def test_modules_are_the_same_objects_under_both_names(alias):
    import detectron2
    import detectron2.utils.registry as theirs
    from detectron2.config import CfgNode
    from detectron2.config.config import CfgNode as the_same

    import det2lite
    import det2lite.utils.registry as ours

    assert detectron2 is det2lite and theirs is ours and CfgNode is the_same is det2lite.config.CfgNode
    for name in ("utils", "utils.registry", "config", "config.config"):
        assert sys.modules[f"detectron2.{name}"] is sys.modules[f"det2lite.{name}"]
    assert ours.__name__ == ours.__spec__.name == "det2lite.utils.registry"  # nothing of it was changed

    import detectron2.utils.develop as small  # whose classes nobody else holds

    assert importlib.reload(small) is det2lite.utils.develop


def test_functions_named_like_their_module_stay_functions(alias):
    import detectron2.engine.launch as module
    from detectron2.engine import launch

    import det2lite.engine

    assert launch is det2lite.engine.launch is sys.modules["det2lite.engine.launch"].launch
    assert module is launch and importlib.import_module("detectron2.engine.launch").DEFAULT_TIMEOUT


def test_registries_and_loggers_are_shared(alias, caplog):
    from detectron2.data import transforms as T
    from detectron2.modeling import META_ARCH_REGISTRY, build_model
    from detectron2.modeling.backbone.build import BACKBONE_REGISTRY

    from det2lite import modeling

    assert META_ARCH_REGISTRY is modeling.META_ARCH_REGISTRY and BACKBONE_REGISTRY is modeling.BACKBONE_REGISTRY
    assert build_model is modeling.build_model and T is sys.modules["det2lite.data.transforms"]
    assert logging.getLogger("detectron2.modeling") is logging.getLogger("det2lite.modeling")
    with caplog.at_level("INFO", logger="detectron2"):
        logging.getLogger("det2lite").info("written once")
    assert [record.message for record in caplog.records] == ["written once"]


def test_what_is_not_there_is_named(alias):
    with pytest.raises(ModuleNotFoundError, match="'detectron2.modeling.roi_head' .*there is 'roi_heads'") as raised:
        importlib.import_module("detectron2.modeling.roi_head")
    assert raised.value.name == "detectron2.modeling.roi_head" and "\n" not in str(raised.value)
    with pytest.raises(ModuleNotFoundError, match="'detectron2.projects'"):
        importlib.import_module("detectron2.projects.point_rend")
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from detectron2.config import no_such_name")
    with pytest.raises(ModuleNotFoundError, match="No module named 'detectron3'"):
        importlib.import_module("detectron3")


def test_installing_twice_and_uninstalling(alias):
    finders = list(sys.meta_path)
    compat.install()
    assert sys.meta_path == finders
    importlib.import_module("detectron2.config")
    compat.uninstall()
    assert not [name for name in sys.modules if name.startswith("detectron2")]
    with pytest.raises(ModuleNotFoundError, match="No module named 'detectron2'"):
        importlib.import_module("detectron2")


def test_an_installed_detectron2_is_left_aside_with_a_warning(tmp_path, monkeypatch, caplog):
    package = tmp_path / "detectron2" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise AssertionError('this one is not to be used')")
    monkeypatch.syspath_prepend(tmp_path)
    compat.install()
    try:
        assert importlib.import_module("detectron2").__name__ == "det2lite"
    finally:
        compat.uninstall()
    assert [str(package) in record.message for record in caplog.records] == [True]


def test_an_imported_detectron2_is_an_error(monkeypatch):
    loaded = ModuleType("detectron2")
    monkeypatch.setitem(sys.modules, "detectron2", loaded)
    with pytest.raises(UserError, match="already imported"):
        compat.install()
    assert importlib.import_module("detectron2") is loaded


def test_importing_the_package_is_light_and_does_nothing():
    code = (
        "import sys, det2lite.compat; before = list(sys.meta_path); det2lite.compat.install();"
        "print({'torch', 'numpy', 'yacs', 'detectron2'} & set(sys.modules), len(sys.meta_path) - len(before))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set() 1"
