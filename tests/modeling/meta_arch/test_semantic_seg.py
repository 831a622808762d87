import math

import pytest
import torch

from det2lite.layers import ShapeSpec
from det2lite.modeling import build_model
from det2lite.modeling.meta_arch import SemSegFPNHead
from det2lite.utils.errors import BadValue

SHAPES = {
    "p4": ShapeSpec(channels=6, stride=16),
    "p2": ShapeSpec(channels=6, stride=4),
    "p3": ShapeSpec(channels=6, stride=8),
}
SEMANTIC = (
    "MODEL.META_ARCHITECTURE",
    "SemanticSegmentor",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    3,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM",
    32,
)


def head(**kwargs):
    return SemSegFPNHead(SHAPES, **{"num_classes": 3, "conv_dims": 32, "common_stride": 4, "norm": "GN", **kwargs})


def features(n=2):
    return {name: torch.randn(n, 6, 64 // shape.stride, 32 // shape.stride) for name, shape in SHAPES.items()}


def test_layers():
    net = head()
    assert net.in_features == ["p2", "p3", "p4"]
    convs = {name: sum(key.endswith(".norm.weight") for key in getattr(net, name).state_dict()) for name in SHAPES}
    assert convs == {"p2": 1, "p3": 1, "p4": 2}
    assert net.layers(features()).shape == (2, 3, 16, 8)
    assert head(norm="").p2[0].bias is not None and net.p2[0].bias is None


def test_prediction():
    net = head().eval()
    logits, losses = net(features())
    assert logits.shape == (2, 3, 64, 32) and losses == {}
    assert net(features(0))[0].shape == (0, 3, 64, 32)


def test_losses_by_hand():
    net = head(ignore_value=9, loss_weight=0.5)
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, 1] = math.log(2)  # probabilities 1/4, 1/2, 1/4 everywhere
    target = torch.full((1, 4, 8), 9)
    target[0, 0, 0], target[0, 3, 7] = 1, 2
    loss = net.losses(logits, target)["loss_sem_seg"]
    assert loss.item() == pytest.approx(0.5 * (math.log(2) + math.log(4)) / 2)
    assert net.losses(logits, torch.full((1, 4, 8), 9))["loss_sem_seg"] == 0  # nothing is labelled


def test_training(tiny_config, tiny_batch):
    model = build_model(tiny_config(*SEMANTIC)).train()
    with pytest.raises(ValueError, match="needs 'sem_seg'"):
        model(tiny_batch)
    for inputs in tiny_batch:
        inputs["sem_seg"] = torch.ones(inputs["image"].shape[1:], dtype=torch.int64)
    losses = model(tiny_batch)
    losses["loss_sem_seg"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.sem_seg_head.parameters())


def test_padding_is_not_learnt(tiny_config):
    model = build_model(tiny_config(*SEMANTIC)).train()
    seen = []
    model.sem_seg_head.losses = lambda logits, targets: seen.append(targets) or {}
    model([{"image": torch.zeros(3, 20, 40), "sem_seg": torch.zeros(20, 40, dtype=torch.int64)}])
    assert seen[0].shape == (1, 32, 64) and seen[0].dtype == torch.int64
    assert (seen[0][0, :20, :40] == 0).all() and (seen[0] == 255).sum() == 32 * 64 - 20 * 40


def test_output_size(tiny_config):
    model = build_model(tiny_config(*SEMANTIC)).eval()
    with torch.no_grad():
        one, other = model(
            [{"image": torch.zeros(3, 20, 40), "height": 30, "width": 60}, {"image": torch.zeros(3, 1, 1)}]
        )
    assert one["sem_seg"].shape == (3, 30, 60) and other["sem_seg"].shape == (3, 1, 1)


def test_mistakes():
    with pytest.raises(BadValue, match="IN_FEATURES"):
        SemSegFPNHead({}, num_classes=3, conv_dims=32, common_stride=4)
