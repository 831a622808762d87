import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("det2lite_json_results", ROOT / "tools" / "visualize_json_results.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def data_set(tmp_path):
    """Two grey images of 50 x 60 pixels, one object on the first."""
    images = []
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"im{i}.png"), np.full((50, 60, 3), 90, np.uint8))
        images.append({"id": i, "file_name": f"im{i}.png", "height": 50, "width": 60})
    truth = {"id": 1, "image_id": 1, "category_id": 5, "iscrowd": 0, "bbox": [10, 10, 30, 30], "area": 900}
    categories = [{"id": 5, "name": "cell"}]
    content = {"images": images, "annotations": [truth], "categories": categories}
    (tmp_path / "data.json").write_text(json.dumps(content))
    register_coco_instances("json_results_test", {}, str(tmp_path / "data.json"), str(tmp_path))
    yield
    DatasetCatalog.remove("json_results_test")
    MetadataCatalog.remove("json_results_test")


def run(tmp_path, results, *arguments):
    path = tmp_path / "results.json"
    path.write_text(results if isinstance(results, str) else json.dumps(results))
    out = tmp_path / "out"
    tool.main(["--input", str(path), "--output", str(out), "--dataset", "json_results_test", *arguments])
    return {p.name: cv2.imread(str(p)).astype(int) for p in out.iterdir()}


def detection(image_id, score, box, **other):
    return {"image_id": image_id, "category_id": 5, "bbox": box, "score": score, **other}


def test_detections_left_ground_truth_right(data_set, tmp_path, capsys):
    results = [detection(2, 0.9, [5, 5, 40, 40]), detection(1, 0.3, [5, 5, 40, 40])]
    pictures = run(tmp_path, results)
    assert sorted(pictures) == ["1.jpg", "2.jpg"] and "2 pictures" in capsys.readouterr().out

    def drawn(picture):
        left, right = picture[:, :60], picture[:, 60:]
        return [bool((np.abs(half - 90) > 20).any()) for half in (left, right)]

    assert pictures["1.jpg"].shape == (50, 120, 3)
    assert drawn(pictures["1.jpg"]) == [False, True]  # the only detection scores too low
    assert drawn(pictures["2.jpg"]) == [True, False]
    again = run(tmp_path, results, "--conf-threshold", "0.2", "-n", "1")
    assert drawn(again["1.jpg"]) == [True, True] and "1 pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ("[{", "not JSON"),
        ({"annotations": []}, "not a list of detections"),
        ([{"id": 3}], "image_id"),
        ([detection(7, 0.9, [1, 2, 3, 4])], "no detection"),
        ([detection(1, 0.9, [1, 2, 3])], "cannot be read"),
        ([{**detection(1, 0.9, [1, 2, 3, 4]), "category_id": 77}], "no 77"),
        ([detection(1, 0.9, [1, 2, 3, 4], segmentation={"size": [2, 2], "counts": [4]})], "masks of"),
    ],
)
def test_bad_results(results, words, data_set, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, results)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and words in error and len(error.splitlines()) == 1


def test_other_mistakes(data_set, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, [], "--dataset", "json_result_test")
    assert "did you mean 'json_results_test'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(["--input", str(tmp_path / "none.json"), "--output", str(tmp_path)])
    assert "none.json" in capsys.readouterr().err
