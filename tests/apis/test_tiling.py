import cv2
import numpy as np
import pytest

from det2lite.apis import Tiling, inference_detector
from det2lite.apis.predictions import result_of
from det2lite.apis.tiling import predict_tiled
from det2lite.utils.errors import BadValue


def test_windows():
    tiling = Tiling(40, 10)
    assert tiling.windows(30, 20) == [(0, 0, 20, 30)]
    assert tiling.windows(40, 100) == [(0, 0, 40, 40), (30, 0, 70, 40), (60, 0, 100, 40)]
    assert tiling.windows(50, 41) == [(0, 0, 40, 40), (1, 0, 41, 40), (0, 10, 40, 50), (1, 10, 41, 50)]
    covered = np.zeros((73, 91), int)
    for x0, y0, x1, y1 in Tiling(20, 7).windows(73, 91):
        assert (x1 - x0, y1 - y0) == (20, 20)
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1
    assert Tiling(100).overlap == 25 and len(Tiling(1).windows(2, 2)) == 4


@pytest.mark.parametrize(
    "arguments", [(0,), (-3,), (10, 10), (10, -1), (10, 2, "soft"), (10, 2, "ios", 0), (10, 2, "ios", 2)]
)
def test_mistakes(arguments):
    with pytest.raises(BadValue):
        Tiling(*arguments)


@pytest.mark.parametrize("merge", ["ios", "nms"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_tiles_find_what_the_whole_image_has(blobs, scene, merge, batch_size):
    """Objects on seams, at corners, at the image's border, next to each other."""
    image = scene(
        110,
        150,
        (30, 30, 50, 50, 0),
        (0, 0, 4, 4, 1),
        (146, 106, 150, 110, 1),
        (70, 20, 75, 40, 2),
        (76, 20, 82, 40, 2),
    )
    whole = inference_detector(blobs, image)
    tiled = inference_detector(blobs, image, tiling=Tiling(60, 25, merge), batch_size=batch_size)
    assert len(tiled) == 5 and tiled.image_size == (110, 150)
    order, expected = [np.lexsort(result.boxes.T[:2]) for result in (tiled, whole)]
    assert np.array_equal(tiled.boxes[order], whole.boxes[expected])
    assert np.array_equal(tiled.masks[order], whole.masks[expected])
    assert np.array_equal(tiled.class_ids[order], whole.class_ids[expected])


def test_round_objects_on_seams(blobs, scene):
    """A slice of them is narrower than they are."""
    image = scene(120, 200)
    for x, y, radius in ((50, 60, 18), (100, 40, 30), (160, 60, 25), (95, 95, 14)):
        cv2.circle(image, (x, y), radius, (0, 255, 0), -1)
    whole = inference_detector(blobs, image)
    tiled = inference_detector(blobs, image, tiling=Tiling(60, 20))
    assert len(tiled) == len(whole) == 4
    order, expected = [np.lexsort(result.boxes.T[:2]) for result in (tiled, whole)]
    assert np.array_equal(tiled.boxes[order], whole.boxes[expected])
    assert np.array_equal(tiled.masks[order], whole.masks[expected])


def test_an_object_larger_than_a_tile_is_joined(blobs, scene):
    image = scene(60, 200, (10, 10, 190, 30, 0))
    result = inference_detector(blobs, image, tiling=Tiling(60, 15))
    assert result.boxes.tolist() == [[10, 10, 190, 30]] and result.masks.sum() == 180 * 20
    apart = inference_detector(blobs, image, tiling=Tiling(60, 0))  # only the last two of 4 tiles share pixels
    assert sorted(apart.boxes[:, 0].tolist()) == [10, 60, 120]


def test_one_tile_is_the_image(blobs, scene):
    image = scene(20, 30, (2, 3, 12, 9, 2))
    assert inference_detector(blobs, image, tiling=Tiling(64)).boxes.tolist() == [[2, 3, 12, 9]]
    assert len(inference_detector(blobs, scene(100, 100), tiling=Tiling(30))) == 0


def test_a_map_of_classes_is_refused(blobs, scene):
    def only_a_map(batch):
        return [result_of({}, image.image.shape[:2], blobs.classes) for image in batch]

    with pytest.raises(BadValue, match="find objects"):
        predict_tiled(blobs.prepare, only_a_map, scene(20, 20), Tiling(10), 1)


def test_masks_of_a_mask_rcnn_in_tiles(mask_rcnn):
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    result = inference_detector(mask_rcnn, image, tiling=Tiling(64, 16), batch_size=4)
    assert len(result) and result.masks.shape == (len(result), 100, 150)
    assert (np.diff(result.scores) <= 0).all()
