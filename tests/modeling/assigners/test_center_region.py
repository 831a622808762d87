import torch

from det2lite.modeling.assigners.center_region import match_points


def grid(stride, width, height):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    center = torch.stack([x, y], dim=-1).reshape(-1, 2) * float(stride)
    return torch.cat([center - stride / 2, center + stride / 2], dim=1)


def test_center_region_and_range_of_sizes():
    cells = [grid(8, 16, 16), grid(16, 8, 8), grid(32, 4, 4)]
    # 40 x 40: its farthest side is 20 to 28 away from central points, so the first level (up to 64) has it
    index = match_points(torch.tensor([[20.0, 20, 60, 60]]), cells, 1.5)
    points = [(i % 16 * 8, i // 16 * 8) for i in (index[:256] == 0).nonzero().squeeze(1).tolist()]
    assert points == [(x, y) for y in (32, 40, 48) for x in (32, 40, 48)]  # within 12 of the centre (40, 40)
    assert (index[256:] == -1).all()


def test_large_objects_go_to_coarse_levels():
    cells = [grid(8, 16, 16), grid(16, 8, 8), grid(32, 4, 4)]
    index = match_points(torch.tensor([[0.0, 0, 128, 128]]), cells, 1.5)
    levels = [part.eq(0).sum().item() for part in index.split([256, 64, 16])]
    # at (64, 64) the farthest side is 64 away: level 0 wants less, level 1 more; its neighbours are 80 away
    assert levels == [0, 8, 0]
    index = match_points(torch.tensor([[-300.0, -300, 428, 428]]), cells, 1.5)
    assert index.split([256, 64, 16])[2].eq(0).sum() == 9  # the last level has no upper bound


def test_smallest_object_wins():
    cells = [grid(8, 8, 8)]
    gt = torch.tensor([[0.0, 0, 48, 48], [20, 20, 28, 28], [16, 16, 32, 32]])
    index = match_points(gt, cells, 1.5).view(8, 8)
    assert index[3, 3] == 1  # (24, 24) is the centre of all three
    assert index[2, 3] == 0  # on the border of the third: inside of the first alone


def test_no_objects():
    assert match_points(torch.zeros(0, 4), [grid(8, 2, 2), grid(16, 1, 1)], 1.5).tolist() == [-1] * 5
    degenerate = torch.tensor([[8.0, 8, 8, 8]])
    assert match_points(degenerate, [grid(8, 4, 4)], 1.5).max() == -1
