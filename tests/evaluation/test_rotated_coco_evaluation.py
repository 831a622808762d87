import contextlib
import copy
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances
from det2lite.evaluation import RotatedCOCOEvaluator, inference_on_dataset
from det2lite.structures import Boxes, BoxMode, Instances, RotatedBoxes, pairwise_iou_rotated
from det2lite.utils.errors import BadValue

NAME = "det2lite_test_rotated"
BOX = [100.0, 100.0, 80.0, 20.0, 30.0]


def annotation(id, box, image_id=1, category_id=4):
    area = box[2] * box[3]
    return {"id": id, "image_id": image_id, "category_id": category_id, "bbox": box, "area": area, "iscrowd": 0}


def content(*annotations, images=(1,)):
    return {
        "images": [{"id": i, "height": 200, "width": 200, "file_name": f"{i}.jpg"} for i in images],
        "categories": [{"id": 4, "name": "ship"}, {"id": 6, "name": "plane"}],
        "annotations": list(annotations),
    }


@pytest.fixture
def register(tmp_path):
    def register(dataset):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(dataset))
        register_coco_instances(NAME, {}, str(path), str(tmp_path))
        MetadataCatalog.get(NAME).set(
            thing_classes=["ship", "plane"], thing_dataset_id_to_contiguous_id={4: 0, 6: 1}
        )

    yield register
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.pop(NAME)


def detections(boxes, scores=None, classes=None, kind=RotatedBoxes):
    instances = Instances((200, 200), pred_boxes=kind(torch.tensor(boxes, dtype=torch.float32)))
    instances.scores = torch.tensor(scores or [0.9] * len(boxes))
    instances.pred_classes = torch.tensor(classes or [0] * len(boxes), dtype=torch.int64)
    return {"instances": instances}


def run(evaluator, *outputs):
    inputs = [{"image_id": i} for i in range(1, len(outputs) + 1)]
    return inference_on_dataset(lambda batch: list(outputs), [inputs], evaluator)


@pytest.mark.parametrize("angle, ap50", [(30, 100), (30 + 180, 100), (-150, 100), (120, 0), (-30, 0)])
def test_the_angle_counts(register, angle, ap50):
    register(content(annotation(1, BOX)))
    results = run(RotatedCOCOEvaluator(NAME), detections([[*BOX[:4], angle]]))
    assert list(results) == ["bbox"]
    assert list(results["bbox"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AP-ship", "AP-plane"]
    assert results["bbox"]["AP50"] == pytest.approx(ap50) and math.isnan(results["bbox"]["AP-plane"])
    assert results["bbox"]["APm"] == results["bbox"]["AP"]


def test_overlap_by_hand(register):
    register(content(annotation(1, [100, 100, 40, 40, 45])))
    # the same square upright: they meet in a regular octagon
    octagon = 2 * (math.sqrt(2) - 1) * 40**2
    iou = octagon / (2 * 40**2 - octagon)
    assert 0.70 < iou < 0.71
    results = run(RotatedCOCOEvaluator(NAME), detections([[100, 100, 40, 40, 0]]))["bbox"]
    assert results["AP"] == pytest.approx(50) and results["AP75"] == 0, "found at 0.5 to 0.7"


def test_upright_boxes_are_understood(register, tmp_path):
    register(content(annotation(1, [10, 20, 30, 40])))
    evaluator = RotatedCOCOEvaluator(NAME, output_dir=str(tmp_path))
    assert run(evaluator, detections([[25, 40, 30, 40, 0]]))["bbox"]["AP"] == pytest.approx(100)
    assert run(evaluator, detections([[10, 20, 40, 60]], kind=Boxes))["bbox"]["AP"] == pytest.approx(100)
    (saved,) = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert saved == {"image_id": 1, "category_id": 4, "bbox": [10, 20, 30, 40], "score": pytest.approx(0.9)}


class RotatedReference(COCOeval):
    """pycocotools' matching with the IoU of rotated boxes."""

    def computeIoU(self, imgId, catId):
        truths, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truths and not found:
            return []
        found = sorted(found, key=lambda d: -d["score"])[: self.params.maxDets[-1]]
        boxes = [torch.tensor([a["rotated"] for a in part]).reshape(-1, 5) for part in (found, truths)]
        return pairwise_iou_rotated(*(RotatedBoxes(b) for b in boxes)).numpy()


def reference(dataset, results):
    dataset, results = copy.deepcopy(dataset), copy.deepcopy(results)
    for entry in (*dataset["annotations"], *results):
        x, y, w, h, _ = entry["rotated"] = entry["bbox"]
        entry["bbox"] = [x - w / 2, y - h / 2, w, h]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = RotatedReference(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_agrees_with_pycocotools(register):
    rng = np.random.default_rng(0)
    annotations, outputs, results = [], [], []
    for image_id in range(1, 16):
        boxes, classes = [], []
        for _ in range(rng.integers(0, 7)):
            box = [*rng.uniform(40, 160, 2), *rng.uniform(8, 60, 2), rng.uniform(-180, 180)]
            label = int(rng.integers(0, 2))
            annotations.append(annotation(len(annotations) + 1, [float(v) for v in box], image_id, (4, 6)[label]))
            for _ in range(2):
                boxes.append((np.array(box) + rng.normal(0, 2, 5)).astype(np.float32).tolist())
                classes.append(label)
        scores = rng.random(len(boxes)).astype(np.float32).tolist()
        outputs.append(detections(np.array(boxes).reshape(-1, 5), scores, classes))
        results += [
            {"image_id": image_id, "category_id": (4, 6)[label], "bbox": box, "score": score}
            for box, label, score in zip(boxes, classes, scores, strict=True)
        ]
    dataset = content(*annotations, images=range(1, 16))
    register(dataset)
    found = run(RotatedCOCOEvaluator(NAME), *outputs)["bbox"]
    names = ["AP", "AP50", "AP75", "APs", "APm"]
    assert [found[name] for name in names] == pytest.approx((100 * reference(dataset, results)[:5]).tolist())
    assert 20 < found["AP"] < 90


def test_nothing_found(register, caplog):
    register(content(annotation(1, BOX)))
    assert run(RotatedCOCOEvaluator(NAME), detections(np.zeros((0, 5))))["bbox"]["AP"] == 0
    assert "No predictions" in caplog.text


def test_rotated_proposals(register, tmp_path):
    register(content(annotation(1, BOX)))
    found = Instances((200, 200), proposal_boxes=RotatedBoxes(torch.tensor([BOX])), objectness_logits=torch.ones(1))
    turned = Instances((200, 200), proposal_boxes=RotatedBoxes(torch.tensor([[*BOX[:4], -30.0]])))
    turned.objectness_logits = torch.ones(1)
    evaluator = RotatedCOCOEvaluator(NAME, output_dir=str(tmp_path))
    assert run(evaluator, {"proposals": found})["box_proposals"]["AR@100"] == pytest.approx(100)
    assert run(evaluator, {"proposals": turned})["box_proposals"]["AR@100"] == 0
    saved = pickle.loads((tmp_path / "box_proposals.pkl").read_bytes())
    assert saved["bbox_mode"] == BoxMode.XYWHA_ABS.value and saved["boxes"][0].shape == (1, 5)


def test_mistakes_are_named(register):
    register(content(annotation(1, BOX)))
    with pytest.raises(BadValue, match="task bbox alone, not segm"):
        run(RotatedCOCOEvaluator(NAME, tasks=("segm",)), detections([BOX]))
    for wrong, message in (
        (annotation(3, BOX) | {"iscrowd": 1}, "annotation 3 is a crowd"),
        (annotation(5, BOX) | {"bbox": [1, 2, 3]}, "annotation 5: a bbox has 5 numbers"),
    ):
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop(NAME)
        register(content(wrong))
        with pytest.raises(BadValue, match=message):
            RotatedCOCOEvaluator(NAME)
