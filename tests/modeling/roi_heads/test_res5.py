import pytest
import torch

from det2lite.layers import ShapeSpec
from det2lite.modeling import build_model
from det2lite.modeling.roi_heads import Res5ROIHeads
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue

C4 = (
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", ["res4"]),
    *("MODEL.RPN.IN_FEATURES", ["res4"], "MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32]]),
    *("MODEL.ROI_HEADS.IN_FEATURES", ["res4"], "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 14),
)
SHAPES = {"res4": ShapeSpec(channels=64, stride=16)}


def test_regions_by_hand(tiny_config):
    heads = Res5ROIHeads(tiny_config(*C4, "MODEL.MASK_ON", False), SHAPES)
    assert len(heads.res5) == 3 and heads.res5[0].stride == 2 and heads.res5[2].out_channels == 128
    assert not heads.mask_on and not hasattr(heads, "mask_head")
    heads.res5 = torch.nn.Identity()
    features = [torch.arange(2.0)[:, None, None, None].expand(2, 64, 8, 8)]
    boxes = [Boxes(torch.tensor([[0.0, 0, 64, 64]])), Boxes(torch.tensor([[0.0, 0, 64, 64], [16, 16, 32, 32]]))]
    x = heads._shared_roi_transform(features, boxes)
    assert x.shape == (3, 64, 14, 14)
    assert x.mean(dim=(1, 2, 3)).tolist() == [0, 1, 1]


def test_explicit_list_of_blocks(tiny_config):
    explicit = Res5ROIHeads.from_config(tiny_config(*C4), SHAPES)
    explicit["res5"] = list(explicit["res5"])
    assert "res5.2.conv2.weight" in Res5ROIHeads(**explicit).state_dict()


def test_training(tiny_config, tiny_batch):
    torch.manual_seed(0)
    model = build_model(tiny_config(*C4)).train()
    losses = model(tiny_batch)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.roi_heads.parameters())
    for inputs in tiny_batch:
        inputs["instances"] = inputs["instances"][:0]
    losses = model(tiny_batch)
    sum(losses.values()).backward()
    assert losses["loss_mask"] == 0 and losses["loss_box_reg"] == 0


def test_prediction(tiny_config, tiny_batch):
    model = build_model(tiny_config(*C4, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)).eval()
    with torch.no_grad():
        outputs = model(tiny_batch)
        assert outputs[0]["instances"].pred_masks.shape[1:] == (64, 96)
        assert model([{"image": torch.zeros(3, 1, 1)}])[0]["instances"].image_size == (1, 1)
        given = Instances((64, 96), pred_boxes=Boxes(torch.tensor([[4.0, 4, 40, 40]])), pred_classes=torch.tensor([2]))
        none = Instances((80, 64), pred_boxes=Boxes(torch.zeros(0, 4)), pred_classes=torch.zeros(0, dtype=torch.long))
        first, second = model.inference(tiny_batch, [given, none])
    assert first["instances"].pred_masks.shape == (1, 64, 96)
    assert second["instances"].pred_masks.shape == (0, 80, 64)
    with pytest.raises(RuntimeError, match="eval"):
        model.roi_heads.train().forward_with_given_boxes({}, [])


def test_mistakes(tiny_config):
    for overrides, message in (
        (("MODEL.KEYPOINT_ON", True), "no keypoints"),
        (("MODEL.ROI_HEADS.IN_FEATURES", ["res4", "other"]), "one feature map"),
        (("MODEL.ROI_BOX_HEAD.POOLER_TYPE", ""), "POOLER_TYPE"),
    ):
        with pytest.raises(BadValue, match=message):
            Res5ROIHeads(tiny_config(*C4, *overrides), {**SHAPES, "other": SHAPES["res4"]})
    heads = Res5ROIHeads(tiny_config(*C4), SHAPES)
    with pytest.raises(ValueError, match="targets"):
        heads(None, {}, [])
