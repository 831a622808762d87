"""Findings about keypoints."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from det2lite.data.preflight.boxes import EDGE
from det2lite.data.preflight.content import Columns, Content, hashable, number
from det2lite.data.preflight.findings import Finding, finding
from det2lite.data.preflight.structure import place_of


def keypoint_counts(content: Content) -> dict[Any, int]:
    """Keypoints of an object, by category id: as the category says, else as most of its annotations have."""
    lengths: dict[Any, Counter] = {}
    for annotation in content.annotations:
        keypoints = annotation.get("keypoints")
        if isinstance(keypoints, list) and keypoints and hashable(annotation.get("category_id")):
            lengths.setdefault(annotation["category_id"], Counter())[len(keypoints) // 3] += 1
    counts = {category: counter.most_common(1)[0][0] for category, counter in lengths.items()}
    for category in content.categories:
        if hashable(category.get("id")) and isinstance(category.get("keypoints"), list) and category["keypoints"]:
            counts[category["id"]] = len(category["keypoints"])
    return counts


def check_keypoints(content: Content, columns: Columns) -> Iterator[Finding]:
    counts = keypoint_counts(content)
    if not counts:
        return
    sizes = columns.box_sizes
    for row, annotation in enumerate(content.annotations):
        keypoints = annotation.get("keypoints")
        if keypoints is None or keypoints == []:
            if claimed := annotation.get("num_keypoints"):
                what = f"num_keypoints is {str(claimed)[:40]}, and there are no keypoints"
                yield finding("keypoint-count", what, **place_of(annotation, columns, content, row))
            continue
        category = annotation.get("category_id")
        count = counts.get(category, 0) if hashable(category) else 0
        for fault in keypoint_faults(keypoints, annotation, count, sizes[row]):
            yield finding(*fault, **place_of(annotation, columns, content, row))


def keypoint_faults(keypoints: Any, annotation: dict, count: int, size: np.ndarray) -> Iterator[tuple[str, str]]:
    """(kind, what) of each fault. count: keypoints of an object, 0 if unknown; size: (2,) width and height or NaN."""
    if not isinstance(keypoints, list):
        yield "keypoint-length", f"keypoints are a {type(keypoints).__name__}, not a list"
        return
    if len(keypoints) % 3 or (count and len(keypoints) != 3 * count):
        wanted = f"3 x {count}" if count else "a multiple of 3"
        yield "keypoint-length", f"keypoints are {len(keypoints)} numbers, not {wanted}"
        return
    values = np.array([number(value) for value in keypoints]).reshape(-1, 3)  # (K, 3)
    if np.isnan(values).any():
        yield "not-a-number", "keypoints hold what is no finite number"
        return
    visibility = values[:, 2]
    if not np.isin(visibility, (0, 1, 2)).all():
        wrong = visibility[~np.isin(visibility, (0, 1, 2))][0]
        yield "keypoint-visibility", f"a keypoint has visibility {wrong:g}"
    labelled = values[visibility > 0, :2]
    given = annotation.get("num_keypoints")
    if given is not None and given != len(labelled):
        yield "keypoint-count", f"num_keypoints is {str(given)[:40]}, {len(labelled)} are labelled"
    beyond = np.concatenate([-labelled, labelled - size])
    if np.nan_to_num(beyond).max(initial=0) > EDGE:
        yield "keypoint-outside", f"a labelled keypoint lies {np.nanmax(beyond):.1f} pixels beyond the image"
