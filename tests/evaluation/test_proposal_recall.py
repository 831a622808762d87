import math

import pytest
import torch

from det2lite.evaluation.coco_evaluation import _evaluate_box_proposals
from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.proposal_recall import box_proposal_recall
from det2lite.structures import Boxes, Instances


def truth(boxes, crowd=False):
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": int(crowd)}
        for i, b in enumerate(boxes)
    ]
    images = [{"id": 1, "height": 300, "width": 300}, {"id": 2, "height": 300, "width": 300}]
    return CocoGroundTruth({"images": images, "categories": [{"id": 1, "name": "x"}], "annotations": annotations}).api


def proposals(boxes, logits=None):
    instances = Instances((300, 300))
    instances.proposal_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.objectness_logits = torch.tensor(logits or list(range(len(boxes), 0, -1)), dtype=torch.float32)
    return [{"image_id": 1, "proposals": instances}]


def test_recall_is_averaged_over_thresholds():
    # the first object is met exactly, the second with IoU 0.62: above 0.5, 0.55 and 0.6
    found = proposals([[0, 0, 10, 10], [100, 100, 162, 200]])
    recall = box_proposal_recall(found, truth([[0, 0, 10, 10], [100, 100, 100, 100]]))
    assert recall.ar == pytest.approx((10 + 3) / 20) and recall.num_objects == 2
    assert recall.recalls.tolist() == [1.0] * 3 + [0.5] * 7 and len(recall.thresholds) == 10


def test_a_proposal_covers_one_object():
    same = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert box_proposal_recall(proposals([[0, 0, 10, 10]]), truth(same)).ar == 0.5
    assert box_proposal_recall(proposals([[0, 0, 10, 10]] * 2), truth(same)).ar == 1.0


def test_only_the_best_proposals_count():
    found = proposals([[0, 0, 10, 10], [50, 50, 60, 60]], logits=[-1.0, 1.0])
    objects = truth([[0, 0, 10, 10]])
    assert box_proposal_recall(found, objects, limit=1).ar == 0.0
    assert box_proposal_recall(found, objects, limit=2).ar == 1.0


def test_areas_choose_objects():
    found = proposals([[0, 0, 10, 10]])
    objects = truth([[0, 0, 10, 10], [100, 100, 150, 150]])
    assert box_proposal_recall(found, objects, area="small").ar == 1.0
    assert box_proposal_recall(found, objects, area="large").ar == 0.0
    assert math.isnan(box_proposal_recall(found, objects, area="medium").ar)


def test_nothing_to_find_and_nothing_found():
    assert math.isnan(box_proposal_recall(proposals([[0, 0, 10, 10]]), truth([[0, 0, 10, 10]], crowd=True)).ar)
    assert math.isnan(box_proposal_recall([], truth([])).ar)
    assert box_proposal_recall(proposals([]), truth([[0, 0, 10, 10]])).num_objects == 0


def test_as_projects_call_it():
    found = proposals([[0, 0, 10, 10], [100, 100, 162, 200]])
    objects = truth([[0, 0, 10, 10], [100, 100, 100, 100]])
    recall = _evaluate_box_proposals(found, objects)
    assert float(recall["ar"]) == pytest.approx(0.65) and recall["num_pos"] == 2
    assert recall["gt_overlaps"].tolist() == pytest.approx([0.62, 1.0]) and len(recall["thresholds"]) == 10
    recall = _evaluate_box_proposals(found, objects, thresholds=torch.tensor([0.6, 0.7]), area="96-128", limit=10)
    assert recall["recalls"].tolist() == [1.0, 0.0] and recall["num_pos"] == 1
