"""A seed gives the weights and samples that it gives in Detectron2: numbers are drawn in the same order."""

import pytest
import torch
from torch import nn

from det2lite.layers import ShapeSpec
from det2lite.modeling.backbone import Backbone
from det2lite.modeling.backbone.fpn import FPN, LastLevelP6P7
from det2lite.modeling.box_regression import Box2BoxTransform
from det2lite.modeling.meta_arch.retinanet import RetinaNetHead
from det2lite.modeling.proposal_generator import StandardRPNHead
from det2lite.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, KRCNNConvDeconvUpsampleHead
from det2lite.modeling.sampling import subsample_labels


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


def box_predictor(**kwargs):
    transform = Box2BoxTransform(weights=(10.0, 10, 5, 5))
    return FastRCNNOutputLayers(ShapeSpec(channels=6), box2box_transform=transform, num_classes=3, **kwargs)


@pytest.mark.parametrize(("agnostic", "numbers"), [(False, 12), (True, 4)])
def test_box_predictor_makes_its_layers_and_then_draws_each_again(agnostic, numbers):
    head = box_predictor(cls_agnostic_bbox_reg=agnostic)
    torch.manual_seed(7)
    scores, boxes = nn.Linear(6, 4), nn.Linear(6, numbers)
    nn.init.normal_(scores.weight, std=0.01)
    nn.init.normal_(boxes.weight, std=0.001)
    assert torch.equal(head.cls_score.weight, scores.weight) and torch.equal(head.bbox_pred.weight, boxes.weight)


def test_rpn_head_makes_its_layers_and_then_draws_each_again():
    head = StandardRPNHead(in_channels=5, num_anchors=3)
    torch.manual_seed(7)
    layers = [nn.Conv2d(5, 5, 3), nn.Conv2d(5, 3, 1), nn.Conv2d(5, 12, 1)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
    own = [head.conv, head.objectness_logits, head.anchor_deltas]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(own, layers, strict=True))


def test_box_head_makes_all_its_layers_before_it_draws_again():
    head = FastRCNNConvFCHead(ShapeSpec(channels=2, height=3, width=3), conv_dims=[4], fc_dims=[5, 6])
    torch.manual_seed(7)
    layers = [nn.Conv2d(2, 4, 3), nn.Linear(36, 5), nn.Linear(5, 6)]
    nn.init.kaiming_normal_(layers[0].weight, mode="fan_out", nonlinearity="relu")
    for layer in layers[1:]:
        nn.init.kaiming_uniform_(layer.weight, a=1)
    own = [head.conv1, head.fc1, head.fc2]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(own, layers, strict=True))


def test_samples_are_drawn_from_the_objects_first():
    labels = torch.tensor([1, 3, 3, 0, 3, 2, 3, 1, -1, 3])
    positive, negative = subsample_labels(labels, 4, 0.5, 3)
    torch.manual_seed(7)
    objects, background = torch.tensor([0, 3, 5, 7]), torch.tensor([1, 2, 4, 6, 9])
    assert torch.equal(positive, objects[torch.randperm(4)[:2]])
    assert torch.equal(negative, background[torch.randperm(5)[:2]])



def test_keypoint_head_makes_its_layers_and_then_draws_each_again():
    head = KRCNNConvDeconvUpsampleHead(ShapeSpec(channels=2), num_keypoints=3, conv_dims=[4])
    torch.manual_seed(7)
    layers = [nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 3, 4)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    own = [head.conv_fcn1, head.score_lowres]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(own, layers, strict=True))


class Source(Backbone):
    """Two features of 2 and 3 channels, without weights."""

    def forward(self, x):
        raise NotImplementedError

    def output_shape(self):
        return {"res2": ShapeSpec(channels=2, stride=4), "res3": ShapeSpec(channels=3, stride=8)}


def test_pyramid_draws_level_by_level():
    pyramid = FPN(Source(), ["res2", "res3"], 4)
    torch.manual_seed(7)
    for level, channels in ((2, 2), (3, 3)):
        layers = [nn.Conv2d(channels, 4, 1), nn.Conv2d(4, 4, 3)]
        for kind, layer in zip(("lateral", "output"), layers, strict=True):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            assert torch.equal(getattr(pyramid, f"fpn_{kind}{level}").weight, layer.weight)


def test_levels_on_top_are_made_before_they_are_drawn_again():
    top = LastLevelP6P7(3, 4)
    torch.manual_seed(7)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)]
    for own, layer in zip((top.p6, top.p7), layers, strict=True):
        nn.init.kaiming_uniform_(layer.weight, a=1)
        assert torch.equal(own.weight, layer.weight)


def test_retinanet_head_makes_both_subnets_in_turn_and_draws_one_after_the_other():
    shape = ShapeSpec(channels=2, stride=8)
    head = RetinaNetHead(input_shape=[shape], num_classes=2, num_anchors=1, conv_dims=[3, 3])
    torch.manual_seed(7)
    cls1, box1, cls2, box2 = (nn.Conv2d(channels, 3, 3) for channels in (2, 2, 3, 3))
    layers = [cls1, cls2, box1, box2, nn.Conv2d(3, 2, 3), nn.Conv2d(3, 4, 3)]
    own = [head.cls_subnet[0], head.cls_subnet[2], head.bbox_subnet[0], head.bbox_subnet[2], head.cls_score]
    for own_layer, layer in zip([*own, head.bbox_pred], layers, strict=True):
        nn.init.normal_(layer.weight, std=0.01)
        assert torch.equal(own_layer.weight, layer.weight)
