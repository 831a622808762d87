import pytest
import torch

from det2lite.modeling import build_model
from det2lite.modeling.roi_heads import RROIHeads
from det2lite.modeling.roi_heads.rotated_fast_rcnn import fast_rcnn_inference_rotated
from det2lite.structures import RotatedBoxes
from det2lite.utils.errors import BadValue

ROTATED = (
    *("MODEL.MASK_ON", False, "MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "MODEL.ROI_HEADS.NAME", "RROIHeads"),
    *("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator", "MODEL.ANCHOR_GENERATOR.ANGLES", [[-45, 0, 45]]),
    *("MODEL.RPN.BBOX_REG_WEIGHTS", (1, 1, 1, 1, 1), "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10, 10, 5, 5, 1)),
    *("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2),
)


def test_inference_by_hand():
    turned, crossing = [20.0, 20, 20, 6, 30], [20.0, 20, 20, 6, 120]  # overlap 6 x 6: IoU 36 / 204
    over_the_edge = [0.0, 10, 10, 10, 0]
    boxes = torch.tensor([[*turned, *turned], [*crossing, *turned], [*over_the_edge, *over_the_edge]])
    scores = torch.tensor([[0.6, 0.1, 0.3], [0.5, 0.45, 0.05], [0.7, 0.0, 0.3]])
    empty = torch.zeros(0, 10), torch.zeros(0, 3)
    args = ([(40, 50), (8, 8)], 0.3, 0.1, 10)
    (found, none), (rows, no_rows) = fast_rcnn_inference_rotated([boxes, empty[0]], [scores, empty[1]], *args)
    assert rows.tolist() == [2, 0, 1] and found.pred_classes.tolist() == [0, 0, 1]
    assert isinstance(found.pred_boxes, RotatedBoxes)
    assert found.pred_boxes.tensor[0].tolist() == [2.5, 10, 5, 10, 0]
    assert len(none) == len(no_rows) == 0 and none.image_size == (8, 8)
    (all_of_it,), _ = fast_rcnn_inference_rotated([boxes], [scores], [(40, 50)], 0.3, 0.2, 10)
    assert len(all_of_it) == 4
    (best,), _ = fast_rcnn_inference_rotated([boxes], [scores], [(40, 50)], 0.3, 0.2, 1)
    assert best.scores.tolist() == pytest.approx([0.7])
    assert fast_rcnn_inference_rotated([], [], [], 0.3, 0.5, 10) == ([], [])


def test_inference_with_one_box_for_all_classes():
    boxes, scores = torch.tensor([[20.0, 20, 20, 6, 30]]), torch.tensor([[0.4, 0.5, 0.1]])
    (found,), _ = fast_rcnn_inference_rotated([boxes], [scores], [(40, 50)], 0.2, 0.5, 10)
    assert found.pred_classes.tolist() == [1, 0]


def rotate(batch):
    for inputs in batch:
        instances = inputs["instances"]
        box = instances.gt_boxes
        size = box.tensor[:, 2:] - box.tensor[:, :2]
        instances.gt_boxes = RotatedBoxes(torch.cat([box.get_centers(), size, torch.full_like(size[:, :1], 20)], dim=1))
    return batch


def test_training_and_prediction(tiny_config, tiny_batch):
    torch.manual_seed(0)
    model = build_model(tiny_config(*ROTATED, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)).train()
    batch = rotate(tiny_batch)
    losses = model(batch)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.roi_heads.parameters())
    for inputs in batch:
        inputs["instances"] = inputs["instances"][:0]
    assert model(batch)["loss_box_reg"] == 0
    with torch.no_grad():
        output = model.eval()([{"image": torch.zeros(3, 64, 64), "height": 32, "width": 32}])[0]["instances"]
    assert output.pred_boxes.tensor.shape[1] == 5 and output.image_size == (32, 32)


def test_proposals_are_labelled_by_rotated_overlap(tiny_config):
    cfg = tiny_config(*ROTATED)
    heads = build_model(cfg).roi_heads
    assert isinstance(heads, RROIHeads) and heads.box_predictor.bbox_pred.out_features == 15
    one = RotatedBoxes(torch.tensor([[20.0, 20, 20, 6, 30]]))
    other = RotatedBoxes(torch.tensor([[20.0, 20, 20, 6, 120], [20, 20, 6, 20, -60]]))
    torch.testing.assert_close(heads._overlaps(one, other), torch.tensor([[36 / 204, 1.0]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (("MODEL.MASK_ON", True), "no masks"),
        (("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True), "predicted boxes"),
        (("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"), "ROIAlignRotated"),
        (("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10, 10, 5, 5)), "five"),
    ],
)
def test_mistakes(tiny_config, overrides, message):
    with pytest.raises(BadValue, match=message):
        build_model(tiny_config(*ROTATED, *overrides))
