import numpy as np
import pytest
import torch
from fvcore.transforms.transform import HFlipTransform, NoOpTransform
from PIL import Image
from torch import nn

from det2lite.config import get_cfg
from det2lite.modeling import (
    DatasetMapperTTA,
    GeneralizedRCNN,
    GeneralizedRCNNWithTTA,
    SemanticSegmentorWithTTA,
    build_model,
    build_model_with_tta,
)
from det2lite.modeling.anchor_generator import RotatedAnchorGenerator
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue

HEIGHT, WIDTH = 40, 60
BOX = [8, 12, 24, 20]  # XYXY of the bright object in the picture


def config(min_sizes, *, flip=False, masks=False, max_size=400):
    cfg = get_cfg()
    cfg.TEST.AUG.MIN_SIZES = min_sizes
    cfg.TEST.AUG.MAX_SIZE = max_size
    cfg.TEST.AUG.FLIP = flip
    cfg.MODEL.MASK_ON = masks
    return cfg


def picture(box=BOX):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 200
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask_on = True


class BrightObjects(GeneralizedRCNN):
    """Finds the one bright object of an image. Its mask is brightest at the left, in the frame of the view."""

    def __init__(self, score=lambda size: 0.9, label=lambda size: 3, shift=0.0):
        nn.Module.__init__(self)
        self.roi_heads = Heads()
        self.score, self.label, self.shift = score, label, shift
        self.sizes, self.given = [], []

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        assert not do_postprocess
        self.sizes.append([tuple(x["image"].shape[1:]) for x in batched_inputs])
        if detected_instances is not None:
            assert self.roi_heads.mask_on
            self.given += detected_instances
            for instances in detected_instances:
                instances.pred_masks = torch.linspace(1, 0.2, 4).expand(len(instances), 1, 4, 4)
            return detected_instances
        assert not self.roi_heads.mask_on
        return [self.detect(x["image"]) for x in batched_inputs]

    def detect(self, image):
        size = tuple(image.shape[1:])
        y, x = np.nonzero(image[0].numpy() > 100)
        if not len(y):
            boxes, count = torch.zeros(0, 4), 0
        else:
            boxes, count = torch.tensor([[x.min(), y.min(), x.max() + 1, y.max() + 1]]) + self.shift, 1
        return Instances(
            size,
            pred_boxes=Boxes(boxes),
            scores=torch.full((count,), self.score(size)),
            pred_classes=torch.full((count,), self.label(size)),
        )


def test_mapper_makes_sizes_and_reflections():
    inputs = {"image": picture(), "height": 2 * HEIGHT, "width": 2 * WIDTH, "image_id": 7}
    views = DatasetMapperTTA(config([40, 80, 800], flip=True, max_size=150))(inputs)
    shapes = [tuple(view["image"].shape) for view in views]
    # the long edge of the last would be 1200: 150 are allowed
    assert shapes == [(3, 40, 60)] * 2 + [(3, 80, 120)] * 2 + [(3, 100, 150)] * 2
    assert all(view["image_id"] == 7 and view["image"].dtype == torch.uint8 for view in views)
    assert torch.equal(views[0]["image"], inputs["image"])
    assert torch.equal(views[1]["image"], inputs["image"].flip(2))
    assert set(inputs) == {"image", "height", "width", "image_id"}, "the input is left as it was"
    # from the original image, twice as large, to the view
    box = np.array([[16.0, 24.0, 48.0, 40.0]])
    assert views[0]["transforms"].apply_box(box.copy())[0].tolist() == BOX
    assert views[1]["transforms"].apply_box(box.copy())[0].tolist() == [60 - 24, 12, 60 - 8, 20]
    for view in views:
        there = view["transforms"].apply_box(box.copy())
        assert np.allclose(view["transforms"].inverse().apply_box(there), box)
    assert [any(isinstance(t, HFlipTransform) for t in v["transforms"].transforms) for v in views] == [False, True] * 3


def test_mapper_of_an_image_that_was_not_resized_and_of_one_pixel():
    views = DatasetMapperTTA([1], 10, False)({"image": torch.zeros(3, 1, 1).byte(), "height": 1, "width": 1})
    assert len(views) == 1 and tuple(views[0]["image"].shape) == (3, 1, 1)
    assert isinstance(views[0]["transforms"].transforms[0], NoOpTransform)


def test_views_agree_on_one_box():
    cfg = config([40, 80, 120], flip=True)
    model = BrightObjects()
    wrapped = GeneralizedRCNNWithTTA(cfg, model).eval()
    output = wrapped([{"image": picture()}, {"image": picture([50, 0, 60, 40]), "height": 80, "width": 120}])
    assert [list(o) for o in output] == [["instances"]] * 2
    first, second = (o["instances"] for o in output)
    assert first.image_size == (HEIGHT, WIDTH) and second.image_size == (80, 120)
    torch.testing.assert_close(first.pred_boxes.tensor, torch.tensor([BOX]).float(), atol=0.5, rtol=0)
    torch.testing.assert_close(second.pred_boxes.tensor, torch.tensor([[100.0, 0, 120, 80]]), atol=1, rtol=0)
    assert first.pred_classes.tolist() == [3]
    assert [len(batch) for batch in model.sizes] == [3, 3] * 2, "six views, three at a time"
    assert model.roi_heads.mask_on, "switched on again"


def test_other_classes_are_kept_and_the_best_come_first():
    score = {40: 0.5, 80: 0.9, 120: 0.7}
    model = BrightObjects(score=lambda size: score[size[0]], label=lambda size: int(size[0] == 120))
    cfg = config([40, 80, 120])
    instances = GeneralizedRCNNWithTTA(cfg, model).eval()([{"image": picture()}])[0]["instances"]
    assert instances.pred_classes.tolist() == [0, 1]
    assert instances.scores.tolist() == pytest.approx([0.9, 0.7])
    cfg.TEST.DETECTIONS_PER_IMAGE = 1
    instances = GeneralizedRCNNWithTTA(cfg, model).eval()([{"image": picture()}])[0]["instances"]
    assert instances.scores.tolist() == pytest.approx([0.9])


def test_boxes_are_clipped_and_bad_ones_dropped():
    cfg = config([40])
    model = BrightObjects(shift=torch.tensor([-20.0, 0, 0, 0]))
    boxes = GeneralizedRCNNWithTTA(cfg, model).eval()([{"image": picture()}])[0]["instances"].pred_boxes
    assert boxes.tensor.tolist() == [[0, 12, 24, 20]]
    for model in (BrightObjects(shift=float("nan")), BrightObjects(score=lambda size: 0.0)):
        assert len(GeneralizedRCNNWithTTA(cfg, model).eval()([{"image": picture()}])[0]["instances"]) == 0


def test_masks_are_reflected_back_and_averaged():
    model = BrightObjects()
    wrapped = GeneralizedRCNNWithTTA(config([40], masks=True), model).eval()
    alone = wrapped([{"image": picture()}])[0]["instances"]
    # the soft mask falls from 1 at x = 10 to 0.2 at x = 22, and so to 0.5 at x = 17.5; its ends fade out
    assert tuple(alone.pred_masks.shape) == (1, HEIGHT, WIDTH)
    assert alone.pred_masks[0, 14:18, 10:17].all() and not alone.pred_masks[0, :, 18:].any()

    model = BrightObjects()
    both = GeneralizedRCNNWithTTA(config([40], masks=True, flip=True), model).eval()([{"image": picture()}])[0]
    boxes = [given.pred_boxes.tensor[0].tolist() for given in model.given]
    assert boxes == [[8, 12, 24, 20], [36, 12, 52, 20]], "each view is asked about its own box"
    # with its reflection the mean is 0.6 everywhere
    assert both["instances"].pred_masks[0, 14:18, 10:22].all()
    assert not both["instances"].pred_masks[0, :, 24:].any()


def test_nothing_found():
    dark = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    for masks in (False, True):
        wrapped = GeneralizedRCNNWithTTA(config([40, 80], masks=masks, flip=True), BrightObjects()).eval()
        instances = wrapped([{"image": dark}])[0]["instances"]
        assert len(instances) == 0 and instances.has("pred_masks") == masks
        assert wrapped([]) == []


def test_image_is_read_from_its_file(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture().permute(1, 2, 0).numpy()).save(path)
    inputs = {"file_name": str(path)}
    instances = GeneralizedRCNNWithTTA(config([40]), BrightObjects()).eval()([inputs])[0]["instances"]
    assert instances.pred_boxes.tensor.tolist() == [BOX]
    assert inputs == {"file_name": str(path)}


def small_rcnn(cfg):
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.update(DEPTH=18, RES2_OUT_CHANNELS=64, OUT_FEATURES=["res2", "res3", "res4", "res5"], NORM="BN")
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_HEADS.update(NAME="StandardROIHeads", NUM_CLASSES=3, IN_FEATURES=["p2", "p3", "p4", "p5"])
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.01
    cfg.MODEL.ROI_BOX_HEAD.update(NAME="FastRCNNConvFCHead", NUM_FC=1, FC_DIM=32, POOLER_RESOLUTION=7)
    cfg.MODEL.ROI_MASK_HEAD.update(NAME="MaskRCNNConvUpsampleHead", NUM_CONV=1, CONV_DIM=16)
    torch.manual_seed(0)
    return build_model(cfg).eval()


def test_one_identity_view_gives_what_the_model_gives():
    cfg = config([64], masks=True)
    model = small_rcnn(cfg)
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    inputs = [{"image": image, "height": 128, "width": 192}]
    with torch.no_grad():
        plain = model(inputs)[0]["instances"]
        wrapped = GeneralizedRCNNWithTTA(cfg, model)(inputs)[0]["instances"]
    assert len(plain) > 5
    # the way to the original image and back costs a few bits
    torch.testing.assert_close(wrapped.pred_boxes.tensor, plain.pred_boxes.tensor, atol=1e-3, rtol=0)
    assert torch.equal(wrapped.scores, plain.scores) and torch.equal(wrapped.pred_classes, plain.pred_classes)
    assert (wrapped.pred_masks != plain.pred_masks).float().mean() < 1e-4


class Columns(nn.Module):
    """Semantic scores that say in which column of the view a pixel is, and the image's brightness."""

    def forward(self, batched_inputs):
        outputs = []
        for x in batched_inputs:
            height, width = x["height"], x["width"]
            column = torch.arange(width).float().expand(height, width)
            bright = nn.functional.interpolate(x["image"][None, :1].float(), size=(height, width))[0, 0]
            outputs.append({"sem_seg": torch.stack([column, bright])})
        return outputs


def test_semantic_scores_are_averaged():
    image = picture()
    wrapped = SemanticSegmentorWithTTA(config([40, 80], flip=True), Columns())
    sem_seg = wrapped([{"image": image}])[0]["sem_seg"]
    assert tuple(sem_seg.shape) == (2, HEIGHT, WIDTH)
    torch.testing.assert_close(sem_seg[0], torch.full((HEIGHT, WIDTH), (WIDTH - 1) / 2))
    assert ((sem_seg[1] > 100) == (image[0] > 100)).float().mean() > 0.97, "reflections lie on each other"
    plain = SemanticSegmentorWithTTA(config([40]), Columns())([{"image": image}])[0]["sem_seg"]
    assert torch.equal(plain, Columns()([{"image": image, "height": HEIGHT, "width": WIDTH}])[0]["sem_seg"])


def test_kind_of_model_decides():
    cfg = config([40])
    assert isinstance(build_model_with_tta(cfg, BrightObjects()), GeneralizedRCNNWithTTA)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    assert isinstance(build_model_with_tta(cfg, Columns()), SemanticSegmentorWithTTA)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    with pytest.raises(BadValue, match="'RetinaNet'.*needs a GeneralizedRCNN, not a Columns"):
        build_model_with_tta(cfg, Columns())
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(BadValue, match="keypoints"):
        build_model_with_tta(cfg, BrightObjects())
    cfg.MODEL.KEYPOINT_ON = False
    rotated = BrightObjects()
    rotated.proposal_generator = nn.Module()
    rotated.proposal_generator.anchor_generator = RotatedAnchorGenerator(
        sizes=[[32]], aspect_ratios=[[1.0]], strides=[4], angles=[[0, 90]]
    )
    with pytest.raises(BadValue, match="rotated boxes"):
        build_model_with_tta(cfg, rotated)
