from dataclasses import replace

import numpy as np
import pytest
import torch

from det2lite.apis.masks import CroppedMasks
from det2lite.apis.merging import merge_views
from det2lite.apis.result import DetectionResult

SIZE = (100, 200)  # of an image with two tiles that share 40 pixels
LEFT, RIGHT = (0, 0, 120, 100), (80, 0, 200, 100)


def view(*found, masks=False, size=SIZE):
    """found: (x0, y0, x1, y1, score, class)."""
    rows = np.array(found, dtype=np.float32).reshape(-1, 6)
    values = {"boxes": rows[:, :4], "scores": rows[:, 4], "class_ids": rows[:, 5].astype(np.int64)}
    if masks:
        dense = torch.zeros(len(rows), *size, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(dense, rows[:, :4].astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
        values["cropped_masks"] = CroppedMasks.from_dense(dense)
    return DetectionResult(size, **values)


def merged(left, right, method, **options):
    return merge_views([left, right], [LEFT, RIGHT], method=method, **options)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("method", ["ios", "nms"])
def test_an_object_seen_twice_comes_out_once(method, masks):
    result = merged(view((90, 20, 110, 40, 0.9, 1), masks=masks), view((90, 20, 111, 40, 0.8, 1), masks=masks), method)
    assert len(result) == 1 and result.scores.tolist() == pytest.approx([0.9]) and result.class_ids.tolist() == [1]
    assert np.abs(result.boxes - [90, 20, 110, 40]).max() <= 1


@pytest.mark.parametrize("masks", [False, True])
def test_an_object_longer_than_the_overlap_is_joined(masks):
    left = view((40, 20, 120, 40, 0.9, 1), masks=masks)  # cut at 120
    right = view((80, 20, 170, 40, 0.7, 1), masks=masks)  # cut at 80
    result = merged(left, right, "ios")
    assert result.boxes.tolist() == [[40, 20, 170, 40]] and result.scores.tolist() == pytest.approx([0.9])
    if masks:
        assert result.masks.sum() == 130 * 20 and result.masks[0, 20:40, 40:170].all()
    assert merged(left, right, "nms").boxes.tolist() == [[40, 20, 120, 40]]  # the best of two cut views


@pytest.mark.parametrize("method", ["ios", "nms"])
def test_a_whole_view_is_better_than_a_cut_one(method):
    left, right = view((100, 20, 120, 40, 0.95, 1)), view((100, 20, 150, 40, 0.8, 1))
    result = merged(left, right, method)
    assert result.boxes.tolist() == [[100, 20, 150, 40]] and result.scores.tolist() == pytest.approx([0.95])


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("method", ["ios", "nms"])
def test_neighbours_stay_two(method, masks):
    pair = [(85, 20, 100, 40, 0.9, 1), (99, 20, 115, 40, 0.8, 1)]
    assert len(merged(view(*pair, masks=masks), view(*pair, masks=masks), method)) == 2
    nested = [(82, 10, 118, 60, 0.9, 1), (90, 20, 100, 30, 0.8, 1)]
    result = merged(view(*nested, masks=masks), view(*nested[::-1], masks=masks), method)
    assert result.boxes.tolist() == [list(box[:4]) for box in nested]
    side_by_side = merged(view((70, 20, 84, 40, 0.9, 1)), view((84, 20, 130, 40, 0.9, 1)), method)
    assert len(side_by_side) == 2  # each in one tile alone


@pytest.mark.parametrize("method", ["ios", "nms"])
def test_classes_are_kept_apart(method):
    assert len(merged(view((90, 20, 110, 40, 0.9, 1)), view((90, 20, 110, 40, 0.8, 2)), method)) == 2


def test_masks_tell_apart_what_boxes_do_not():
    dense = torch.zeros(2, *SIZE, dtype=torch.bool)
    for k in range(20):  # two triangles of one square
        dense[0, 20 + k, 90 : 90 + k] = True
        dense[1, 20 + k, 90 + k + 1 : 111] = True
    boxes = np.array([[90, 20, 111, 40]], dtype=np.float32)
    parts = [
        DetectionResult(SIZE, boxes, np.array([0.9], np.float32), np.array([1]), CroppedMasks.from_dense(mask[None]))
        for mask in dense
    ]
    assert len(merged(*parts, "ios")) == 2 and len(merged(parts[0], parts[0], "ios")) == 1


def test_methods_differ_where_one_view_is_short():
    left, right = view((90, 20, 105, 40, 0.9, 1)), view((80, 20, 120, 40, 0.8, 1))  # 15 of 40 pixels
    assert len(merged(left, right, "ios")) == 1 and len(merged(left, right, "nms")) == 2
    assert len(merged(left, right, "nms", threshold=0.3)) == 1


def test_four_tiles_meet_in_an_object():
    windows = [(0, 0, 60, 60), (40, 0, 100, 60), (0, 40, 60, 100), (40, 40, 100, 100)]
    whole = (30, 35, 75, 80)
    views = []
    for x0, y0, x1, y1 in windows:
        cut = (max(x0, whole[0]), max(y0, whole[1]), min(x1, whole[2]), min(y1, whole[3]))
        views.append(view((*cut, 0.5, 0), masks=True, size=(100, 100)))
    result = merge_views(views, windows)
    assert result.boxes.tolist() == [list(whole)] and result.masks.sum() == 45 * 45


def test_order_and_other_fields():
    left, right = view((10, 10, 20, 20, 0.3, 0), (90, 20, 110, 40, 0.6, 1)), view((90, 20, 110, 40, 0.9, 1))
    points = [np.array([[[1, 1, 1]], [[2, 2, 1]]], np.float32), np.array([[[3, 3, 1]]], np.float32)]
    left, right = replace(left, keypoints=points[0]), replace(right, keypoints=points[1])
    result = merged(left, right, "ios")
    assert result.scores.tolist() == pytest.approx([0.9, 0.3]) and result.keypoints[:, 0, 0].tolist() == [3, 1]


@pytest.mark.parametrize("method", ["ios", "nms"])
def test_nothing(method):
    for masks in (False, True):
        assert len(merged(view(masks=masks), view(masks=masks), method)) == 0
        assert len(merged(view((1, 1, 2, 2, 0.5, 0), masks=masks), view(masks=masks), method)) == 1
