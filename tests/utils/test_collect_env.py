import torch

from det2lite.utils import collect_env
from det2lite.utils.collect_env import collect_env_info


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
