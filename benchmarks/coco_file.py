"""Makes a JSON file of the size and shape of COCO's, from a seed: images, boxes, polygons, a few crowds."""

import json
import os
from collections.abc import Iterator

import numpy as np

TRAIN_IMAGES, TRAIN_ANNOTATIONS = 118_287, 860_001
SIZES = [(480, 640), (640, 480), (427, 640), (426, 640), (612, 612)]  # (height, width)
NUM_CATEGORIES = 80
MEAN_POINTS = 25  # of an object's polygon


def make_coco_file(path: str | os.PathLike, images: int, annotations: int, seed: int = 0) -> None:
    """Writes a file of `images` images and `annotations` annotations; nothing where it is there already."""
    if os.path.exists(path):
        return
    rng = np.random.default_rng(seed)
    categories = [{"id": i + 1, "name": f"class {i:02d}"} for i in range(NUM_CATEGORIES)]
    sizes = [SIZES[i] for i in rng.integers(0, len(SIZES), images)]
    ids = (np.arange(images) * 4 + 9).tolist()
    temporary = f"{os.fspath(path)}.part"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write('{"info": {"description": "synthetic"}, "licenses": [{"id": 1, "name": "none"}], "images": [')
        file.write(", ".join(json.dumps(_image(i, size)) for i, size in zip(ids, sizes, strict=True)))
        file.write('], "annotations": [')
        for number, annotation in enumerate(_annotations(rng, ids, sizes, annotations)):
            file.write((", " if number else "") + json.dumps(annotation))
        file.write(f'], "categories": {json.dumps(categories)}}}')
    os.replace(temporary, path)


def _image(image_id: int, size: tuple[int, int]) -> dict:
    name = f"{image_id:012d}.jpg"
    return {
        "license": 1, "file_name": name, "coco_url": f"http://images.example.org/train/{name}",
        "height": size[0], "width": size[1], "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://flickr.example.org/{name}", "id": image_id,
    }  # fmt: skip


def _annotations(rng: np.random.Generator, ids: list[int], sizes: list, count: int) -> Iterator[dict]:
    owners = rng.integers(0, len(ids), count)
    for number, owner in enumerate(owners.tolist()):
        height, width = sizes[owner]
        w, h = np.minimum(rng.lognormal(4, 1, 2) + 4, (width - 2, height - 2))
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        crowd = rng.random() < 0.01
        yield {
            "segmentation": _runs(rng, height, width) if crowd else [_polygon(rng, x, y, w, h)],
            "area": round(float(w * h * 0.7), 4), "iscrowd": int(crowd), "image_id": ids[owner],
            "bbox": [round(float(v), 2) for v in (x, y, w, h)],
            "category_id": int(rng.integers(1, NUM_CATEGORIES + 1)), "id": number + 1,
        }  # fmt: skip


def _polygon(rng: np.random.Generator, x: float, y: float, w: float, h: float) -> list[float]:
    """A star-shaped outline within the box."""
    points = int(rng.integers(MEAN_POINTS // 2, MEAN_POINTS * 3 // 2 + 1))
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radii = rng.uniform(0.7, 1.0, points) / 2
    outline = np.stack([x + w * (0.5 + radii * np.cos(angles)), y + h * (0.5 + radii * np.sin(angles))], axis=1)
    return np.round(outline, 2).ravel().tolist()


def _runs(rng: np.random.Generator, height: int, width: int) -> dict:
    ends = np.sort(rng.choice(height * width, 200, replace=False))
    return {"counts": np.diff(ends, prepend=0, append=height * width).tolist(), "size": [height, width]}
