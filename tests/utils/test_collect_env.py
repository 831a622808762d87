import torch

from det2lite.utils.collect_env import collect_env_info


def test_the_report_names_versions_and_settings(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/some/where")
    report = collect_env_info()
    for word in (torch.__version__, "det2lite", "hotcoco", "torchvision", "RAM", "/some/where"):
        assert word in report
