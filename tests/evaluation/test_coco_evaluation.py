import json
import math
import pickle

import numpy as np
import pytest
import torch

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances
from det2lite.evaluation import COCOEvaluator, build_evaluator, inference_on_dataset
from det2lite.evaluation.coco_evaluation import instances_to_coco_json
from det2lite.structures import Boxes, BoxMode, Instances
from det2lite.utils.errors import BadValue, UnknownName

NAME = "det2lite_test_evaluation"
# category ids 20 and 10: contiguous 1 and 0
CATEGORIES = [{"id": 20, "name": "dog"}, {"id": 10, "name": "cat"}]
SQUARE = [[10, 10, 60, 10, 60, 60, 10, 60]]


def annotation(id, image_id, category_id):
    box = {"bbox": [10, 10, 50, 50], "area": 2500, "segmentation": SQUARE}
    return {"id": id, "image_id": image_id, "category_id": category_id, "iscrowd": 0, **box}


def content():
    images = [{"id": i, "height": 80, "width": 90, "file_name": f"{i}.jpg"} for i in (5, 9)]
    return {"images": images, "categories": CATEGORIES, "annotations": [annotation(1, 5, 10), annotation(2, 9, 10)]}


@pytest.fixture
def forget():
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.pop(NAME)


@pytest.fixture
def register(tmp_path, forget):
    def register(dataset):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(dataset))
        register_coco_instances(NAME, {}, str(path), str(tmp_path))
        MetadataCatalog.get(NAME).set(thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={10: 0, 20: 1})

    return register


def detections(boxes, classes, scores=None, masks=False):
    instances = Instances((80, 90))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores or [0.9] * len(boxes))
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if masks:
        instances.pred_masks = torch.zeros(len(boxes), 80, 90, dtype=torch.bool)
        instances.pred_masks[:, 10:60, 10:60] = True
    return {"instances": instances}


def run(evaluator, *outputs):
    batch = [{"image_id": i} for i in (5, 9)][: len(outputs)]
    return inference_on_dataset(lambda inputs: list(outputs), [batch] if batch else [], evaluator)


HIT, MISS = [10, 10, 60, 60], [70, 0, 85, 9]


def test_boxes_and_masks(register, tmp_path, caplog):
    register(content())
    out = tmp_path / "inference"
    evaluator = COCOEvaluator(NAME, output_dir=str(out))
    with caplog.at_level("INFO"):
        results = run(evaluator, detections([HIT], [0], masks=True), detections([MISS], [1], masks=True))
    # one of two cats is found: precision 1 up to recall 0.5, which are 51 of the 101 recall steps
    half = 51 / 101 * 100
    assert results["bbox"] | {"APs": 0, "APl": 0, "AP-dog": 0} == {
        "AP": pytest.approx(half),
        "AP50": pytest.approx(half),
        "AP75": pytest.approx(half),
        "APs": 0,
        "APm": pytest.approx(half),
        "APl": 0,
        "AP-cat": pytest.approx(half),
        "AP-dog": 0,
    }
    assert all(math.isnan(results["bbox"][name]) for name in ("APs", "APl", "AP-dog"))
    assert results["segm"]["AP50"] == pytest.approx(half)  # the mask of the second image has the wrong class
    assert "| cat" in caplog.text and "nan" in caplog.text
    saved = json.loads((out / "coco_instances_results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in saved] == [
        (5, 10, [10, 10, 50, 50]),
        (9, 20, [70, 0, 15, 9]),
    ]
    predictions = torch.load(out / "instances_predictions.pth")
    assert [p["image_id"] for p in predictions] == [5, 9] and predictions[1]["instances"][0]["category_id"] == 1


def test_pycocotools_and_fewer_detections_and_chosen_images(register):
    register(content())
    outputs = detections([MISS, HIT], [0, 0], [0.9, 0.5]), detections([], [])
    slow, fast = (run(COCOEvaluator(NAME, use_fast_impl=flag), *outputs) for flag in (False, True))
    assert slow.keys() == fast.keys() == {"bbox"}
    assert all(np.array_equal(slow["bbox"][k], fast["bbox"][k], equal_nan=True) for k in fast["bbox"])
    assert fast["bbox"]["AP50"] == pytest.approx(51 / 101 * 50)
    evaluator = COCOEvaluator(NAME)
    run(evaluator, *outputs)
    assert evaluator.evaluate(img_ids=[5])["bbox"]["AP50"] == pytest.approx(50)
    assert math.isnan(run(COCOEvaluator(NAME, tasks=("bbox",)), *outputs)["bbox"]["AP-dog"])


@pytest.mark.parametrize("fast", [True, False])
def test_most_detections_of_an_image(register, fast, caplog):
    register(content())

    def ap50(num_misses, limit):
        boxes, scores = [MISS] * num_misses + [HIT], [0.9] * num_misses + [0.5]
        evaluator = COCOEvaluator(NAME, max_dets_per_image=limit, use_fast_impl=fast)
        outputs = detections(boxes, [0] * len(boxes), scores), detections([], [])
        return run(evaluator, *outputs)["bbox"]["AP50"]

    # one of two cats is found behind n misses: precision 1 / (n + 1) at 51 of the 101 recall steps
    assert ap50(11, 12) == pytest.approx(51 / 101 * 100 / 12)
    assert ap50(11, 11) == 0 and "largest" not in caplog.text
    # the protocol's limits are 1, 10 and this one, and the largest is where AP is taken
    for limit in (1, 5, 10):
        assert ap50(9, limit) == pytest.approx(51 / 101 * 100 / 10)
        assert ap50(10, limit) == 0
    assert "max_dets_per_image=5: COCO's AP counts the largest" in caplog.text


def test_no_detections_at_all(register, caplog):
    register(content())
    results = run(COCOEvaluator(NAME), detections([], []), detections([], []))
    assert results["bbox"]["AP"] == 0 and math.isnan(results["bbox"]["APl"]) and math.isnan(results["bbox"]["AP-dog"])
    assert "No predictions" in caplog.text
    assert run(COCOEvaluator(NAME)) == {} and "Did not receive valid predictions" in caplog.text


def test_images_without_annotations(register, caplog):
    register(content() | {"annotations": []})
    evaluator = COCOEvaluator(NAME)
    assert f"data set '{NAME}' has no annotation: all numbers" in caplog.text  # before any image is looked at
    results = run(evaluator, detections([HIT], [0], masks=True))
    assert results.keys() == {"bbox", "segm"} and all(math.isnan(v) for v in results["bbox"].values())


def test_masks_that_the_data_set_has_not(register, caplog):
    dataset = content()
    for entry in dataset["annotations"]:
        del entry["segmentation"]
    register(dataset)
    run(COCOEvaluator(NAME), *[detections([HIT], [0], masks=True)] * 2)
    assert caplog.text.count("no annotation has a 'segmentation'") == 1
    caplog.clear()
    run(COCOEvaluator(NAME), *[detections([HIT], [0])] * 2)
    assert "no annotation has" not in caplog.text


def test_a_test_set_without_annotations_is_only_saved(register, tmp_path):
    dataset = content()
    del dataset["annotations"]
    register(dataset)
    assert run(COCOEvaluator(NAME, output_dir=str(tmp_path)), detections([HIT], [0])) == {}
    assert len(json.loads((tmp_path / "coco_instances_results.json").read_text())) == 1


def test_a_class_that_the_data_set_has_not(register):
    register(content())
    with pytest.raises(BadValue, match="class 2.*from 0 to 1.*NUM_CLASSES"):
        run(COCOEvaluator(NAME), detections([HIT, HIT], [2, 0]))
    with pytest.raises(BadValue, match="boxes"):
        COCOEvaluator(NAME, tasks=("boxes",))


def test_proposals(register, tmp_path):
    register(content())
    proposals = Instances((80, 90))
    proposals.proposal_boxes = Boxes(torch.tensor([HIT, MISS], dtype=torch.float32))
    proposals.objectness_logits = torch.tensor([0.0, 1.0])
    evaluator = COCOEvaluator(NAME, output_dir=str(tmp_path / "out"))
    results = run(evaluator, {"proposals": proposals}, {"proposals": proposals[:0]})
    assert results.keys() == {"box_proposals"}
    assert results["box_proposals"]["AR@100"] == results["box_proposals"]["ARm@1000"] == 100
    assert math.isnan(results["box_proposals"]["ARs@100"]) and len(results["box_proposals"]) == 8
    saved = pickle.loads((tmp_path / "out/box_proposals.pkl").read_bytes())
    assert saved["ids"] == [5, 9] and saved["boxes"][0].tolist() == [HIT, MISS] and len(saved["boxes"][1]) == 0
    assert saved["bbox_mode"] == BoxMode.XYXY_ABS


def test_a_data_set_that_is_not_in_the_coco_format(forget, tmp_path):
    instance = {"bbox": HIT, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "segmentation": SQUARE}
    samples = [
        {"image_id": "first", "file_name": "a.jpg", "height": 80, "width": 90, "annotations": [instance]},
        {"image_id": "second", "file_name": "b.jpg", "height": 80, "width": 90, "annotations": []},
    ]
    DatasetCatalog.register(NAME, lambda: samples)
    MetadataCatalog.get(NAME).thing_classes = ["cat", "dog"]
    with pytest.raises(BadValue, match="output_dir"):
        COCOEvaluator(NAME)
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    evaluator = build_evaluator(cfg, NAME)
    batch = [{"image_id": "first"}, {"image_id": "second"}]
    outputs = [detections([HIT], [1], masks=True), detections([], [], masks=True)]
    results = inference_on_dataset(lambda inputs: outputs, [batch], evaluator)
    assert results["bbox"]["AP"] == pytest.approx(100) and results["segm"]["AP-dog"] == pytest.approx(100)
    assert sorted(path.name for path in (tmp_path / "inference").iterdir()) == [
        "coco_instances_results.json",
        f"{NAME}_coco_format.json",
        "instances_predictions.pth",
    ]
    saved = json.loads((tmp_path / "inference/coco_instances_results.json").read_text())
    assert saved[0]["image_id"] == "first" and saved[0]["category_id"] == 1


def test_evaluators_are_chosen_by_type(register):
    register(content())
    assert isinstance(build_evaluator(get_cfg(), NAME, None), COCOEvaluator)
    MetadataCatalog.pop(NAME)
    MetadataCatalog.get(NAME).evaluator_type = "lvis_unknown"
    with pytest.raises(UnknownName, match="'lvis_unknown'.*available: .*coco, .*lvis"):
        build_evaluator(get_cfg(), NAME)


def test_predictions_of_two_processes_are_evaluated_together(register, monkeypatch):
    register(content())
    other = COCOEvaluator(NAME)
    other.process([{"image_id": 9}], [detections([HIT], [0])])
    evaluator = COCOEvaluator(NAME)
    monkeypatch.setattr("det2lite.utils.comm.gather", lambda mine, dst: [mine, other._predictions])
    assert run(evaluator, detections([HIT], [0]))["bbox"]["AP"] == pytest.approx(100)
    alone = run(COCOEvaluator(NAME, distributed=False), detections([HIT], [0]))
    assert alone["bbox"]["AP"] == pytest.approx(51 / 101 * 100)
    monkeypatch.setattr("det2lite.utils.comm.is_main_process", lambda: False)
    assert run(evaluator, detections([HIT], [0])) == {}


def test_a_subclass_that_keeps_dicts_may_change_them_while_files_are_written(register, tmp_path):
    class Own(COCOEvaluator):
        def process(self, inputs, outputs):
            for input, output in zip(inputs, outputs, strict=True):
                found = instances_to_coco_json(output["instances"], input["image_id"])
                self._predictions.append({"image_id": input["image_id"], "instances": found})

        def _eval_predictions(self, predictions, img_ids=None):
            super()._eval_predictions(predictions, img_ids)
            for prediction in predictions:
                for result in prediction["instances"]:
                    result["category_id"] = -1

    register(content())
    found = run(Own(NAME, output_dir=str(tmp_path / "own")), detections([HIT], [0]), detections([MISS], [1]))
    plain = run(
        COCOEvaluator(NAME, output_dir=str(tmp_path / "plain")), detections([HIT], [0]), detections([MISS], [1])
    )
    assert {k: v for k, v in found["bbox"].items() if v == v} == {k: v for k, v in plain["bbox"].items() if v == v}
    own, expected = (torch.load(tmp_path / name / "instances_predictions.pth") for name in ("own", "plain"))
    assert own == expected and own[1]["instances"][0]["category_id"] == 1
    files = [(tmp_path / name / "coco_instances_results.json").read_text() for name in ("own", "plain")]
    assert files[0] == files[1]
