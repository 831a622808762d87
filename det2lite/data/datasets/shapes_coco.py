"""The truth about a scene in the words of COCO: instances, keypoints, panoptic and semantic maps."""

from collections import defaultdict

import numpy as np
import pycocotools.mask as mask_util

from det2lite.data.datasets.shapes_drawing import UNITS, Dice
from det2lite.data.datasets.shapes_scene import (
    CORNER_NAMES,
    NO_SEGMENT,
    STUFF_NAMES,
    THING_NAMES,
    Scene,
    Segment,
    box_of,
)

# As in COCO the ids have gaps, so that a program that confuses ids with contiguous labels is found out.
THING_IDS = (1, 2, 4, 5, 7)
STUFF_IDS = (12, 13, 15)
IGNORE_LABEL = 255
COLOURS = {
    "circle": (228, 60, 50),
    "rectangle": (50, 120, 220),
    "triangle": (250, 180, 30),
    "star": (160, 70, 200),
    "cross": (40, 170, 90),
    "things": (82, 18, 128),
    "clouds": (150, 190, 220),
    "stripes": (200, 170, 140),
    "checks": (130, 130, 130),
}


def categories(*, panoptic: bool = False) -> list[dict]:
    """The `categories` of an instance file, or of a panoptic file with stuff and colours."""
    things = [{"id": i, "name": n, "supercategory": "shape"} for i, n in zip(THING_IDS, THING_NAMES, strict=True)]
    if not panoptic:
        triangle = things[THING_NAMES.index("triangle")]
        triangle.update(keypoints=list(CORNER_NAMES), skeleton=[[1, 2], [2, 3], [3, 1]])
        return things
    stuff = [{"id": i, "name": n, "supercategory": "ground"} for i, n in zip(STUFF_IDS, STUFF_NAMES, strict=True)]
    for is_thing, group in ((1, things), (0, stuff)):
        for category in group:
            category.update(isthing=is_thing, color=list(COLOURS[category["name"]]))
    return things + stuff


def category_id(segment: Segment) -> int:
    return (STUFF_IDS if segment.is_stuff else THING_IDS)[segment.label]


def boundary_loops(mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """The polygons along the pixel edges of a bool mask (H, W), and whether any of them bounds a hole.

    Each is (N, 2) XY pixels, corners only. Pixels that touch at a corner alone are different parts. A polygon of
    pycocotools with these points is decoded to the very same pixels.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    edges = defaultdict(list)  # start -> ends; the mask lies on the right hand of an edge, seen along it, y down
    across = np.diff(padded, axis=0)[:, 1:-1]  # (H + 1, W): between the rows y - 1 and y
    for y, x in np.argwhere(across).tolist():
        start, end = ((x, y), (x + 1, y)) if across[y, x] > 0 else ((x + 1, y), (x, y))
        edges[start].append(end)
    along = np.diff(padded, axis=1)[1:-1]  # (H, W + 1)
    for y, x in np.argwhere(along).tolist():
        start, end = ((x, y + 1), (x, y)) if along[y, x] > 0 else ((x, y), (x, y + 1))
        edges[start].append(end)
    loops, has_hole = [], False
    for start in sorted(edges):
        while edges[start]:
            loop = _follow(edges, start)
            x, y = loop[:, 0], loop[:, 1]
            has_hole |= int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) < 0  # holes run the other way round
            loops.append(loop)
    return loops, has_hole


def _follow(edges: dict, start: tuple[int, int]) -> np.ndarray:
    """Take one closed loop out of the edges and return its corners (N, 2)."""
    loop, point, heading = [], start, None
    while True:
        ends = edges[point]
        right = heading and (point[0] - heading[1], point[1] + heading[0])
        if right in ends:  # also where four edges meet: turning right stays on the same part
            ends.remove(right)
            end = right
        elif point == start and heading:
            break
        else:
            end = ends.pop()
        step = (end[0] - point[0], end[1] - point[1])
        if step != heading:
            loop.append(point)
        point, heading = end, step
    first = (loop[1][0] - loop[0][0], loop[1][1] - loop[0][1])
    if (first[0] == 0) == (heading[0] == 0):
        loop = loop[1:]  # the start was in the middle of a straight line
    return np.array(loop)


def uncompressed_rle(mask: np.ndarray) -> dict:
    """COCO's run lengths of a bool mask (H, W) as plain numbers, column by column, the first run being empty pixels."""
    pixels = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8), prepend=0, append=1 - int(pixels[-1])))
    counts = np.diff(changes, prepend=0)
    return {"size": list(mask.shape), "counts": counts.tolist()}


def compressed_rle(mask: np.ndarray) -> dict:
    encoded = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def segmentation(segment: Segment, visible: np.ndarray) -> list | dict:
    """The outline itself when the thing is whole; else the visible pixels' edges; run lengths for crowds and holes."""
    if segment.is_crowd:
        return uncompressed_rle(visible)
    if segment.outline is not None and np.array_equal(visible, segment.solid):
        return [(segment.outline / UNITS).reshape(-1).tolist()]
    loops, has_hole = boundary_loops(visible)
    return compressed_rle(visible) if has_hole else [loop.reshape(-1).tolist() for loop in loops]


def keypoints(segment: Segment, visible: np.ndarray) -> list[int]:
    """x, y, visibility of each corner of a triangle; zeros for other shapes and for corners beyond the picture.

    As in COCO x and y name a pixel; visibility is 1 where more than half of the object around the corner is covered,
    else 2.
    """
    values = []
    height, width = visible.shape
    for corner in segment.corners if segment.corners is not None else [None] * len(CORNER_NAMES):
        if corner is None or not (0 <= corner[0] < width * UNITS and 0 <= corner[1] < height * UNITS):
            values += [0, 0, 0]
            continue
        x, y = int(corner[0]) // UNITS, int(corner[1]) // UNITS
        near = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
        covered = 2 * int(visible[near].sum()) < int(segment.solid[near].sum())
        values += [x, y, 1 if covered else 2]
    return values


def instance_annotations(scene: Scene) -> list[dict]:
    """One annotation for each thing that can be seen, without `id` and `image_id`."""
    annotations = []
    for index, segment in enumerate(scene.segments):
        visible = scene.owner == index
        if segment.is_stuff or not visible.any():
            continue
        points = keypoints(segment, visible)
        annotations.append(
            {
                "category_id": category_id(segment),
                "bbox": list(box_of(visible)),
                "area": int(visible.sum()),
                "iscrowd": int(segment.is_crowd),
                "segmentation": segmentation(segment, visible),
                "keypoints": points,
                "num_keypoints": sum(v > 0 for v in points[2::3]),
            }
        )
    return annotations


def panoptic_map(scene: Scene, dice: Dice) -> tuple[np.ndarray, list[dict]]:
    """A (H, W, 3) uint8 RGB map whose R + 256 G + 65536 B is a segment's id or 0 for none, and its `segments_info`."""
    ids = np.zeros(scene.owner.shape, dtype=np.int64)
    infos, taken = [], {0}
    for index, segment in enumerate(scene.segments):
        visible = scene.owner == index
        if not visible.any():
            continue
        shade = np.clip(np.array(COLOURS[segment.name]) + dice.integers(-25, 25, (3,)), 0, 255)  # (3,) near the class's
        number = int(shade @ (1, 256, 65536))
        while number in taken:
            number += 1
        taken.add(number)
        ids[visible] = number
        infos.append(
            {
                "id": number,
                "category_id": category_id(segment),
                "area": int(visible.sum()),
                "bbox": list(box_of(visible)),
                "iscrowd": int(segment.is_crowd),
            }
        )
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8), infos


def semantic_maps(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Two (H, W) uint8 maps with 255 for pixels of no segment.

    The first counts the things, then the stuff; the second has 0 for any thing and counts the stuff from 1, as the
    semantic branch of Panoptic FPN wants it.
    """
    every, stuff = [], []
    for segment in scene.segments:
        every.append(segment.label + (len(THING_NAMES) if segment.is_stuff else 0))
        stuff.append(segment.label + 1 if segment.is_stuff else 0)
    assert NO_SEGMENT == -1  # so that it picks the last entry of the tables below
    return tuple(np.array(table + [IGNORE_LABEL], dtype=np.uint8)[scene.owner] for table in (every, stuff))
