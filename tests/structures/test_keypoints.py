import numpy as np
import pytest
import torch
from torch.nn import functional as F

from det2lite.structures.keypoints import Keypoints, heatmaps_to_keypoints


def test_basics():
    keypoints = Keypoints(np.arange(18).reshape(2, 3, 3))
    assert keypoints.tensor.dtype == torch.float32 and len(keypoints) == 2
    assert keypoints[-1].tensor.tolist() == keypoints[1].tensor.tolist() == [[[9, 10, 11], [12, 13, 14], [15, 16, 17]]]
    assert len(keypoints[torch.tensor([True, False])]) == 1 and len(keypoints[0:0]) == 0
    assert len(Keypoints.cat([keypoints, keypoints[:1]])) == 3
    assert keypoints.to("cpu").device == torch.device("cpu") and repr(keypoints) == "Keypoints(num_instances=2)"
    with pytest.raises(AssertionError):
        Keypoints([[1, 2, 3]])


def test_index_out_of_range():
    with pytest.raises(IndexError):
        Keypoints(torch.zeros(2, 1, 3))[2]


def test_to_heatmap():
    # a box of 10 x 20 at (2, 4), a grid of 5 x 5: cells are 2 wide and 4 high
    points = [[2, 4, 2], [11.9, 23.9, 2], [12, 24, 1], [5, 10, 2], [5, 10, 0], [1.9, 10, 2], [12.1, 10, 2]]
    cells, valid = Keypoints([points]).to_heatmap(torch.tensor([[2, 4, 12, 24.0]]), 5)
    assert valid.tolist() == [[1, 1, 1, 1, 0, 0, 0]]
    assert cells.tolist() == [[0, 24, 24, 1 * 5 + 1, 0, 0, 0]] and cells.dtype == torch.int64


def test_to_heatmap_of_nothing():
    cells, valid = Keypoints(torch.zeros(0, 17, 3)).to_heatmap(torch.zeros(0, 4), 56)
    assert cells.shape == valid.shape == (0, 17)
    _, valid = Keypoints(torch.full((1, 1, 3), 2.0)).to_heatmap(torch.full((1, 4), 2.0), 56)
    assert valid.tolist() in ([[0]], [[1]])


def test_peak_is_found_where_it_was():
    rois = torch.tensor([[10, 20, 66, 76.0], [0.5, 0.5, 28.2, 41.7]])
    maps = torch.zeros(2, 3, 56, 56)
    for roi in range(2):
        for k, (y, x) in enumerate([(3, 4), (30, 50), (55, 0)]):
            maps[roi, k, y, x] = 20
    found = heatmaps_to_keypoints(maps, rois)
    assert found.shape == (2, 3, 4)
    # the first roi has the size of the map: pixel centres are the cell centres
    torch.testing.assert_close(found[0, :, :2], torch.tensor([[14.5, 23.5], [60.5, 50.5], [10.5, 75.5]]))
    torch.testing.assert_close(found[0, :, 2], torch.full((3,), 20.0))
    want = torch.tensor([1 / (1 + (56 * 56 - 1) * torch.tensor(-20.0).exp())] * 3)
    torch.testing.assert_close(found[0, :, 3], want)


def test_equals_the_definition():
    torch.manual_seed(0)
    maps = torch.randn(4, 2, 14, 14) * 3
    rois = torch.tensor([[0, 0, 9.5, 20], [3, 3, 3, 3], [1, 2, 41, 17.3], [0, 0, 1, 1]])
    found = heatmaps_to_keypoints(maps, rois)
    for i, (x0, y0, x1, y1) in enumerate(rois.tolist()):
        width, height = max(x1 - x0, 1), max(y1 - y0, 1)
        size = (int(np.ceil(height)), int(np.ceil(width)))
        full = F.interpolate(maps[i][None], size=size, mode="bicubic", align_corners=False)[0]
        for k in range(2):
            y, x = divmod(int(full[k].argmax()), size[1])
            pool = (maps[i, k] - full[k].max()).exp().sum()
            want = [(x + 0.5) * width / size[1] + x0, (y + 0.5) * height / size[0] + y0, full[k, y, x], 1 / pool]
            torch.testing.assert_close(found[i, k], torch.tensor(want), rtol=1e-4, atol=1e-4)


def test_no_rois():
    assert heatmaps_to_keypoints(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4)).shape == (0, 17, 4)
