import math

import numpy as np
import pytest
import torch
from torch import nn

from det2lite.layers import ShapeSpec
from det2lite.modeling.roi_heads import MaskRCNNConvUpsampleHead, build_mask_head
from det2lite.modeling.roi_heads.mask_head import mask_rcnn_inference, mask_rcnn_loss
from det2lite.structures import BitMasks, Boxes, Instances, PolygonMasks
from det2lite.utils.events import EventStorage

LOG2 = math.log(2)
SHAPE = ShapeSpec(channels=3, height=2, width=2)


def objects(*boxes, masks=None, classes=None):
    """Each box sees a mask of the left half of 20 x 20 pixels."""
    result = Instances((20, 20), proposal_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))
    result.gt_classes = torch.tensor(classes or [0] * len(boxes), dtype=torch.int64)
    half = [np.array([0.0, 0, 10, 0, 10, 20, 0, 20])]
    polygons = PolygonMasks([half] * len(boxes))
    result.gt_masks = polygons if masks is None else masks.from_polygon_masks(polygons, 20, 20)
    return result


@pytest.mark.parametrize("masks", [None, BitMasks])
def test_loss_by_hand(masks):
    logits = torch.zeros(1, 2, 4, 4)
    logits[0, 1, :, :2], logits[0, 1, :, 2:] = math.log(3), -math.log(3)  # right, with probability 3/4
    whole = [0, 0, 20, 20]
    assert mask_rcnn_loss(logits, [objects(whole, masks=masks, classes=[0])]).item() == pytest.approx(LOG2)
    loss = mask_rcnn_loss(logits, [objects(whole, masks=masks, classes=[1])])
    assert loss.item() == pytest.approx(math.log(4 / 3))


def test_kinds_of_masks_may_be_mixed_in_a_batch_with_empty_images():
    logits = torch.zeros(3, 1, 4, 4)
    logits[2] = 20  # the third box lies wholly in the mask
    images = [objects([0, 0, 20, 20]), objects(), objects([0, 0, 20, 20], [2, 2, 8, 8], masks=BitMasks, classes=[1, 0])]
    with EventStorage() as storage:
        assert mask_rcnn_loss(logits, images).item() == pytest.approx(LOG2 * 2 / 3)
        latest = {name: value for name, (value, _) in storage.latest().items()}
    # logits of 0 are no object: half of the pixels of two masks are missed
    assert latest["mask_rcnn/accuracy"] == pytest.approx(2 / 3)
    assert latest["mask_rcnn/false_positive"] == 0
    assert latest["mask_rcnn/false_negative"] == pytest.approx(0.5)


def test_no_objects():
    logits = torch.zeros(0, 2, 4, 4, requires_grad=True)
    loss = mask_rcnn_loss(logits, [objects(), objects()])
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.shape == (0, 2, 4, 4)


def test_masks_of_one_pixel_and_one_bin():
    target = objects([3, 4, 4, 5], masks=BitMasks)
    target.gt_masks = BitMasks(torch.zeros(1, 20, 20, dtype=torch.bool))
    target.gt_masks.tensor[0, 4, 3] = True
    assert mask_rcnn_loss(torch.full((1, 1, 1, 1), 30.0), [target]).item() == pytest.approx(0, abs=1e-6)
    assert mask_rcnn_loss(torch.full((1, 1, 1, 1), -30.0), [target]).item() == pytest.approx(30)
    assert mask_rcnn_loss(torch.zeros(1, 1, 28, 28), [target]).item() == pytest.approx(LOG2)


def test_pictures_show_prediction_beside_ground_truth():
    with EventStorage() as storage:
        mask_rcnn_loss(torch.full((12, 1, 4, 4), -50.0), [objects(*[[0, 0, 20, 20]] * 12)], vis_period=1)
        ((name, picture, _),) = storage._vis_data
    assert name == "Left: mask prediction;   Right: mask GT"
    assert picture.shape == (3, 40, 8)
    assert picture[0].round()[0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("num_masks", [1, 3])
def test_inference_takes_the_mask_of_the_class(num_masks):
    logits = torch.arange(3 * num_masks).float().view(3, num_masks, 1, 1)
    classes = (torch.tensor(c, dtype=torch.int64) for c in ([2, 0], [], [1]))
    first, second, third = (Instances((5, 5), pred_classes=c) for c in classes)
    mask_rcnn_inference(logits, [first, second, third])
    expected = logits[:, 0] if num_masks == 1 else torch.tensor([2.0, 3, 7]).view(3, 1, 1)
    torch.testing.assert_close(torch.cat([first.pred_masks, third.pred_masks])[:, 0], expected.sigmoid())
    assert second.pred_masks.shape == (0, 1, 1, 1)


def test_layers_and_names():
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=5, conv_dims=[6, 7, 8])
    assert [name for name, _ in head.named_children()] == [
        *("mask_fcn1", "mask_fcn2", "deconv", "deconv_relu", "predictor")
    ]
    assert (head.deconv.in_channels, head.deconv.out_channels, head.predictor.out_channels) == (7, 8, 5)
    assert head.layers(torch.zeros(4, 3, 2, 2)).shape == (4, 5, 4, 4)
    assert head.layers(torch.zeros(0, 3, 2, 2)).shape == (0, 5, 4, 4)
    with pytest.raises(ValueError, match="conv_dims"):
        MaskRCNNConvUpsampleHead(SHAPE, num_classes=5, conv_dims=[])


def test_weights_are_drawn_once_the_head_is_complete():
    torch.manual_seed(3)
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=2, conv_dims=[4, 5])
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 5, 2), nn.Conv2d(5, 2, 1)]
    for layer in layers[:2]:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.normal_(layers[2].weight, std=0.001)
    for name, layer in zip(("mask_fcn1", "deconv", "predictor"), layers, strict=True):
        torch.testing.assert_close(getattr(head, name).weight, layer.weight)


def test_forward_trains_and_predicts():
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=1, conv_dims=[4], loss_weight=2.0)
    for parameter in head.predictor.parameters():
        nn.init.zeros_(parameter)
    losses = head(torch.rand(1, 3, 2, 2), [objects([0, 0, 20, 20])])
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_mask": pytest.approx(2 * LOG2)}
    found = Instances((20, 20), pred_classes=torch.tensor([0]))
    assert head.eval()(torch.rand(1, 3, 2, 2), [found])[0].pred_masks.tolist() == [[[[0.5] * 4] * 4]]


def test_from_config(tiny_config):
    head = build_mask_head(tiny_config("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", True, "VIS_PERIOD", 3), SHAPE)
    assert (head.predictor.out_channels, head.vis_period) == (1, 3)
    head = build_mask_head(tiny_config("MODEL.ROI_MASK_HEAD.NORM", "BN"), SHAPE)
    assert head.predictor.out_channels == 3
    assert "mask_fcn1.norm.weight" in head.state_dict()
