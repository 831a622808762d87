import math

import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.modeling.anchor_generator import DefaultAnchorGenerator
from det2lite.modeling.backbone import Backbone
from det2lite.modeling.box_regression import Box2BoxTransform
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.meta_arch import META_ARCH_REGISTRY, RetinaNet
from det2lite.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from det2lite.modeling.meta_arch.retinanet import RetinaNetHead
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.events import EventStorage


class Strided(Backbone):
    """The image at every fourth and every eighth pixel."""

    def __init__(self):
        super().__init__()
        self._out_features = ["coarse", "fine"]
        self._out_feature_channels = {"coarse": 3, "fine": 3}
        self._out_feature_strides = {"coarse": 8, "fine": 4}

    def forward(self, x):
        return {"fine": nn.functional.avg_pool2d(x, 4), "coarse": nn.functional.avg_pool2d(x, 8)}

    @property
    def size_divisibility(self):
        return 8


def model(**kwargs):
    torch.manual_seed(0)
    backbone = Strided()
    shapes = [backbone.output_shape()[name] for name in ("fine", "coarse")]
    settings = {
        "backbone": backbone,
        "head": RetinaNetHead(input_shape=shapes, num_classes=3, num_anchors=1, conv_dims=[4]),
        "head_in_features": ["fine", "coarse"],
        "anchor_generator": DefaultAnchorGenerator(sizes=[[8], [16]], aspect_ratios=[1.0], strides=[4, 8]),
        "box2box_transform": Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        "anchor_matcher": Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        "num_classes": 3,
        "pixel_mean": (0.0, 0.0, 0.0),
        "pixel_std": (255.0, 255.0, 255.0),
    }
    return RetinaNet(**{**settings, **kwargs})


def sample(height=16, width=24, boxes=((0.0, 0.0, 8.0, 8.0),), classes=(2,)):
    instances = Instances((height, width), gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 2 * height, "width": 2 * width}


def empty(**kwargs):
    return sample(boxes=(), classes=(), **kwargs)


def test_permutation():
    x = torch.arange(2 * 6 * 2 * 2).view(2, 6, 2, 2)  # 2 anchors of 3 numbers
    rows = permute_to_N_HWA_K(x, 3)
    assert rows.shape == (2, 8, 3)
    assert permute_to_N_HWA_K(x[:0], 3).shape == (0, 8, 3)
    assert rows[1, 5].tolist() == [x[1, 3 + k, 1, 0].item() for k in range(3)]  # position (1, 0), anchor 1


def test_labels():
    net = model(anchor_matcher=Matcher([0.1, 0.2], [0, -1, 1], allow_low_quality_matches=False))
    anchors = [
        Boxes(torch.tensor([[0.0, 0, 8, 8], [4, 0, 12, 8]])),
        Boxes(torch.tensor([[6.0, 0, 14, 8], [30, 30, 38, 38]])),
    ]
    # IoU with (0, 0, 8, 8): 1, 32 / 96, 16 / 112, 0
    (labels, none), (boxes, zeros) = net.label_anchors(anchors, [sample()["instances"], empty()["instances"]])
    assert labels.tolist() == [2, 2, -1, 3]
    assert boxes[0].tolist() == [0, 0, 8, 8]
    assert none.tolist() == [3] * 4 and zeros.tolist() == [[0.0] * 4] * 4


def test_losses_by_hand():
    net = model(smooth_l1_beta=0.0)
    anchors = [Boxes(torch.tensor([[0.0, 0, 8, 8]])), Boxes(torch.tensor([[8.0, 0, 16, 8], [8, 8, 16, 16]]))]
    labels = [torch.tensor([1, 3, -1])]
    gt_boxes = [torch.tensor([[4.0, 0, 12, 8], [0, 0, 8, 8], [0, 0, 8, 8]])]  # dx of the first is 0.5
    logits = [torch.zeros(1, 1, 3), torch.zeros(1, 2, 3)]
    deltas = [torch.zeros(1, 1, 4), torch.full((1, 2, 4), 7.0)]
    with EventStorage() as storage:
        losses = net.losses(anchors, logits, labels, deltas, gt_boxes)
    normalizer = 0.9 * 100 + 0.1 * 1
    cls = math.log(2) / 4 * (0.25 + 5 * 0.75)  # one object, five negatives, the ignored row left out
    assert losses["loss_cls"].item() == pytest.approx(cls / normalizer)
    assert losses["loss_box_reg"].item() == pytest.approx(0.5 / normalizer)
    assert storage.latest()["num_pos_anchors"][0] == 1
    with EventStorage():  # the mean runs on
        again = net.losses(anchors, logits, labels, deltas, gt_boxes)
    assert again["loss_box_reg"].item() == pytest.approx(0.5 / (0.9 * normalizer + 0.1))
    assert not any("loss_normalizer" in name for name in net.state_dict())


def test_resumed_training_goes_on_with_the_running_mean():
    net, batch = model(), [sample()]
    net(batch)
    resumed, fresh = model(), model()
    resumed.load_state_dict(net.state_dict())
    resumed.load_training_state(net.training_state())
    wanted = net(batch)
    assert resumed(batch) == wanted
    assert fresh.training_state() == {} and fresh(batch)["loss_cls"] != wanted["loss_cls"]


@pytest.mark.parametrize("batch", [[sample(), empty(height=8, width=8)], [empty()]])
def test_training_reaches_all_parameters(batch):
    net = model()
    losses = net(batch)
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_training_without_instances():
    with pytest.raises(ValueError, match="needs 'instances'"):
        model()([{"image": torch.zeros(3, 8, 8)}])


def test_batch_gives_what_single_images_give():
    net = model(test_score_thresh=0.0, test_nms_thresh=0.3).eval()
    batch = [sample(), sample(height=9, width=17)]
    with torch.no_grad():
        images = net.preprocess_image(batch)
        features = net.backbone(images.tensor)
        features = [features[name] for name in net.head_in_features]
        predictions = net.head(features)
        together = net.forward_inference(images, features, predictions)
        rows = net._transpose_dense_predictions(predictions, [3, 4])
        anchors = net.anchor_generator(features)
        for i, found in enumerate(together):
            one = net.inference_single_image(anchors, *[[x[i] for x in kind] for kind in rows], images.image_sizes[i])
            torch.testing.assert_close(one.scores, found.scores)
            torch.testing.assert_close(one.pred_boxes.tensor, found.pred_boxes.tensor)
            assert one.image_size == found.image_size
        outputs = net(batch)
    assert outputs[1]["instances"].image_size == (18, 34)
    assert len(net([{"image": torch.zeros(3, 1, 1, dtype=torch.uint8)}])) == 1


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_no_detections_from_broken_numbers(value):
    net = model(test_score_thresh=-1.0).eval()
    features = [torch.full((1, 3, 4, 4), value), torch.full((1, 3, 2, 2), value)]
    (found,) = net.forward_inference(ImageList(torch.zeros(1, 3, 16, 16), [(16, 16)]), features, net.head(features))
    assert len(found) == 0


def test_pictures_of_training():
    net = model(vis_period=2)
    with EventStorage(0) as storage:
        net([sample(height=16, width=32)])
        ((_, picture, _),) = storage._vis_data
        assert picture.shape[0] == 3
        storage.step()
        net([sample()])
        assert len(storage._vis_data) == 1


def test_from_config():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RETINANET.NUM_CLASSES = 4
    net = META_ARCH_REGISTRY.get("RetinaNet")(cfg)
    assert net.head.cls_score.out_channels == 15 * 4
    assert net.head_in_features == ["p3", "p4", "p5", "p6", "p7"]


def test_features_from_fine_to_coarse():
    from det2lite.modeling.meta_arch import DenseDetector

    assert DenseDetector(Strided(), None, pixel_mean=(0.0,), pixel_std=(1.0,)).head_in_features == ["fine", "coarse"]
