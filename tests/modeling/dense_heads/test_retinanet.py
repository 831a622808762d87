import math

import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.layers import CycleBatchNormList, ShapeSpec
from det2lite.modeling.dense_heads import RetinaNetHead
from det2lite.utils.errors import BadValue

SHAPES = [ShapeSpec(channels=8, stride=8), ShapeSpec(channels=8, stride=16)]


def head(**kwargs):
    settings = {"input_shape": SHAPES, "num_classes": 5, "num_anchors": 3, "conv_dims": [6, 4], **kwargs}
    return RetinaNetHead(**settings)


def test_shapes_and_prior():
    maps = [torch.zeros(2, 8, 4, 6), torch.zeros(2, 8, 2, 3)]
    logits, deltas = head(prior_prob=0.02)(maps)
    assert [tuple(x.shape) for x in logits] == [(2, 15, 4, 6), (2, 15, 2, 3)]
    assert [tuple(x.shape) for x in deltas] == [(2, 12, 4, 6), (2, 12, 2, 3)]
    torch.testing.assert_close(logits[0].sigmoid(), torch.full((2, 15, 4, 6), 0.02))
    empty, _ = head()([torch.zeros(0, 8, 4, 6), torch.zeros(0, 8, 2, 3)])
    assert empty[0].shape == (0, 15, 4, 6)
    with pytest.raises(ValueError, match="1 feature maps for 2"):
        head()(maps[:1])


def test_state_names():
    assert list(head().state_dict())[::2] == [
        "cls_subnet.0.weight",
        "cls_subnet.2.weight",
        "bbox_subnet.0.weight",
        "bbox_subnet.2.weight",
        "cls_score.weight",
        "bbox_pred.weight",
    ]
    assert math.isclose(head().cls_score.bias[0].item(), -math.log(99), rel_tol=1e-6)


def test_batch_norm_keeps_levels_apart():
    with_norm = head(norm="BN")
    norms = [m for m in with_norm.modules() if isinstance(m, CycleBatchNormList)]
    assert len(norms) == 4 and all(len(norm) == 2 for norm in norms)
    with_norm([torch.randn(2, 8, 4, 6), 5 + torch.randn(2, 8, 2, 3)])
    first, second = norms[0]
    assert not torch.allclose(first.running_mean, second.running_mean)


@pytest.mark.parametrize("norm, kind", [("GN", nn.GroupNorm), ("", type(None))])
def test_norms(norm, kind):
    found = [m for m in head(conv_dims=[32], norm=norm).modules() if isinstance(m, kind)]
    assert len(found) == (2 if norm else 0)


def test_mixing_statistics_warns(caplog):
    head(norm="naiveSyncBN")
    assert "mixes their statistics" in caplog.text


def test_from_config():
    cfg = get_cfg()
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    assert RetinaNetHead(cfg, SHAPES).cls_score.out_channels == 15 * 80
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64, 128]]
    with pytest.raises(BadValue, match="equal numbers of anchors"):
        RetinaNetHead(cfg, SHAPES)
