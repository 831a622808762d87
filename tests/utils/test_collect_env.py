import re
import subprocess
import sys

import torch

from det2lite.utils import collect_env
from det2lite.utils.collect_env import collect_env_info, environment_table, optional_parts


def test_the_report_names_versions_and_settings(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/some/where")
    report = collect_env_info()
    for word in (torch.__version__, "det2lite", "hotcoco", "torchvision", "RAM", "/some/where"):
        assert word in report


def test_bfloat16_is_known_by_the_flags_of_the_processor(monkeypatch):
    for flags, fast in (
        (("avx2", "avx512_bf16"), True),
        (("amx_bf16",), True),
        (("avx2", "avx512f"), False),
        ((), False),
    ):
        monkeypatch.setattr(collect_env, "_processor", lambda flags=flags: ("a processor", set(flags)))
        assert collect_env.has_fast_bfloat16() is fast


def test_importing_the_report_imports_nothing_that_may_be_broken():
    code = "import sys, det2lite.utils.collect_env; assert not {'torch', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_libraries_that_are_installed_and_cannot_be_imported(monkeypatch):
    table = environment_table({"hotcoco": "ImportError: no such symbol", "torch": "OSError: libcudart.so.13"})
    assert re.search(r"hotcoco +[\d.]+, but its import fails: ImportError: no such symbol\n", table)
    assert re.search(r"PyTorch +.*, but its import fails: OSError: libcudart.so.13\n", table)
    assert "GPU" not in table and "fails" not in collect_env_info()
    parts = {part.purpose: part.missing for part in optional_parts({"onnx": "...", "torch": "..."})}
    assert "onnx, whose import fails" in parts["ONNX files"] and parts["training large models"] == ("a GPU",)
