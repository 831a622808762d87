import numpy as np
import pytest

from det2lite.evaluation.pascal_voc_numbers import VocBoxes, average_precision, match_detections


def boxes(rows):
    """rows: (image, x0, y0, x1, y1)"""
    table = np.array(rows, float).reshape(-1, 5)
    return VocBoxes(image=table[:, 0], corners=table[:, 1:])


def ap(detections, scores, objects, difficult, threshold=0.5):
    """(11-point AP, area AP)"""
    difficult = np.array(difficult, bool)
    matches = match_detections(boxes(detections), np.array(scores, float), boxes(objects), difficult)
    both = [average_precision(matches, (~difficult).sum(), threshold, eleven_points=points) for points in (True, False)]
    return pytest.approx(tuple(both), nan_ok=True)


A, B, C = [0, 1, 1, 10, 10], [0, 21, 1, 30, 10], [1, 1, 1, 10, 10]
NOWHERE = [1, 50, 50, 60, 60]


def test_by_hand():
    # right, wrong, right, of 3 objects: precisions 1 up to recall 1/3, then 2/3 up to 2/3
    expected = (4 * 1 + 3 * 2 / 3) / 11, 1 / 3 + 1 / 3 * 2 / 3
    assert ap([A, NOWHERE, B], [0.9, 0.8, 0.7], [A, B, C], [0, 0, 0]) == expected
    # the order comes from the scores
    assert ap([B, NOWHERE, A], [0.7, 0.8, 0.9], [A, B, C], [0, 0, 0]) == expected


def test_an_object_counts_once():
    # the second is a duplicate and wrong, although another object would be free in another image
    assert ap([A, A, C], [0.9, 0.8, 0.7], [A, C], [0, 0]) == ((6 * 1 + 5 * 2 / 3) / 11, 0.5 + 0.5 * 2 / 3)


def test_difficult_objects_do_not_count():
    assert ap([A, A, B], [0.9, 0.8, 0.7], [A, B], [1, 0]) == (1, 1)
    assert ap([NOWHERE, A], [0.9, 0.8], [A, C], [1, 0]) == (0, 0)


def test_overlap_counts_pixels_and_must_be_above_the_threshold():
    # 10 pixels wide against 5 of them: exactly half
    half = [0, 1, 1, 5, 10]
    assert ap([half], [0.9], [A], [0]) == (0, 0)
    assert ap([half], [0.9], [A], [0], threshold=0.49) == (1, 1)
    one_pixel = [0, 4, 4, 4, 4]
    assert ap([one_pixel], [0.9], [one_pixel], [0], threshold=0.95) == (1, 1)


def test_nothing():
    assert ap([], [], [A], [0]) == (0, 0)
    for detections, objects, difficult in (([], [], []), ([A], [], []), ([A], [A], [1])):
        assert ap(detections, [0.5] * len(detections), objects, difficult) == (np.nan, np.nan)


def definition(detections, scores, objects, difficult, threshold):
    """The protocol detection by detection, as the development kit describes it."""
    taken, right, counted, curve = set(), 0, 0, []
    for i in np.argsort(-np.array(scores), kind="stable"):
        image, x0, y0, x1, y1 = detections[i]
        best, best_iou = None, -1
        for j, (other, u0, v0, u1, v1) in enumerate(objects):
            if other != image:
                continue
            inter = max(min(x1, u1) - max(x0, u0) + 1, 0) * max(min(y1, v1) - max(y0, v0) + 1, 0)
            iou = inter / ((x1 - x0 + 1) * (y1 - y0 + 1) + (u1 - u0 + 1) * (v1 - v0 + 1) - inter)
            if iou > best_iou:
                best, best_iou = j, iou
        if best_iou > threshold and difficult[best]:
            continue
        counted += 1
        if best_iou > threshold and best not in taken:
            taken.add(best)
            right += 1
        curve.append((right / sum(not d for d in difficult), right / counted))
    eleven = [max([p for r, p in curve if r >= t], default=0) for t in np.arange(0.0, 1.1, 0.1)]
    recalls = [0, *(r for r, _ in curve)]
    area = sum((recalls[i + 1] - recalls[i]) * max(p for _, p in curve[i:]) for i in range(len(curve)))
    return sum(eleven) / 11, area


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_definition(seed):
    rng = np.random.default_rng(seed)

    def random_boxes(count):
        low, size = rng.integers(1, 40, (count, 2)), rng.integers(4, 25, (count, 2))
        return [[int(i), *map(float, row)] for i, row in
                zip(rng.integers(0, 12, count), np.hstack([low, low + size]), strict=True)]  # fmt: skip

    objects = random_boxes(40)
    near = [[o[0], *(np.array(o[1:]) + rng.integers(-2, 3, 4)).tolist()] for o in objects for _ in range(2)]
    detections = [*near, *random_boxes(60)]
    scores = rng.random(len(detections)).round(1 + seed % 2)
    difficult = (rng.random(len(objects)) < 0.2).tolist()
    for threshold in (0.5, 0.75):
        expected = definition(detections, scores, objects, difficult, threshold)
        assert 0 < expected[0] < 1
        assert ap(detections, scores, objects, difficult, threshold) == expected
