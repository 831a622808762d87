"""Whole models and single parts compiled by `torch.jit.script`."""

import pytest
import torch
from torch import nn

from det2lite.export import scripting_with_instances
from det2lite.export.run import FIELDS, in_the_order_of
from det2lite.export.torchscript_patch import freeze_training_mode, patch_instances
from det2lite.layers import Conv2d, FrozenBatchNorm2d, ROIAlign
from det2lite.modeling.anchor_generator import RotatedAnchorGenerator
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.modeling.proposal_generator.rpn import StandardRPNHead
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.testing import assert_instances_allclose, convert_scripted_instances, reload_script_model

TWO_STAGE = [
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    pytest.param("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml", marks=pytest.mark.slow),
    pytest.param("COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_1x.yaml", marks=pytest.mark.slow),
    "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
]


@pytest.fixture(autouse=True)
def without_optimising():
    """What TorchScript does to run fast takes longer than these tests."""
    with torch.jit.optimized_execution(False):
        yield


def assert_same(found, expected):
    assert_instances_allclose(in_the_order_of(expected, found), expected, rtol=1e-4)


@pytest.mark.parametrize("name", TWO_STAGE)
@torch.no_grad()
def test_two_stage(name, small_model, images):
    """A batch of different sizes, and one image by itself, loaded again as another program would."""
    model = small_model(name)
    scripted = reload_script_model(scripting_with_instances(model, FIELDS))
    for batch in (images, images[1:2]):
        inputs = [{"image": image} for image in batch]
        expected = model.inference(inputs, do_postprocess=False)
        found = scripted.inference(inputs, do_postprocess=False)
        assert min(map(len, expected)) > 0
        for ours, theirs in zip(expected, found, strict=True):
            assert_same(convert_scripted_instances(theirs), ours)
    assert len(scripted(inputs)[0].scores) == len(expected[0])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "MODEL.RETINANET.SCORE_THRESH_TEST"),
        ("COCO-Detection/fcos_R_50_FPN_1x.yaml", "MODEL.FCOS.SCORE_THRESH_TEST"),
    ],
)
@torch.no_grad()
def test_one_stage(name, key, small_model, images):
    model = small_model(name, {key: 0.005})
    fields = {"pred_boxes": Boxes, "scores": torch.Tensor, "pred_classes": torch.Tensor}
    scripted = scripting_with_instances(model, fields)
    inputs = [{"image": image} for image in images]
    for ours, theirs, image in zip(model(inputs), scripted(inputs), images, strict=True):
        on_image = detector_postprocess(convert_scripted_instances(theirs), *image.shape[1:])
        assert len(on_image) > 0
        assert_same(on_image, ours["instances"])


@torch.no_grad()
def test_no_detections(small_model, images):
    name = TWO_STAGE[0]
    model = small_model(name, {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1.0})
    found = scripting_with_instances(model, FIELDS).inference([{"image": images[0]}], do_postprocess=False)
    found = convert_scripted_instances(found[0])
    assert len(found) == 0 and found.pred_masks.shape == (0, 1, 28, 28) and found.image_size == (96, 128)


@torch.no_grad()
def test_proposals_and_region_heads_by_themselves(small_model, images):
    model = small_model(TWO_STAGE[0])
    batch = model.preprocess_image([{"image": image} for image in images])
    features = model.backbone(batch.tensor)
    proposals, _ = model.proposal_generator(batch, features)
    expected, _ = model.roi_heads(batch, features, proposals)
    with patch_instances(FIELDS) as typed:
        with freeze_training_mode(model):
            rpn, heads = torch.jit.script(model.proposal_generator), torch.jit.script(model.roi_heads)
        found, losses = rpn(batch, features)
        assert losses == {}
        for ours, theirs in zip(proposals, found, strict=True):
            assert_instances_allclose(convert_scripted_instances(theirs), ours, rtol=1e-5)
        found, _ = heads(batch, features, [typed.from_instances(p) for p in proposals])
        for ours, theirs in zip(expected, found, strict=True):
            assert_same(convert_scripted_instances(theirs), ours)
    rpn_model = scripting_with_instances(small_model("COCO-Detection/rpn_R_50_FPN_1x.yaml"), FIELDS)
    assert len(rpn_model([{"image": images[0]}])[0].proposal_boxes) > 0


@torch.no_grad()
def test_parts():
    torch.manual_seed(0)
    x = torch.randn(1, 16, 9, 12)
    for norm in (None, FrozenBatchNorm2d(4), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)):
        conv = Conv2d(16, 4, 3, bias=norm is None, norm=norm, activation=nn.ReLU()).eval()
        for buffer in conv.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
        assert torch.equal(torch.jit.script(conv)(x), conv(x))
    head = StandardRPNHead(in_channels=16, num_anchors=2, conv_dims=[-1, 8]).eval()
    for ours, theirs in zip(head([x, x[..., :5]]), torch.jit.script(head)([x, x[..., :5]]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    align = ROIAlign((7, 7), 0.25, 0)
    for rois in (torch.tensor([[0.0, 1, 2, 30, 20], [0, 5, 5, 5, 5]]), torch.zeros(0, 5)):
        torch.testing.assert_close(torch.jit.script(align)(x, rois), align(x, rois))
    anchors = RotatedAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4], angles=[[0, 90]])
    assert torch.equal(torch.jit.script(anchors)([x])[0].tensor, anchors([x])[0].tensor)


def test_instances_of_no_objects():
    def empty(x: Instances):
        return x[x.scores > 2], len(x[x.scores > 2])

    with patch_instances({"pred_boxes": Boxes, "scores": torch.Tensor}) as typed:
        x = typed((5, 5), pred_boxes=Boxes(torch.ones(2, 4)), scores=torch.ones(2))
        chosen, count = torch.jit.script(empty)(x)
        assert count == 0 and convert_scripted_instances(chosen).pred_boxes.tensor.shape == (0, 4)


def test_padding_of_a_traced_batch_follows_the_images():
    def batch(a, b):
        images = ImageList.from_tensors([a, b], 4)
        return images.tensor, images.image_sizes[1]

    traced = torch.jit.trace(batch, (torch.rand(3, 5, 6), torch.rand(3, 7, 4)))
    tensor, size = traced(torch.rand(3, 9, 9), torch.rand(3, 2, 13))
    assert tensor.shape == (2, 3, 12, 16) and size.tolist() == [2, 13]
