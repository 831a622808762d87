import cv2
import numpy as np
import pytest

from det2lite.evaluation.sem_seg_numbers import (
    boundary_iou,
    boundary_pixels,
    boundary_width,
    count_pixels,
    sem_seg_scores,
)


def test_scores_by_hand():
    truth = np.array([[0, 0, 0, 0], [1, 1, 3, 3]])  # 3: ignored
    predicted = np.array([[0, 0, 0, 1], [1, 0, 0, 2]])
    counts = count_pixels(predicted, truth, 3)
    assert counts.tolist() == [[3, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    scores = sem_seg_scores(counts)
    # class 0: 3 right, 4 true, 4 predicted; class 1: 1 right, 2 true, 2 predicted; class 2 does not occur
    np.testing.assert_allclose(scores.iou, [3 / 5, 1 / 3, np.nan])
    np.testing.assert_allclose(scores.acc, [3 / 4, 1 / 2, np.nan])
    assert scores.miou == pytest.approx((3 / 5 + 1 / 3) / 2)
    assert scores.fwiou == pytest.approx(4 / 6 * 3 / 5 + 2 / 6 * 1 / 3)
    assert scores.macc == pytest.approx(5 / 8) and scores.pacc == pytest.approx(4 / 6)


def test_counts_are_those_of_hotcoco():
    from hotcoco.semantic import SemanticEval

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 7, (2, 40, 50))
    evaluation = SemanticEval(7)
    evaluation.update(truth, predicted)
    counts = count_pixels(predicted, truth, 7)
    assert (counts[:-1, :-1].T == evaluation.confusion()).all()
    means = evaluation.report()["metrics"]
    scores = sem_seg_scores(counts)
    assert scores.miou == pytest.approx(means["mIoU"]) and scores.fwiou == pytest.approx(means["fwIoU"])


def test_nothing_to_score():
    scores = sem_seg_scores(np.zeros((4, 4), np.int64))
    assert np.isnan(scores.iou).all() and np.isnan([scores.miou, scores.fwiou, scores.macc, scores.pacc]).all()
    assert np.isnan(boundary_iou(np.zeros((4, 4), np.int64))).all()
    assert count_pixels(np.zeros((0, 0), int), np.zeros((0, 0), int), 2).sum() == 0


def eroded(mask, pixels):
    """What the paper's definition leaves of a mask, the outside of the image counting as background."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=pixels)[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("size", [(60, 80), (150, 300), (3, 3), (2, 7), (1, 1)])
def test_boundaries_are_what_erosion_takes_away(size):
    rng = np.random.default_rng(1)
    labels = cv2.resize(rng.integers(0, 4, (5, 6)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    labels[size[0] // 2, size[1] // 3] = 9
    boundary = boundary_pixels(labels)
    expected = np.zeros(size, bool)
    for label in np.unique(labels):
        mask = labels == label
        expected |= mask & ~eroded(mask, boundary_width(*size))
    assert (boundary == expected).all()


def test_boundary_width():
    assert boundary_width(30, 40) == 1
    assert boundary_width(300, 400) == 10  # 2 % of 500
    assert boundary_width(1, 1) == 1


def test_boundary_iou_by_hand():
    # true boundary of class 0: 3 pixels, predicted: 2, common: 1; class 1 is at no boundary
    truth = np.array([[0, 0, 0, 2, 2]])
    predicted = np.array([[0, 2, 2, 0, 2]])
    np.testing.assert_allclose(boundary_iou(count_pixels(predicted, truth, 2)), [1 / 4, np.nan])
