import json
import os
import shutil

import cv2
import numpy as np
import pytest

from det2lite.utils.safe_pickle import load_pickle


def read_json(path):
    with open(path) as file:
        return json.load(file)


@pytest.fixture(scope="module")
def final(trained):
    return trained / "model_final.pth"


def test_weights_alone_are_enough(det2lite, final):
    shown = det2lite("eval", "--weights", final, "--out", "found.json", "--show-dir", "pictures", "--min-score", "0")
    assert "Task: bbox" in shown and "Task: segm" in shown and "pictures: pictures" in shown
    found = read_json("found.json")
    assert {entry["image_id"] for entry in found} == {1, 2}
    assert {entry["category_id"] for entry in found} <= {1, 2, 4, 5, 7} and "segmentation" in found[0]
    assert sorted(os.listdir(".")) == ["found.json", "pictures"]  # and nothing else
    image = cv2.imread(str(final.parent.parent / "coco/val/000001.png"))
    picture = cv2.imread("pictures/000001.jpg")
    assert picture.shape == (image.shape[0], 2 * image.shape[1], 3) and len(os.listdir("pictures")) == 2


def test_batches_find_what_single_images_do(det2lite, final):
    det2lite("eval", "--weights", final, "--out", "one.json", "--eval", "bbox")
    det2lite("eval", "--weights", final, "--out", "two.json", "--batch", "2", "--eval", "bbox")

    def boxes(path):
        return np.array(
            sorted([e["image_id"], e["category_id"], round(e["score"], 5), *e["bbox"]] for e in read_json(path))
        )

    np.testing.assert_allclose(boxes("one.json"), boxes("two.json"), atol=1e-3)


def test_a_pickle_and_tables(det2lite, final):
    words = ["--out", "found.pkl", "--output", "tables", "--eval", "bbox", "TEST.DETECTIONS_PER_IMAGE", "100"]
    shown = det2lite("eval", "--weights", final, *words)
    assert "Task: bbox" in shown and "Task: segm" not in shown
    kept = load_pickle("found.pkl")
    assert kept["class_names"] == ["circle", "rectangle", "triangle", "star", "cross"]
    assert kept["category_ids"] == [1, 2, 4, 5, 7] and [image["image_id"] for image in kept["images"]] == [1, 2]
    image = kept["images"][0]
    assert image["boxes"].shape == (len(image["scores"]), 4) and len(image["masks"]) == len(image["classes"])
    results = read_json("tables/evaluation.json")
    assert 0 <= results["bbox/AP50"] <= 100 and "segm/AP" not in results
    assert {"log.txt", "coco_instances_results.json"} <= set(os.listdir("tables"))


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc", "coco/annotations/instances_val.json"])
def test_other_data(det2lite, final, shapes, layout):
    data = shapes / layout
    if layout.endswith(".json"):
        shutil.copytree(shapes / "coco" / "val", "val")
        shutil.copy(data, "instances_val.json")
        data = "instances_val.json"
    shown = det2lite("eval", "--weights", final, "--data", data, "--eval", "bbox")
    assert "Start inference on 2 batches" in shown and "Task: bbox" in shown and not os.path.exists("converted")


def test_bare_images(det2lite, final, shapes):
    shown = det2lite("eval", "--weights", final, "--data", shapes / "photos", "--format-only", "--out", "found.json")
    assert "Task:" not in shown and "2 images without annotations" in shown
    files = read_json("found_files/images.json")
    assert [image["file_name"] for image in files["images"]] == ["000001.png", "000002.png"]
    assert [category["id"] for category in files["categories"]] == [1, 2, 4, 5, 7]
    det2lite("eval", "--weights", final, "--out", "judged.json")
    assert read_json("found.json") == read_json("judged.json")


def test_data_of_which_nothing_is_annotated(det2lite, final, shapes, tmp_path):
    content = read_json(shapes / "coco/annotations/instances_val.json")
    for name, annotations in (("bare", {"annotations": []}), ("server", {})):
        shutil.copytree(shapes / "coco" / "val", tmp_path / name)
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"images": content["images"], "categories": content["categories"], **annotations})
        )
    words = ["eval", "--weights", final, "--data"]
    error = det2lite(*words, "bare.json", status=1)
    assert "none of its 2 images has an annotation" in error and "--format-only" in error
    assert len(error.splitlines()) == 1
    det2lite(*words, "bare.json", "--format-only", "--out", "found.json")
    shown = det2lite(*words, "server.json", "--output", "tables")  # as COCO's test-dev: for somebody else to judge
    assert "Annotations are not available for evaluation" in shown and "Task:" not in shown
    assert read_json("tables/coco_instances_results.json") == read_json("found.json")


def test_a_run_that_was_moved(det2lite, shapes):
    words = ["--data", shapes / "yolo", "--model", shapes / "tiny.yaml", "--batch", "2", "--epochs", "1"]
    det2lite("train", *words, "--output", "run", "MODEL.MASK_ON", "False")
    os.rename("run", "elsewhere")
    assert "Task: bbox" in det2lite("eval", "--weights", "elsewhere/model_final.pth")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which model?"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--weights", "{final}", "--format-only"], "give --out FILE"),
        (["--weights", "{final}", "--format-only", "--out", "a.json", "--eval", "bbox"], "leave out --eval"),
        (["--weights", "{final}", "--out", "a.txt"], ".json, .pkl"),
        (["--weights", "{final}", "--out", "{final}"], "one of these endings"),
        (["--weights", "{final}", "--output", "{folder}"], "is there already"),
        (["--weights", "{final}", "--out", "{final}/found.json"], "one may write to); give another --out"),
        (["--weights", "{final}", "--show-dir", "{final}/x/y"], "give another --show-dir"),
        (["--weights", "{final}", "--output", "{final}/x"], "give another --output"),
        (["--weights", "{final}", "--batch", "0"], "TEST.BATCH_SIZE"),
        (["--weights", "{final}", "--eval", "bbox", "keypoints"], "MODEL.KEYPOINT_ON is False"),
        (["--weights", "{final}", "--eval", "bbox", "sgem"], "did you mean 'segm'"),
        (["--weights", "{final}", "--data", "{shapes}/photos"], "--format-only"),
        (["--weights", "{final}", "--data", "{shapes}/nothing"], "no such folder"),
        (["--weights", "{final}", "DATASETS.TEST", "('coco_2017_vall',)"], "coco_2017_val"),
    ],
)
def test_mistakes_are_one_line(det2lite, final, shapes, words, message):
    words = [word.format(final=final, folder=final.parent, shapes=shapes) for word in words]
    error = det2lite("eval", *words, status=1)
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1


def test_other_classes_in_another_layout_are_shown_side_by_side(det2lite, final, shapes, tmp_path):
    shutil.copytree(shapes / "voc", tmp_path / "cells")
    for path in (tmp_path / "cells").rglob("*.*"):
        if path.suffix in (".xml", ".txt"):  # annotations, and the list of classes
            path.write_text(path.read_text().replace("circle", "disc"))
    error = det2lite("eval", "--weights", final, "--data", "cells", status=1)
    rows = [line.split() for line in error.splitlines()]
    assert ["the", "model", str(tmp_path / "cells")] in rows
    assert any(row[0] == "*" and "disc" in row for row in rows) and any("circle" in row for row in rows)


def test_other_classes_are_refused(det2lite, final, shapes, tmp_path):
    content = read_json(shapes / "coco/annotations/instances_val.json")
    content["categories"].reverse()
    content["categories"] = [c | {"name": f"{c['name']}s"} for c in content["categories"]]
    shutil.copytree(shapes / "coco/val", tmp_path / "cells/val")
    (tmp_path / "cells" / "val.json").write_text(json.dumps(content))
    error = det2lite("eval", "--weights", final, "--data", "cells", status=1)
    assert "its classes are not those of data set 'own_cells'" in error and "circles" in error
