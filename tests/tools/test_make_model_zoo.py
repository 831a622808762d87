import re
from pathlib import Path

import make_model_zoo as tool
import pytest
from written_page import write_or_check

from det2lite.model_zoo.model_zoo import config_names

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_up_to_date():
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run: python tools/make_model_zoo.py"


def test_all_configs_and_published_checkpoints_are_there():
    links = set(re.findall(r"\]\(([^)]+)\)", tool.page()))
    assert {f"configs/{name}" for name in config_names()} <= links
    assert all((ROOT / link).is_file() for link in links if not link.startswith(("https://", "#")))
    files = tool.read("checkpoints.json")["config_to_suffix"]
    assert len(files) == 64
    for name, suffix in files.items():
        assert f"https://dl.fbaipublicfiles.com/detectron2/{name}/{suffix}" in links


@pytest.mark.parametrize(
    "name, cells",
    [
        (
            "mask_rcnn_R_50_FPN_3x",
            ["3x", "0.261", "0.043", "3.4", "41.0", "37.2", "137849600/[model_final_f10217.pkl]"],
        ),
        ("keypoint_rcnn_R_101_FPN_3x", ["3x", "0.390", "0.076", "6.1", "56.4", "66.1"]),
        ("panoptic_fpn_R_50_1x", ["1x", "0.304", "0.053", "4.8", "37.6", "34.7", "39.4"]),
        ("rpn_R_50_FPN_1x", ["1x", "0.186", "0.032", "2.7", "", "58.0"]),
        ("faster_rcnn_R_50_C4", ["0.537", "0.081", "4.8", "51.9", "80.3"]),
        ("mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ", ["400", "0.487", "0.072", "48.2", "43.3"]),
        ("mask_rcnn_shapes", ["shapes_val", "680", "83.2", "78.7"]),
    ],
)
def test_numbers(name, cells):
    rows = [line for line in tool.page().splitlines() if re.match(rf"\| (\[{name}\]|{name} )", line)]
    assert any(" | ".join(["", *cells]) in re.sub(r"\(http[^)]*\)", "", row) for row in rows)


def test_results_are_of_published_checkpoints():
    results = tool.read("published_results.json")
    assert set(results) <= set(tool.read("checkpoints.json")["config_to_suffix"]) and len(results) == 61
    assert {column for row in results.values() for column in row} == set(tool.COLUMNS)


def test_stale_page_is_an_exit_status(tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["make_model_zoo.py", *words])
        return write_or_check(tmp_path / "MODEL_ZOO.md", tool.page(), tool.__doc__)

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0 and "up to date" in capsys.readouterr().out
