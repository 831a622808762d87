import pytest
import torch

from det2lite.layers import ROIAlign, ROIAlignRotated
from det2lite.layers.roi_align_rotated import roi_align_rotated


def ramp(height=5, width=5):
    """Feature value = 5 * y + x at the centre (x + 0.5, y + 0.5) of each cell."""
    return (torch.arange(height)[:, None] * 5.0 + torch.arange(width))[None, None]


@pytest.mark.parametrize(("aligned", "offset"), [(True, 0.5), (False, 0.0)])
def test_a_ramp_is_read_at_the_bin_centers(aligned, offset):
    pooled = ROIAlign((4, 4), 1.0, 0, aligned=aligned)(ramp(), torch.tensor([[0, 1, 1, 3, 3.0]]))
    centers = torch.tensor([1.25, 1.75, 2.25, 2.75]) - offset
    torch.testing.assert_close(pooled[0, 0], centers[:, None] * 5 + centers)


def test_scale_and_batch_index():
    features = torch.cat([ramp(), ramp() + 100])
    pooled = ROIAlign((1, 1), 0.5, 2)(features, torch.tensor([[1, 2, 2, 6, 6], [0, 2, 2, 6, 6.0]]))
    torch.testing.assert_close(pooled.flatten(), torch.tensor([109.0, 9.0]))


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize("kind", [ROIAlign, ROIAlignRotated])
def test_boxes_that_are_no_number_end_no_process(kind, channels):
    features = torch.ones(1, channels, 12, 16, requires_grad=True)
    whole = [0, 8, 6, 4, 4, 0] if kind is ROIAlignRotated else [0, 6, 4, 10, 8]
    broken = [[0, *[value] * (len(whole) - 1)] for value in (torch.nan, torch.inf, -torch.inf)]
    half = [*whole[:3], torch.nan, *whole[4:]]
    pooled = kind(2, 1.0, 2)(features, torch.tensor([*broken, half, whole]))
    assert (pooled[-1] == 1).all() and (pooled[:3] <= 1).all()
    pooled[-1].sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(("kind", "columns"), [(ROIAlign, 5), (ROIAlignRotated, 6)])
def test_nothing(kind, columns):
    layer = kind((7, 5), 1.0, 0)
    features = torch.rand(2, 3, 10, 10, requires_grad=True)
    pooled = layer(features, torch.zeros(0, columns))
    assert pooled.shape == (0, 3, 7, 5)
    pooled.sum().backward()
    assert layer(torch.zeros(0, 3, 10, 10), torch.zeros(0, columns)).shape == (0, 3, 7, 5)
    with pytest.raises(AssertionError):
        layer(features, torch.zeros(2, 4))


def test_text():
    text = "ROIAlign(output_size=(7, 5), spatial_scale=0.25, sampling_ratio=0, aligned=True)"
    assert repr(ROIAlign((7, 5), 0.25, 0)) == text
    assert repr(ROIAlignRotated(7, 0.25, 0)) == "ROIAlignRotated(output_size=7, spatial_scale=0.25, sampling_ratio=0)"


class TestRotated:
    rois = torch.tensor([[0, 5, 6, 18, 15.0], [1, -4, -3, 40, 10], [1, 2.2, 3.3, 7.9, 9.1], [0, 0, 0, 60, 40]])

    def rotated(self, angle=0.0):
        center, size = (self.rois[:, 1:3] + self.rois[:, 3:]) / 2, self.rois[:, 3:] - self.rois[:, 1:3]
        return torch.cat([self.rois[:, :1], center, size, torch.full((4, 1), angle)], dim=1)

    @pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
    def test_at_angle_zero_it_is_roi_align(self, sampling_ratio):
        torch.manual_seed(0)
        features = torch.rand(2, 3, 20, 30, requires_grad=True)
        upright = ROIAlign((7, 5), 0.5, sampling_ratio)(features, self.rois)
        turned = ROIAlignRotated((7, 5), 0.5, sampling_ratio)(features, self.rotated())
        torch.testing.assert_close(turned, upright, rtol=1e-4, atol=1e-5)
        weight = torch.rand_like(upright)
        (want,) = torch.autograd.grad((upright * weight).sum(), features)
        (got,) = torch.autograd.grad((turned * weight).sum(), features)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)

    def test_quarter_turns(self):
        features = ramp(8, 8)
        square = torch.tensor([[0, 4, 4, 4, 4, 0.0]])
        upright = ROIAlignRotated((4, 4), 1.0, 2)(features, square)
        for turns in (1, 2, 3):
            square[0, 5] = 90 * turns
            turned = ROIAlignRotated((4, 4), 1.0, 2)(features, square)
            # seen from a box turned counter-clockwise, the picture is turned clockwise
            torch.testing.assert_close(turned, torch.rot90(upright, -turns, dims=(2, 3)), rtol=1e-4, atol=1e-4)

    def test_gradient(self):
        features = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
        roi = torch.tensor([[0, 3, 3, 4, 2, 30.0]])
        assert torch.autograd.gradcheck(lambda x: ROIAlignRotated((3, 3), 1.0, 0)(x, roi), (features,))

    def test_large_boxes_read_only_what_is_inside(self):
        torch.manual_seed(0)
        features = torch.rand(2, 3, 20, 24, dtype=torch.float64, requires_grad=True)
        rois = torch.tensor([[0, 40, 40, 300, 200, 33.0], [1, 10, 70, 30, 260, -70], [1, 0, 0, 90, 90, 0]])
        want = roi_align_rotated(features, rois, (7, 5), 0.25, 0)
        (want_gradient,) = torch.autograd.grad((want**2).sum(), features)
        for chunk_values in (1, 1000, 10000):  # of one box 10,000 to 200,000
            got = roi_align_rotated(features, rois, (7, 5), 0.25, 0, chunk_values)
            torch.testing.assert_close(got, want)
            torch.testing.assert_close(torch.autograd.grad((got**2).sum(), features)[0], want_gradient)

    def test_a_box_far_larger_than_the_map_takes_little_memory(self):
        ones = torch.ones(1, 256, 16, 16)  # values of all its points: 64 GB
        pooled = ROIAlignRotated((7, 7), 0.25, 0)(ones, torch.tensor([[0, 32, 32, 16000, 16000, 0.0]]))
        # 18 x 18 of its 4004 x 4004 points, from one cell before the map to one behind it, are in the middle of 7 x 7
        assert pooled[0, :, 3, 3].unique().item() == pytest.approx((18 / (4004 / 7)) ** 2)
        assert pooled.count_nonzero() == 256

    @pytest.mark.parametrize("output_size", [3, (2, 4)])
    @pytest.mark.parametrize("sampling_ratio", [0, 2])
    def test_scripts(self, output_size, sampling_ratio):
        layer = ROIAlignRotated(output_size, 0.5, sampling_ratio)
        scripted, features = torch.jit.script(layer), torch.rand(2, 3, 16, 16)
        rois = torch.tensor([[0, 4, 4, 8, 2, 30], [1, 9, 9, 3, 17, -45], [1, 31, 31, 5, 5, 120.0]])
        for chosen in (rois, rois[:0]):
            assert torch.equal(scripted(features, chosen), layer(features, chosen))
