import json

import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from det2lite.data.datasets import coco_rows, register_coco_instances
from det2lite.data.preflight.truth import (
    MissingTruth,
    not_annotated,
    stop_on_missing_truth,
    stop_on_no_annotations,
)
from det2lite.data.sample_store import StoredSamples, stored_rows
from det2lite.utils.errors import UserError

BOXES = {"file_name": "a.jpg", "height": 4, "width": 4, "image_id": 1, "annotations": []}
MAP = {"file_name": "b.jpg", "height": 4, "width": 4, "image_id": 2, "sem_seg_file_name": "b.png"}
SEGMENTS = {**MAP, "pan_seg_file_name": "c.png", "segments_info": []}
BOTH = {**BOXES, **MAP}


@pytest.mark.parametrize(
    ("architecture", "samples"),
    [
        ("GeneralizedRCNN", [BOXES, BOTH]),
        ("RetinaNet", [BOXES]),
        ("SemanticSegmentor", [MAP, SEGMENTS]),
        ("PanopticFPN", [BOTH]),
        ("SomebodysModel", [{}]),
        ("PanopticFPN", []),
    ],
)
def test_nothing_is_missing(architecture, samples):
    stop_on_missing_truth(["set"], samples, architecture)


@pytest.mark.parametrize(
    ("architecture", "samples", "message"),
    [
        ("PanopticFPN", [BOXES], "data set 'one' [+] 'two': image a.jpg has no 'sem_seg_file_name', .* load_sem_seg"),
        ("PanopticFPN", [BOTH, SEGMENTS], "image b.jpg has no 'annotations', .* datasets/panoptic_to_instances.py"),
        ("FCOS", [BOXES, MAP], "image b.jpg has no 'annotations', which FCOS learns from; give it the list"),
        ("ProposalNetwork", [MAP], "no 'annotations', which ProposalNetwork learns from"),
        ("SemanticSegmentor", [BOXES], "no 'sem_seg_file_name', which SemanticSegmentor learns from"),
    ],
)
def test_what_is_missing_is_named(architecture, samples, message):
    with pytest.raises(MissingTruth, match=message) as error:
        stop_on_missing_truth(["one", "two"], samples, architecture)
    assert isinstance(error.value, UserError) and "\n" not in str(error.value)


def test_samples_on_disk_stay_there():
    samples = StoredSamples([BOXES, BOXES])
    stop_on_missing_truth(["set"], samples, "GeneralizedRCNN")
    with pytest.raises(MissingTruth, match="image a.jpg has no 'sem_seg_file_name'"):
        stop_on_missing_truth(["set"], samples, "PanopticFPN")
    assert stored_rows(samples) is not None, "none was made into a dict of the list's"


def test_panoptic_fpn_on_segments_alone_stops_before_a_model_is_built(register, tmp_path):
    path = tmp_path / "b.png"
    Image.new("RGB", (4, 4)).save(path)
    sample = SEGMENTS | {"file_name": str(path), "sem_seg_file_name": str(path), "pan_seg_file_name": str(path)}
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.DATASETS.TRAIN = (register("det2lite_test_segments", [sample]),)
    with pytest.raises(MissingTruth, match="data set 'det2lite_test_segments': image .*b.png has no 'annotations'"):
        build_detection_train_loader(cfg)
    # a mapper of one's own may make instances of the segments
    assert build_detection_train_loader(cfg, mapper=lambda sample: sample) is not None


CROWD = {"iscrowd": 1, "bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("samples", "annotated"),
    [
        ([BOXES, BOXES | {"annotations": [CROWD]}], False),
        ([MAP], False),
        ([BOXES | {"annotations": None}], False),
        ([BOXES, BOXES | {"annotations": [CROWD, {"bbox": [0, 0, 1, 1]}]}], True),
        ([], True),  # an empty data set is another error
        ([1, 2], True),  # a mapper of one's own makes something of these
        (torch.utils.data.TensorDataset(torch.zeros(2)), True),
    ],
)
def test_samples_that_nothing_can_be_compared_with(register, samples, annotated):
    message = not_annotated(register("det2lite_test_bare", samples), samples)
    expected = f"data set 'det2lite_test_bare': none of its {len(samples)} images has an annotation to compare with"
    assert message == ("" if annotated else expected)
    if not annotated:
        with pytest.raises(MissingTruth, match="all be nan; give data with annotations, or --format-only"):
            stop_on_no_annotations("det2lite_test_bare", samples)


def test_data_sets_that_are_judged_by_their_maps_need_no_annotations(register):
    name = register("det2lite_test_maps", [MAP])
    MetadataCatalog.get(name).evaluator_type = "sem_seg"
    assert not_annotated(name, [MAP]) == ""


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("annotations", [None, [], [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}]])
def test_files_without_a_list_of_annotations_are_for_a_server(tmp_path, monkeypatch, annotations, stored):
    monkeypatch.setenv("DET2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_rows, "MIN_BYTES", 0 if stored else 1 << 60)
    image = {"id": 1, "file_name": "a.png", "height": 4, "width": 4}
    content = {"images": [image], "categories": [{"id": 1, "name": "a"}]}
    if annotations is not None:
        content["annotations"] = annotations
    (tmp_path / "a.json").write_text(json.dumps(content))
    register_coco_instances("det2lite_test_server", {}, str(tmp_path / "a.json"), str(tmp_path))
    try:
        samples = DatasetCatalog.get("det2lite_test_server")
        assert (stored_rows(samples) is not None) == stored
        assert bool(not_annotated("det2lite_test_server", samples)) == (not annotations)
        if annotations == []:
            with pytest.raises(MissingTruth):
                stop_on_no_annotations("det2lite_test_server", samples)
        else:
            stop_on_no_annotations("det2lite_test_server", samples)
    finally:
        DatasetCatalog.pop("det2lite_test_server")
        MetadataCatalog.pop("det2lite_test_server")
