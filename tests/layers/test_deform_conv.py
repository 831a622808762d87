import pytest
import torch
from torch.nn import functional as F

from det2lite.layers import DeformConv, ModulatedDeformConv, get_norm
from det2lite.layers.deform_conv import deform_conv, modulated_deform_conv


def test_without_offset_it_is_a_convolution():
    torch.manual_seed(0)
    x, offset = torch.rand(2, 4, 6, 7), torch.zeros(2, 18, 3, 4)
    conv = DeformConv(4, 6, 3, stride=2, padding=1)
    torch.testing.assert_close(conv(x, offset), F.conv2d(x, conv.weight, stride=2, padding=1))
    modulated = ModulatedDeformConv(4, 6, 3, stride=2, padding=1)
    out = modulated(x, offset, torch.full((2, 9, 3, 4), 0.5))
    torch.testing.assert_close(out, F.conv2d(x, modulated.weight * 0.5, modulated.bias, stride=2, padding=1))


def test_an_offset_of_one_cell_shifts():
    x = torch.rand(1, 1, 5, 5)
    conv = DeformConv(1, 1, 1)
    offset = torch.zeros(1, 2, 5, 5)
    offset[:, 0] = 1  # y
    shifted = F.pad(x, (0, 0, 0, 1))[:, :, 1:] * conv.weight
    torch.testing.assert_close(conv(x, offset), shifted)


def test_deformable_groups_norm_activation():
    conv = ModulatedDeformConv(
        4, 8, 3, padding=1, deformable_groups=2, bias=False, norm=get_norm("GN", 32), activation=F.relu
    )
    assert set(conv.state_dict()) == {"weight", "norm.weight", "norm.bias"}
    conv.norm = get_norm("BN", 8)
    assert conv(torch.rand(1, 4, 5, 5), torch.zeros(1, 36, 5, 5), torch.ones(1, 18, 5, 5)).min() == 0


def test_empty_batch():
    conv = ModulatedDeformConv(4, 8, 3, padding=1)
    out = conv(torch.zeros(0, 4, 5, 6), torch.zeros(0, 18, 5, 6), torch.zeros(0, 9, 5, 6))
    assert out.shape == (0, 8, 5, 6)
    out.sum().backward()
    assert conv.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    x, offset, mask = torch.rand(1, 4, 6, 7), torch.randn(1, 18, 6, 7), torch.rand(1, 9, 6, 7)
    inputs = [t.to(dtype) for t in (x, offset, mask)]
    for conv, number in ((DeformConv(4, 6, 3, padding=1), 2), (ModulatedDeformConv(4, 6, 3, padding=1), 3)):
        want = conv(*(t.float() for t in inputs[:number]))
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(conv(*inputs[:number]), want.to(dtype))
        got = conv.to(dtype)(*inputs[:number])
        got.sum().backward()
        assert got.dtype == dtype and conv.weight.grad.isfinite().all()
        torch.testing.assert_close(got, want.to(dtype), rtol=0.05, atol=0.05)  # its weights are rounded
    weight = conv.weight.detach()
    torch.testing.assert_close(
        modulated_deform_conv(*inputs, weight, padding=1),
        modulated_deform_conv(*(t.float() for t in inputs), weight.float(), padding=1).to(dtype),
    )


def test_refusals():
    with pytest.raises(ValueError, match="too small"):
        DeformConv(1, 1, 3)(torch.rand(1, 1, 2, 2), torch.rand(1, 18, 1, 1))
    with pytest.raises(AssertionError, match="groups"):
        DeformConv(3, 4, 3, groups=2)
    with pytest.raises(AssertionError, match="bias"):
        DeformConv(3, 4, 3, bias=True)


def test_text():
    assert repr(DeformConv(3, 10, 3, padding=1)) == (
        "DeformConv(in_channels=3, out_channels=10, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "dilation=(1, 1), groups=1, deformable_groups=1, bias=False)"
    )
    assert repr(ModulatedDeformConv(3, 10, 3, padding=1)) == (
        "ModulatedDeformConv(in_channels=3, out_channels=10, kernel_size=(3, 3), stride=1, padding=1, "
        "dilation=1, groups=1, deformable_groups=1, bias=True)"
    )


def test_functions_are_what_the_modules_do():
    torch.manual_seed(0)
    x, offset, mask = torch.rand(2, 4, 6, 7), torch.randn(2, 36, 6, 7), torch.rand(2, 18, 6, 7)
    plain = DeformConv(4, 6, 3, padding=1, groups=2, deformable_groups=2)
    found = deform_conv(x, offset, plain.weight, 1, 1, 1, 2, 2)
    assert torch.equal(found, plain(x, offset))
    modulated = ModulatedDeformConv(4, 6, 3, padding=1, groups=2, deformable_groups=2)
    torch.nn.init.normal_(modulated.bias)
    found = modulated_deform_conv(x, offset, mask, modulated.weight, modulated.bias, 1, 1, 1, 2, 2)
    assert torch.equal(found, modulated(x, offset, mask))


def test_points_that_are_no_number_count_as_outside():
    """torchvision's operator would read anywhere in memory, and end the process."""
    torch.manual_seed(0)
    layer, x = DeformConv(2, 3, 3, padding=1), torch.rand(1, 2, 6, 6)
    offset, outside = torch.zeros(2, 1, 18, 6, 6)
    offset[0, 4:6, 2, 3] = torch.tensor([torch.nan, torch.inf])
    outside[0, 4:6, 2, 3] = 1000
    offset.requires_grad_()
    output = layer(x, offset)
    assert torch.equal(output, layer(x, outside)) and output.isfinite().all()
    output.sum().backward()
    assert offset.grad.isfinite().all() and layer.weight.grad.isfinite().all()
