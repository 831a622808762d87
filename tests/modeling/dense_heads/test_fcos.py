import torch

from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling.dense_heads import FCOSHead

SHAPES = [ShapeSpec(channels=32, stride=8), ShapeSpec(channels=32, stride=16)]


def test_shapes_and_prior():
    cfg = get_cfg()
    cfg.MODEL.FCOS.NUM_CONVS = 1
    head = FCOSHead(cfg, SHAPES)
    logits, distances, centerness = head([torch.zeros(2, 32, 4, 6), torch.zeros(2, 32, 2, 3)])
    assert [tuple(x.shape) for x in logits] == [(2, 80, 4, 6), (2, 80, 2, 3)]
    assert [tuple(x.shape) for x in distances] == [(2, 4, 4, 6), (2, 4, 2, 3)]
    assert [tuple(x.shape) for x in centerness] == [(2, 1, 4, 6), (2, 1, 2, 3)]
    torch.testing.assert_close(logits[0].sigmoid(), torch.full((2, 80, 4, 6), 0.01))


def test_explicit_arguments():
    head = FCOSHead(input_shape=SHAPES, conv_dims=[16, 8], num_classes=3)
    assert set(head.state_dict()) == {
        f"{name}.{kind}"
        for name in (
            "cls_subnet.0",
            "cls_subnet.2",
            "bbox_subnet.0",
            "bbox_subnet.2",
            "cls_score",
            "bbox_pred",
            "ctrness",
        )
        for kind in ("weight", "bias")
    }
    assert head.ctrness.weight.shape == (1, 8, 3, 3)
