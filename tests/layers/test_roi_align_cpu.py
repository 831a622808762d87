import pytest
import torch
import torchvision

from det2lite.layers import ROIAlign
from det2lite.layers import roi_align_cpu as module
from det2lite.layers.roi_align_cpu import roi_align_cpu, roi_align_levels_cpu

ROIS = [
    [0, 3, 4, 31, 27],
    [1, 0, 0, 80, 60],
    [1, 17.3, 20.1, 18.2, 58.8],
    [0, -50, -60, 120, 100],  # larger than the image
    [1, -900, -3000, 2000, 1500],  # far larger
    [0, -70, 10, 5000, 50],
    [1, 5, 5, 5, 5],  # no area
    [0, 75, 55, 110, 110],  # half outside
    [0, -40, -40, -20, -20],  # all outside
    [1, 50, 50, 20, 20],  # turned over
    [1, 79, 59, 80, 60],
]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 9])
@pytest.mark.parametrize("output_size", [(7, 7), (14, 3), (1, 1)])
def test_equals_torchvision(aligned, sampling_ratio, output_size):
    torch.manual_seed(0)
    features = torch.rand(2, 5, 15, 20, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    want = torchvision.ops.roi_align(features, rois, output_size, 0.25, sampling_ratio, aligned)
    got = roi_align_cpu(features, rois, output_size, 0.25, sampling_ratio, aligned)
    torch.testing.assert_close(got, want)
    weight = torch.rand_like(want)
    torch.testing.assert_close(
        torch.autograd.grad((got * weight).sum(), features), torch.autograd.grad((want * weight).sum(), features)
    )


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_layer_uses_it(channels_last):
    torch.manual_seed(0)
    features = torch.rand(2, 32, 15, 20)
    if channels_last:
        features = features.to(memory_format=torch.channels_last)
    rois = torch.tensor(ROIS)
    pooled = ROIAlign(7, 0.25, 0)(features, rois)
    want = torchvision.ops.roi_align(features, rois, (7, 7), 0.25, 0, True)
    torch.testing.assert_close(pooled, want, rtol=1e-4, atol=1e-4)
    assert pooled.is_contiguous()


def test_features_that_are_part_of_others():
    everything = torch.rand(4, 32, 9, 12).contiguous(memory_format=torch.channels_last)
    rois = torch.tensor([[0, 3.0, 2, 30, 25], [1, 8.0, 1, 40, 35]])
    want = torchvision.ops.roi_align(everything[1:3].contiguous(), rois, (7, 7), 0.25, 0, True)
    torch.testing.assert_close(roi_align_cpu(everything[1:3], rois, (7, 7), 0.25, 0, True), want)


def test_half_precision_features_keep_exact_boxes():
    features = torch.arange(1024.0).expand(1, 16, 8, 1024) / 1024
    roi = torch.tensor([[0, 900.3, 1, 901.7, 5]])
    pooled = ROIAlign(1, 1.0, 1)(features.bfloat16(), roi)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float().mean(), torch.tensor(900.5 / 1024), rtol=0.01, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_absurd_boxes_do_no_harm(bad):
    features = torch.rand(1, 4, 6, 6)
    for roi in ([0, 0, 0, bad, 3], [0, bad, 0, 3, 3], [0, -bad, -bad, bad, bad], [0, bad, 0, bad, 3]):
        for scale in (0.5, 1.0, 2.0):
            assert roi_align_cpu(features, torch.tensor([roi]), (2, 2), scale, 0, True).shape == (1, 4, 2, 2)


def test_nothing():
    features = torch.rand(2, 16, 6, 6, requires_grad=True)
    pooled = roi_align_cpu(features, torch.zeros(0, 5), (7, 7), 0.5, 0, True)
    assert pooled.shape == (0, 16, 7, 7)
    pooled.sum().backward()
    assert features.grad.abs().sum() == 0
    assert roi_align_cpu(torch.rand(0, 16, 6, 6), torch.zeros(0, 5), (7, 7), 0.5, 0, True).shape == (0, 16, 7, 7)


def test_same_under_autocast():
    features = torch.rand(1, 16, 8, 8, requires_grad=True)
    rois = torch.tensor([[0.0, 1.0, 1.0, 6.0, 7.0]])
    plain = roi_align_cpu(features, rois, (3, 3), 1.0, 0, True)
    plain.sum().backward()
    gradient, features.grad = features.grad, None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = roi_align_cpu(features, rois, (3, 3), 1.0, 0, True)
    mixed.sum().backward()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain)
    torch.testing.assert_close(features.grad, gradient)


@pytest.mark.parametrize("at_once", [1, 500, 1 << 21])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_boxes_of_several_levels(monkeypatch, at_once, dtype):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    torch.manual_seed(0)
    features = [torch.rand(2, 5, 30 >> i, 40 >> i, dtype=dtype, requires_grad=True) for i in range(3)]
    rois, levels = torch.tensor(ROIS), torch.tensor([0, 2, 0, 1, 2, 0, -1, 2, 0, 1, 0])
    got = roi_align_levels_cpu(features, rois, levels, (3, 2), [1 / 2, 1 / 4, 1 / 8], 0, True)
    wide = [x.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_() for x in features]
    want = torch.zeros(len(rois), 5, 3, 2, dtype=wide[0].dtype)
    for i, level in enumerate(levels.tolist()):
        if level >= 0:
            roi = rois[i : i + 1].to(want.dtype)
            want[i] = torchvision.ops.roi_align(wide[level], roi, (3, 2), 0.5 / 2**level, 0, True)[0]
    assert got.is_contiguous() and got.dtype == dtype and got[6].count_nonzero() == 0
    torch.testing.assert_close(got, want.to(dtype))
    weight = torch.rand_like(got)
    gradients = torch.autograd.grad((got * weight).sum(), features)
    wanted = torch.autograd.grad((want * weight).sum(), wide)
    torch.testing.assert_close(gradients, tuple(x.to(dtype) for x in wanted))


def test_boxes_that_all_see_nothing():
    features = torch.rand(1, 16, 6, 6, requires_grad=True)
    pooled = roi_align_cpu(features, torch.tensor([[0, -90.0, -90, -50, -60], [0, 9, 9, 3, 3]]), (2, 2), 1.0, 0, True)
    assert pooled.shape == (2, 16, 2, 2) and pooled.count_nonzero() == 0
    pooled.sum().backward()
    assert features.grad.count_nonzero() == 0
