"""COCO's run-length code of masks, read safely: pycocotools writes outside its memory when runs do not fit the size."""

import numpy as np

from det2lite.utils.errors import BadValue

__all__ = ["decode_rle", "run_lengths"]

MAX_PIXELS = 2**28  # a code of a few bytes can ask for any amount of memory
MAX_CHARACTERS = 7  # of a number, 5 bits each: more than 32 bits hold


def decode_rle(rle: dict) -> np.ndarray:
    """The mask (H, W) uint8, 0 or 1, of {"size": [H, W], "counts": text, bytes or list of run lengths}.

    Raises `BadValue` where the runs do not fill the size exactly, or the size is beyond all images.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        if min(height, width) < 0 or height * width > MAX_PIXELS:
            raise ValueError(f"size {height} x {width}")
        counts = run_lengths(counts)
        if counts.ndim != 1 or (counts < 0).any() or (counts > MAX_PIXELS).any() or counts.sum() != height * width:
            raise ValueError(f"its runs do not add up to its size {height} x {width}")
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise BadValue(f"a segmentation is no valid run-length code: {error}; check its size and counts") from error
    inside = (np.arange(len(counts)) % 2).astype(np.uint8)  # runs are outside and inside by turns, down the columns
    return np.repeat(inside, counts).reshape((height, width), order="F")


def run_lengths(counts: str | bytes | list[int]) -> np.ndarray:
    """The run lengths of a code, (R,) int64. Raises `ValueError` or `OverflowError` for what is none."""
    return _read_counts(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, dtype=np.int64)


def _read_counts(text: str | bytes) -> np.ndarray:
    """The run lengths of a compressed code, (R,) int64.

    Each character holds 5 bits of a number, lowest first, and a 6th that says whether the number goes on; the highest
    bit is the sign. From the fourth on, numbers are differences to the run before the last.
    """
    characters = np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8).astype(np.int64) - 48
    if len(characters) == 0:
        return characters
    last = (characters & 32) == 0  # the number ends here
    if (characters < 0).any() or (characters > 63).any() or not last[-1]:
        raise ValueError("its counts are cut off or hold foreign characters")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > MAX_CHARACTERS:
        raise ValueError("a count has too many digits")
    shifts = 5 * (np.arange(len(characters)) - np.repeat(starts, lengths))
    counts = np.add.reduceat((characters & 31) << shifts, starts)
    counts -= ((characters[ends] & 16) != 0).astype(np.int64) << (5 * lengths)
    counts[1::2] = counts[1::2].cumsum()
    counts[2::2] = counts[2::2].cumsum()
    return counts
