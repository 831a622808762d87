"""From names of data sets to their samples: filters, class counts, proposals."""

import pickle

import numpy as np
import pytest

from det2lite.data.gather import (
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, UserError


def annotation(category_id=0, **more):
    return {"bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": category_id, **more}


def sample(i, annotations=None):
    annotations = [annotation()] if annotations is None else annotations
    return {"file_name": f"{i}.jpg", "image_id": i, "width": 20, "height": 10, "annotations": annotations}


SAMPLES = [sample(i) for i in range(5)]


def test_filters(register):
    crowd = annotation(iscrowd=1)
    points = annotation(keypoints=[1, 1, 2, 0, 0, 0, 3, 3, 1])
    register("d", [sample(0, []), sample(1, [crowd]), sample(2), sample(3, [crowd, points])], thing_classes=["a"])

    def kept(**kwargs):
        return [d["image_id"] for d in get_detection_dataset_dicts("d", **kwargs)]

    assert kept() == [2, 3]
    assert kept(filter_empty=False) == [0, 1, 2, 3]
    assert kept(min_keypoints=2) == [3]
    with pytest.raises(UserError, match="none of the 4 images"):
        kept(min_keypoints=3)


def test_several_data_sets(register):
    register("a", SAMPLES[:2], thing_classes=["x"])
    register("b", SAMPLES[2:4], thing_classes=["x"])
    register("c", SAMPLES[4:5], thing_classes=["y"])
    assert get_detection_dataset_dicts(["a", "b"]) == SAMPLES[:4]
    with pytest.raises(ValueError, match="'a' and 'c' cannot be used together"):
        get_detection_dataset_dicts(("a", "c"))
    assert len(get_detection_dataset_dicts(("a", "c"), check_consistency=False)) == 3


def test_nothing_to_train_on(register):
    register("empty", [], thing_classes=["a"])
    register("crowds", [sample(0, [annotation(iscrowd=1)])], thing_classes=["a"])
    for names, words in (("empty", "'empty' is empty"), ("crowds", "none of the 1 images"), ([], "no data set")):
        with pytest.raises(UserError, match=words):
            get_detection_dataset_dicts(names)
    with pytest.raises(KeyError, match="did you mean 'empty'"):
        get_detection_dataset_dicts("empti")


def test_histogram(caplog):
    caplog.set_level("INFO")
    samples = [sample(0, [annotation(1), annotation(1), annotation(0, iscrowd=1)]), sample(1, [])]
    print_instances_class_histogram(samples, ["cat", "dog"])
    row = [cell.strip() for cell in caplog.text.splitlines()[-1].split("|")]
    assert row[1:7] == ["cat", "0", "dog", "2", "total", "2"]
    print_instances_class_histogram([], ["cat"])
    with pytest.raises(UserError, match="0.jpg: category_id 2 in a data set of 2 classes"):
        print_instances_class_histogram([sample(0, [annotation(2)])], ["cat", "dog"])


@pytest.mark.parametrize("old_names", [False, True])
def test_proposals(tmp_path, register, old_names):
    path = tmp_path / "proposals.pkl"
    boxes = [np.array([[0, 0, 1, 1], [2, 2, 3, 3]], dtype=np.float32), np.zeros((0, 4), dtype=np.float32)]
    logits = [np.array([0.1, 0.9], dtype=np.float32), np.zeros(0, dtype=np.float32)]
    names = ("indexes", "scores") if old_names else ("ids", "objectness_logits")
    data = {names[0]: [1, "2"], "boxes": boxes, names[1]: logits, "bbox_mode": BoxMode.XYWH_ABS if old_names else 1}
    path.write_bytes(pickle.dumps(data))
    first, second = load_proposals_into_dataset([sample(1), sample(2)], str(path))
    assert first["proposal_boxes"].tolist() == [[2, 2, 3, 3], [0, 0, 1, 1]]
    assert first["proposal_objectness_logits"].tolist() == [np.float32(0.9), np.float32(0.1)]
    assert first["proposal_bbox_mode"] == BoxMode.XYWH_ABS
    assert second["proposal_boxes"].shape == (0, 4)
    with pytest.raises(UserError, match="no proposals for image 3"):
        load_proposals_into_dataset([sample(3)], str(path))
    short = tmp_path / "short.pkl"
    short.write_bytes(pickle.dumps({**data, "boxes": boxes[:1]}))
    with pytest.raises(UserError, match=r"short\.pkl: 2 ids, 1 arrays of boxes, 2 of logits"):
        load_proposals_into_dataset([sample(1)], str(short))
    register("d", [sample(1)], thing_classes=["a"])
    assert "proposal_boxes" in get_detection_dataset_dicts("d", proposal_files=[str(path)])[0]
    with pytest.raises(BadValue, match="1 data sets but 0 proposal files"):
        get_detection_dataset_dicts("d", proposal_files=[])


def test_wrong_proposal_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pkl"):
        load_proposals_into_dataset([], str(tmp_path / "none.pkl"))
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps({"ids": []}))
    with pytest.raises(BadValue, match="needs the entries"):
        load_proposals_into_dataset([], str(path))
