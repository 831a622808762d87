from unittest import mock

import numpy as np
import pytest

from det2lite.data import transforms as T


def test_flip():
    image = np.array([[1, 2], [3, 4]], np.uint8)
    assert T.apply_augmentations([T.RandomFlip(1.0)], image)[0].tolist() == [[2, 1], [4, 3]]
    vertical = T.RandomFlip(1.0, horizontal=False, vertical=True)
    assert T.apply_augmentations([vertical], image)[0].tolist() == [[3, 4], [1, 2]]
    assert isinstance(T.RandomFlip(0.0).get_transform(image), T.NoOpTransform)
    for both in (True, False):
        with pytest.raises(ValueError, match="just one"):
            T.RandomFlip(horizontal=both, vertical=both)


def test_flip_happens_below_prob():
    image = np.zeros((2, 2))
    np.random.seed(1)
    flipped = [isinstance(T.RandomFlip(0.3).get_transform(image), T.HFlipTransform) for _ in range(50)]
    np.random.seed(1)
    assert flipped == [np.random.uniform() < 0.3 for _ in range(50)]


@pytest.mark.parametrize("prob, allowed", [(0.0, True), (0.5, True), (1.0, True), (-0.01, False), (1.01, False)])
def test_apply_prob_is_a_probability(prob, allowed):
    if allowed:
        T.RandomApply(T.NoOpTransform(), prob=prob)
    else:
        with pytest.raises(AssertionError, match="prob is a probability"):
            T.RandomApply(T.NoOpTransform(), prob=prob)


@pytest.mark.parametrize("drawn, happens", [(0.0001, True), (0.9, False)])
def test_apply(drawn, happens):
    transform, augmentation = T.HFlipTransform(2), mock.MagicMock(spec=T.Augmentation)
    for wrapped in (transform, augmentation):
        apply = T.RandomApply(wrapped, prob=0.001)
        with mock.patch.object(apply, "_rand_range", return_value=drawn):
            chosen = apply.get_transform("image")
            aug_input = T.AugInput(np.array([[1, 2]], np.uint8))
            apply(aug_input)
        if wrapped is transform:
            assert aug_input.image.tolist() == ([[2, 1]] if happens else [[1, 2]])
            assert (chosen is transform) == happens
        assert isinstance(chosen, T.NoOpTransform) != happens
    assert augmentation.get_transform.call_args_list == ([mock.call("image")] if happens else [])
    assert augmentation.call_count == (1 if happens else 0)


def test_rotation_range():
    np.random.seed(0)
    image = np.zeros((10, 20, 3), np.uint8)
    rotations = [T.RandomRotation((-30, 30), expand=False, center=((0.25, 0.5), (0.75, 0.5))) for _ in range(30)]
    transforms = [rotation.get_transform(image) for rotation in rotations]
    assert all(-30 <= t.angle <= 30 and 5 <= t.center[0] <= 15 and t.center[1] == 5 for t in transforms)
    assert all(t.apply_image(image).shape == (10, 20, 3) for t in transforms)


def test_rotation_choice_and_single_values():
    image = np.zeros((10, 20), np.uint8)
    np.random.seed(0)
    choice = T.RandomRotation([90, 180], sample_style="choice", center=[(0, 0), (1, 1)], expand=False)
    drawn = {(t.angle, tuple(t.center)) for t in (choice.get_transform(image) for _ in range(60))}
    assert drawn == {(90, (0, 0)), (90, (20, 10)), (180, (0, 0)), (180, (20, 10))}
    assert isinstance(T.RandomRotation([0, 360], sample_style="choice").get_transform(image), T.NoOpTransform)
    assert isinstance(T.RandomRotation(0).get_transform(image), T.NoOpTransform)
    quarter = T.RandomRotation(90.0, center=(0.5, 0.5)).get_transform(image)
    assert (quarter.bound_h, quarter.bound_w) == (20, 10)
    with pytest.raises(AssertionError):
        T.RandomRotation(1, sample_style="normal")
