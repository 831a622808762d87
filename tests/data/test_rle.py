import numpy as np
import pycocotools.mask as coco_mask
import pytest

from det2lite.data.rle import decode_rle
from det2lite.utils.errors import BadValue

RNG = np.random.default_rng(0)


def blobs(height, width, share):
    coarse = RNG.random((height // 7 + 1, width // 7 + 1)) < share
    return np.kron(coarse, np.ones((7, 7), bool))[:height, :width].astype(np.uint8)


def runs(mask):
    """Run lengths down the columns, by walking through the pixels."""
    counts, value = [0], 0
    for pixel in mask.flatten(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (30, 41), (200, 150)])
@pytest.mark.parametrize("share", [0, 0.3, 0.7, 1])
def test_decodes_what_coco_encodes(size, share):
    for mask in (blobs(*size, share), (RNG.random(size) < share).astype(np.uint8)):
        rle = coco_mask.encode(np.asfortranarray(mask))
        assert np.array_equal(decode_rle(rle), mask)
        assert np.array_equal(decode_rle({**rle, "counts": rle["counts"].decode()}), mask)
        assert np.array_equal(decode_rle({"size": list(size), "counts": runs(mask)}), mask)


def test_by_hand():
    assert decode_rle({"size": [2, 3], "counts": [1, 2, 3]}).tolist() == [[0, 1, 0], [1, 0, 0]]
    # "123" is 1, 2, 3; "1231" adds the difference 1 to 2
    assert decode_rle({"size": [3, 3], "counts": "1231"}).tolist() == [[0, 0, 1], [1, 0, 1], [1, 0, 1]]
    assert decode_rle({"size": [6, 7], "counts": "Z1"}).tolist() == [[0] * 7] * 6  # 42 = 10 + 32 * 1
    assert decode_rle({"size": [0, 5], "counts": ""}).shape == (0, 5)


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [3, 3], "counts": [3]},
        {"size": [3, 3], "counts": [12, -3]},
        {"size": [3, 3], "counts": [[9]]},
        {"size": [3, 3], "counts": [2**63, 2**63]},
        {"size": [3, 3], "counts": ["a"]},
        {"size": [3, 3], "counts": "1"},
        {"size": [3, 3], "counts": "9o"},
        {"size": [3, 3], "counts": b"\xff\x00"},
        {"size": [3, 3], "counts": "Oooooooooooooooooo1"},
        {"size": [3, 3], "counts": ""},
        {"size": [3, 3], "counts": None},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [-3, -3], "counts": [9]},
        {"size": [3], "counts": [3]},
        {"size": [3, 3]},
        {"counts": [3]},
    ],
)
def test_what_does_not_fit_is_refused(rle):
    with pytest.raises(BadValue, match="run-length"):
        decode_rle(rle)


def test_noise_is_decoded_or_refused():
    for _ in range(300):
        text = bytes(RNG.integers(48, 112, RNG.integers(0, 8), dtype=np.uint8))
        try:
            mask = decode_rle({"size": [4, 5], "counts": text})
        except BadValue:
            continue
        assert mask.shape == (4, 5)
