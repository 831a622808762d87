"""The quick part: what stops a run, what is only a warning, and what is left alone."""

import copy
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from det2lite.config import get_cfg
from det2lite.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from det2lite.data.datasets import register_coco_instances
from det2lite.data.preflight import FaultyDataset, samples
from det2lite.data.preflight.samples import check_samples
from det2lite.structures import BoxMode

sys.path.insert(0, str(Path(__file__).parent))
import planted  # noqa: E402

NAME = "preflight_planted"
BOXES = [[3, 5, 20, 25], [30, 5, 20, 25], [40.5, 20, 15, 20], [35, 25, 20, 15]]


@pytest.fixture(autouse=True)
def catalogs(monkeypatch):
    monkeypatch.setattr(samples, "_already_logged", set())
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop(NAME, None)


def dicts(folder, count=4):
    """Samples in the standard format, each with two objects."""
    planted.write(folder)
    found = []
    for i in range(1, count + 1):
        sample = {"file_name": str(folder / f"im {i}.png"), "height": 48, "width": 64, "image_id": i, "annotations": []}
        for x in (3, 30):
            polygon = [x, 5, x + 20, 5, x + 20, 30, x, 30]
            annotation = {"bbox": [x, 5, 20, 25], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
            sample["annotations"].append({**annotation, "segmentation": [polygon], "keypoints": [x, 9, 2]})
        found.append(sample)
    return found


def kinds(found):
    return {one.first.kind: (one.count, one.stops) for one in found}


def everything(found):
    return check_samples(found, masks=True, keypoints=True, class_count=1)


def test_right_samples(tmp_path):
    right = dicts(tmp_path)
    assert everything(right) == [] and everything([]) == []
    for sample in right:  # other kinds that Detectron2 takes
        first, second = sample["annotations"]
        first.update(bbox=np.array([3, 5, 23, 30.0]), bbox_mode=BoxMode.XYXY_ABS, segmentation=[np.arange(8.0)])
        second.update(bbox=[20, 20, 10, 5, 30], bbox_mode=BoxMode.XYWHA_ABS, segmentation=np.zeros((48, 64), bool))
        sample.pop("height"), sample.pop("image_id")
    assert everything(right) == []
    assert check_samples([{"file_name": right[0]["file_name"]}], masks=True) == []


CHANGES = {
    "negative-box": ({"bbox": [3, 5, -1, 25]}, False),
    "empty-box": ({"bbox": [3, 5, 0, 25]}, False),
    "box-outside": ({"bbox": [70, 5, 10, 25]}, False),
    "box-beyond-edge": ({"bbox": [3, 5, 80, 25]}, False),
    "not-a-number": ({"bbox": [3, 5, float("nan"), 25]}, False),
    "unknown-category": ({"category_id": 1}, True),
    "missing-segmentation": ({"segmentation": None}, True),
    "short-polygon": ({"segmentation": [[1, 2, 3, 4]]}, True),
    "odd-polygon": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, True),
    "rle-size": ({"segmentation": {"size": [64, 48], "counts": ""}}, True),
    "keypoint-length": ({"keypoints": [1, 2, 2, 4, 5, 2]}, True),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind(kind, tmp_path):
    found = dicts(tmp_path)
    change, stops = CHANGES[kind]
    found[2]["annotations"][1].update(change)
    (only,) = everything(found)
    assert kinds([only]) == {kind: (1, stops)} and only.first.image_id == 3
    found[2]["annotations"][1]["iscrowd"] = 1  # crowds are not learnt
    assert everything(found) == []


def test_what_the_model_does_not_learn_does_not_matter(tmp_path):
    found = dicts(tmp_path)
    found[0]["annotations"][0].update(segmentation=None, keypoints=[1], category_id=7)
    assert check_samples(found) == []


def test_missing_file(tmp_path):
    found = dicts(tmp_path)
    (tmp_path / "im 3.png").unlink()
    assert kinds(check_samples(found)) == {"missing-image": (1, True)}
    many = [{"file_name": str(tmp_path / f"no {i}.png")} for i in range(60)]  # so many that the folder is listed
    assert kinds(check_samples([*found, *many])) == {"missing-image": (61, True)}
    assert check_samples([{"file_name": "https://nowhere/1.png"}]) == []


@pytest.mark.parametrize(
    "convert", [list, lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]], lambda b: [v / 64 for v in b]]
)
@pytest.mark.parametrize("crowded", [0, 1])
def test_the_beginning_of_many_samples_decides_only_where_all_would_say_the_same(tmp_path, convert, crowded):
    one = {"file_name": "no.png", "height": 48, "width": 64}
    annotations = [{"bbox": convert(b), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0} for b in BOXES]
    many = [{**one, "annotations": annotations} for _ in range(samples.MANY_SAMPLES)]
    assert samples._beginning_tells(many) == (convert is list)
    stops = [*samples.check_layout(samples.SampleColumns(many))]
    assert bool(stops) == (convert is not list)
    # right boxes at the beginning only, all others as corners: fewer than 99 % fit as corners, or more
    right = [{**one, "annotations": [{"bbox": [30.0, 20, 9, 9], "bbox_mode": 1, "category_id": 0}] * (1 + crowded)}]
    mixed = right * (samples.MANY_SAMPLES // 100 * 2) + many[: -samples.MANY_SAMPLES // 100 * 2]
    if samples._beginning_tells(mixed):
        assert not [*samples.check_layout(samples.SampleColumns(mixed))]
    assert not samples._beginning_tells(many[:-1])  # few are looked at whole


def test_class_numbers_beyond_all(tmp_path):
    found = dicts(tmp_path)
    found[2]["annotations"][1]["category_id"] = 10**30
    assert kinds(everything(found)) == {"unknown-category": (1, True)}
    found[2]["annotations"][1]["category_id"] = np.int32(7)
    assert kinds(everything(found)) == {"unknown-category": (1, True)}


def config(**model):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.MODEL.update(model)
    return cfg


def test_a_run_stops_with_one_line(tmp_path):
    data = planted.content()
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    path = planted.write(tmp_path, data)
    register_coco_instances(NAME, {}, path, tmp_path)
    for build in (build_detection_train_loader, lambda cfg: build_detection_test_loader(cfg, NAME)):
        with pytest.raises(FaultyDataset, match="xyxy-boxes: 6 of 18 boxes") as caught:
            build(config())
        text = str(caught.value)
        assert text.endswith(f"all findings: det2lite check {path} --images {tmp_path}") and "\n" not in text


def test_loaders_stop_on_missing_images_unless_the_mapper_is_ones_own(tmp_path):
    register_coco_instances(NAME, {}, planted.write(tmp_path), tmp_path)
    (tmp_path / "im 3.png").unlink()
    for build in (build_detection_train_loader, lambda cfg: build_detection_test_loader(cfg, NAME)):
        with pytest.raises(FaultyDataset, match=r"missing-image: image 3 \(.*im 3.png\)"):
            build(config())
    build_detection_train_loader(config(), mapper=lambda sample: sample)
    build_detection_test_loader(config(), NAME, mapper=lambda sample: sample)


def test_warnings_come_once(tmp_path, caplog):
    data = planted.content()
    planted.annotation_of(data, 21).update(bbox=[70, 5, 3, 3])
    planted.annotation_of(data, 22).update(bbox=[70, 5, 3, 3])
    register_coco_instances(NAME, {}, planted.write(tmp_path, data), tmp_path)
    with caplog.at_level(logging.WARNING, "det2lite"):
        for _ in range(2):
            build_detection_train_loader(config())
    (record,) = [r for r in caplog.records if "preflight" in r.name]
    assert "2 x box-outside: image 2" in record.message and "det2lite check" in record.message


def test_a_set_without_masks_for_a_model_with_masks(tmp_path):
    data = planted.content()
    for annotation in data["annotations"]:
        annotation.pop("segmentation")
    register_coco_instances(NAME, {}, planted.write(tmp_path, data), tmp_path)
    build_detection_train_loader(config())
    with pytest.raises(FaultyDataset, match=r"18 x missing-segmentation.*MODEL.MASK_ON is True"):
        build_detection_train_loader(config(MASK_ON=True))


def test_samples_of_other_kinds_are_left_alone(tmp_path):
    strange = [{"file_name": 3, "annotations": [{"bbox": "a", "bbox_mode": None}]}, {"annotations": None}]
    DatasetCatalog.register(NAME, lambda: copy.deepcopy(strange))
    assert len(get_detection_dataset_dicts(NAME, filter_empty=False, check_consistency=False)) == 2
    DatasetCatalog.pop(NAME)
    DatasetCatalog.register(NAME, lambda: [1, 2])
    build_detection_train_loader([1, 2], mapper=None, total_batch_size=1, aspect_ratio_grouping=False)


def test_shapes_pass():
    loaded = DatasetCatalog.get("shapes_train")
    count = len(MetadataCatalog.get("shapes_train").thing_classes)
    assert [*samples.check_layout(samples.SampleColumns(loaded))] == []
    assert check_samples(loaded, masks=True, keypoints=True, class_count=count) == []


def test_json_of_findings_is_json(tmp_path):
    (only,) = check_samples([{"file_name": str(tmp_path / "none.png"), "image_id": 4}])
    assert json.dumps([only.first.kind, only.first.message, only.first.image_id])
