import math

import pytest
import torch

from det2lite.layers import ShapeSpec
from det2lite.modeling.roi_heads import KRCNNConvDeconvUpsampleHead, build_keypoint_head
from det2lite.modeling.roi_heads.keypoint_head import keypoint_rcnn_inference, keypoint_rcnn_loss
from det2lite.structures import Boxes, Instances, Keypoints
from det2lite.utils.events import EventStorage

SHAPE = ShapeSpec(channels=3, height=2, width=2)


def people(*keypoints):
    """Each in a box of 8 x 8 pixels; keypoints `(K, 3)`."""
    count = len(keypoints)
    result = Instances((8, 8), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 8, 8]] * count).reshape(-1, 4)))
    result.gt_keypoints = Keypoints(torch.tensor(keypoints) if keypoints else torch.zeros(0, 3, 3))
    return result


VISIBLE, HIDDEN, OUTSIDE = [3.0, 1.0, 2.0], [3.0, 1.0, 0.0], [9.0, 1.0, 2.0]


@pytest.mark.parametrize(("normalizer", "scale"), [(None, 1 / 2), (10.0, 1 / 10)])
def test_loss_by_hand(normalizer, scale):
    logits = torch.zeros(2, 3, 4, 4)
    logits[1, 0, 0, 1] = math.log(15)  # the right one of 16 positions, with probability 1/2
    instances = [people([VISIBLE, HIDDEN, OUTSIDE]), people(), people([VISIBLE, HIDDEN, HIDDEN])]
    loss = keypoint_rcnn_loss(logits, instances, normalizer)
    assert loss.item() == pytest.approx((math.log(16) + math.log(2)) * scale, rel=1e-5)


@pytest.mark.parametrize("instances", [[], [people([HIDDEN, OUTSIDE])]])
def test_nothing_visible_is_counted(instances):
    logits = torch.zeros(len(instances), 2, 4, 4, requires_grad=True)
    counts = []
    for _ in range(2):
        with EventStorage() as storage:
            loss = keypoint_rcnn_loss(logits, instances, None)
            counts.append(storage.latest()["kpts_num_skipped_batches"][0])
    assert counts[1] == counts[0] + 1
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.count_nonzero() == 0


def test_inference_reads_the_best_position():
    logits = torch.full((2, 1, 4, 4), -20.0)
    logits[0, 0, 1, 2] = logits[1, 0, 3, 3] = 20.0
    boxes = Boxes(torch.tensor([[0.0, 0, 4, 4], [10, 20, 14, 24]]))
    first, second = Instances((30, 30), pred_boxes=boxes[0]), Instances((30, 30), pred_boxes=boxes[1])
    keypoint_rcnn_inference(logits, [first, second])
    torch.testing.assert_close(first.pred_keypoints, torch.tensor([[[2.5, 1.5, 1.0]]]))
    torch.testing.assert_close(second.pred_keypoints, torch.tensor([[[13.5, 23.5, 1.0]]]))
    assert torch.equal(second.pred_keypoint_heatmaps, logits[1:])


def test_inference_on_nothing():
    found = Instances((9, 9), pred_boxes=Boxes(torch.zeros(0, 4)))
    keypoint_rcnn_inference(torch.zeros(0, 5, 4, 4), [found])
    assert found.pred_keypoints.shape == (0, 5, 3)


def test_layers_and_names():
    head = KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=5, conv_dims=[6, 7])
    assert [name for name, _ in head.named_children()] == [
        *("conv_fcn1", "conv_fcn_relu1", "conv_fcn2", "conv_fcn_relu2", "score_lowres")
    ]
    assert head.layers(torch.zeros(4, 3, 2, 2)).shape == (4, 5, 8, 8)
    assert head.layers(torch.zeros(0, 3, 2, 2)).shape == (0, 5, 8, 8)
    assert all(p.count_nonzero() == 0 for name, p in head.named_parameters() if name.endswith("bias"))


def test_normalizer_is_an_image_s_share():
    head = KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=1, conv_dims=[2], loss_normalizer=4.0, loss_weight=3.0)
    losses = head(torch.zeros(1, 3, 2, 2), [people([VISIBLE])])
    assert losses["loss_keypoint"].item() == pytest.approx(3 * math.log(64) / 4, rel=1e-5)
    with pytest.raises(ValueError, match="'all'"):
        KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=1, conv_dims=[2], loss_normalizer="all")


def test_from_config(tiny_config):
    head = build_keypoint_head(tiny_config(), SHAPE)
    assert head.loss_normalizer == "visible"
    cfg = tiny_config("MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS", False)
    assert build_keypoint_head(cfg, SHAPE).loss_normalizer == 4 * 32 * 0.25
