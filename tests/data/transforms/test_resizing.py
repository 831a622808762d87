import numpy as np
import pytest
import torch

from det2lite.data import transforms as T

shape = T.ResizeShortestEdge.get_output_shape


def test_output_shape():
    assert shape(480, 640, 800, 1333) == (800, 1067)
    assert shape(640, 480, 800, 1333) == (1067, 800)
    assert shape(500, 500, 800, 1333) == (800, 800)
    assert shape(100, 1000, 800, 1333) == (133, 1333)  # the long edge wins
    assert shape(1, 1, 800, 1333) == (800, 800)
    assert shape(427, 640, 800, 1333) == (800, 1199)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_output_shape_in_torchscript():
    def resized(image):
        h, w = T.ResizeShortestEdge.get_output_shape(image.shape[-2], image.shape[-1], 80, 133)
        return torch.zeros(h, w)

    scripted = torch.jit.script(resized)
    for size in ((10, 10), (8, 100), (30, 20)):
        assert scripted(torch.zeros(3, *size)).shape == resized(torch.zeros(3, *size)).shape


def test_shortest_edge_range_and_choice():
    image = np.zeros((20, 40, 3), np.uint8)
    np.random.seed(0)
    lengths = {T.ResizeShortestEdge((5, 7))(T.AugInput(image)).new_h for _ in range(60)}
    assert lengths == {5, 6, 7}
    lengths = {T.ResizeShortestEdge((5, 7), sample_style="choice")(T.AugInput(image)).new_h for _ in range(60)}
    assert lengths == {5, 7}
    assert T.ResizeShortestEdge(10).get_transform(image).new_w == 20
    assert T.ResizeShortestEdge(10, max_size=16).get_transform(image).new_w == 16
    assert isinstance(T.ResizeShortestEdge(0).get_transform(image), T.NoOpTransform)
    assert T.ResizeShortestEdge([10.5], sample_style="choice").get_transform(image).new_w == 21


def test_shortest_edge_draws_as_numpy_does():
    image = np.zeros((20, 40), np.uint8)
    np.random.seed(7)
    drawn = [T.ResizeShortestEdge((5, 90)).get_transform(image).new_h for _ in range(5)]
    drawn += [T.ResizeShortestEdge((5, 6, 9), sample_style="choice").get_transform(image).new_h for _ in range(5)]
    np.random.seed(7)
    expected = [np.random.randint(5, 91) for _ in range(5)] + [np.random.choice((5, 6, 9)) for _ in range(5)]
    assert drawn == expected


def test_no_image_is_resized_to_nothing():
    assert shape(900, 1, 800, 208) == (208, 1)
    assert shape(1, 9000, 800, 1333) == (1, 1333)
    thin = np.zeros((900, 1, 3), dtype=np.uint8)
    for resize in (T.ResizeShortestEdge(800, 208), T.ResizeScale(0.1, 0.1, 100, 100)):
        assert resize.get_transform(thin).apply_image(thin).shape[1] == 1


def test_shortest_edge_refuses():
    with pytest.raises(AssertionError, match="two numbers"):
        T.ResizeShortestEdge((1, 2, 3))
    with pytest.raises(AssertionError, match="'uniform'"):
        T.ResizeShortestEdge((1, 2), sample_style="uniform")


def test_resize_and_random_resize():
    image = np.zeros((20, 40, 3), np.uint8)
    assert T.Resize(9)(T.AugInput(image)).new_w == 9
    transform = T.Resize([3, 4]).get_transform(image)
    assert (transform.h, transform.w, transform.new_h, transform.new_w) == (20, 40, 3, 4)
    np.random.seed(0)
    sizes = {(t.new_h, t.new_w) for t in (T.RandomResize([(2, 3), (4, 5)]).get_transform(image) for _ in range(30))}
    assert sizes == {(2, 3), (4, 5)}


@pytest.mark.parametrize("size, expected", [((100, 200), (60, 120)), ((200, 100), (80, 40)), ((1, 1), (80, 80))])
def test_resize_scale_fits_into_the_scaled_target(size, expected):
    # scale 2: a target of 80 x 120
    transform = T.ResizeScale(2.0, 2.0, 40, 60).get_transform(np.zeros((*size, 3), np.uint8))
    assert (transform.new_h, transform.new_w) == expected


def test_large_scale_jitter_gives_the_target_size():
    np.random.seed(1)
    augs = [T.ResizeScale(0.1, 2.0, 64, 48), T.FixedSizeCrop((64, 48))]
    for size in ((30, 90), (77, 11), (64, 48)):
        image, _ = T.apply_augmentations(augs, np.zeros((*size, 3), np.uint8))
        assert image.shape == (64, 48, 3)
