"""A data set without faults, and one fault after the other planted in it."""

import copy
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, IMAGES, OBJECTS = 64, 48, 6, 3
RLE = {"size": [HEIGHT, WIDTH], "counts": [100, 10, 38, 10, HEIGHT * WIDTH - 158]}  # 20 pixels


def content() -> dict:
    """6 images of 64 x 48 with 3 objects each; image ids from 1, annotation ids are 10 x image + object."""
    categories = [
        {"id": 1, "name": "细胞"},
        {"id": 5, "name": "cell", "keypoints": ["top", "end"], "skeleton": [[1, 2]]},
    ]
    images = [{"id": i, "file_name": f"im {i}.png", "width": WIDTH, "height": HEIGHT} for i in range(1, IMAGES + 1)]
    annotations = []
    for image in images:
        for j in range(OBJECTS):
            x, y, w, h = 4 + 20 * j, 3 + image["id"], 12 + j, 20
            annotation = {"id": 10 * image["id"] + j, "image_id": image["id"], "category_id": 5 if j else 1}
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation |= {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "segmentation": [outline]}
            if j:
                annotation |= {"keypoints": [x, y, 2, x + w, y + h, 1], "num_keypoints": 2}
            annotations.append(annotation)
    return {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}


def write(folder: Path, data: dict | None = None) -> Path:
    """Writes the images, all different, and the JSON beside them. Returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, IMAGES + 1):
        Image.fromarray(picture(i)).save(folder / f"im {i}.png")
    path = folder / "data.json"
    path.write_text(json.dumps(content() if data is None else data, ensure_ascii=False), encoding="utf-8")
    return path


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def annotation_of(data: dict, number: int) -> dict:
    return next(annotation for annotation in data["annotations"] if annotation["id"] == number)


def _set(number, **values):
    return lambda data: annotation_of(data, number).update(values)


def _drop(number, key):
    return lambda data: annotation_of(data, number).pop(key)


def _image(number, **values):
    return lambda data: data["images"][number - 1].update(values)


def _repeat(number, **values):
    def plant(data):
        data["annotations"].append(copy.deepcopy(annotation_of(data, number)) | values)

    return plant


def _polygons(number, *polygons):
    return _set(number, segmentation=[*map(list, polygons)])


def _empty_image(data):
    data["images"].append({"id": 7, "file_name": "im 6b.png", "width": WIDTH, "height": HEIGHT})


def _whole(number, x, y, w, h, **values):
    """Box, mask and area all moved, without keypoints."""

    def plant(data):
        annotation = annotation_of(data, number)
        annotation.pop("keypoints", None), annotation.pop("num_keypoints", None)
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation.update({"bbox": [x, y, w, h], "area": w * h, "segmentation": [outline]} | values)

    return plant


# kind -> plant(data), image id, annotation id; no other finding may come of it
ENTRY_FAULTS = {
    "missing-field": (_drop(21, "bbox"), 2, 21),
    "missing-field image": (lambda d: d["images"][1].pop("height"), 2, None),
    "not-a-number": (_set(21, bbox=[24, 5, "13", 20]), 2, 21),
    "not-a-number nan": (_set(21, bbox=[1, 2, float("nan"), 4]), 2, 21),
    "not-a-number inf": (_set(21, area=float("inf")), 2, 21),
    "not-a-number polygon": (_polygons(21, [24, 5, 37, 5, 37, "25", 24, 25]), 2, 21),
    "not-a-number size": (_image(2, width="64"), 2, None),
    "not-a-number huge": (_set(21, area=10**400), 2, 21),
    "duplicate-annotation-id": (lambda d: annotation_of(d, 22).update(id=21), 2, 21),
    "duplicate-category-id": (lambda d: d["categories"].append({"id": 5, "name": "other"}), None, None),
    "unknown-category": (_set(21, category_id=7), 2, 21),
    "unused-category": (lambda d: d["categories"].append({"id": 9, "name": "none"}), None, None),
    "orphan-annotation": (_repeat(21, id=99, image_id=77), 77, 99),
    "orphan-annotation text": (_repeat(21, id=99, image_id="2"), "2", 99),
    "ignore-flag": (_set(21, ignore=1), 2, 21),
    "bad-crowd-flag": (_set(21, iscrowd="yes"), 2, 21),
    "image-size": (_image(2, width=0), 2, None),
    "image-size hostile": (_image(2, width=10**9, height=10**9), 2, None),
    "duplicate-annotation": (_repeat(21, id=99), 2, 99),
    "image-without-annotations": (_empty_image, 7, None),
    "negative-box": (_set(21, bbox=[30, 20, -5, 4], area=20, segmentation=[[25, 20, 30, 20, 30, 24, 25, 24]]), 2, 21),
    "empty-box": (_set(21, bbox=[30, 20, 0, 4]), 2, 21),
    "box-outside": (_set(21, bbox=[70, 20, 5, 4], area=20, segmentation=dict(RLE)), 2, 21),
    "box-beyond-edge": (_set(21, bbox=[50, 5, 17, 20], area=20, segmentation=dict(RLE)), 2, 21),
    "box-unlike-mask": (_set(21, bbox=[24, 25, 13, 20]), 2, 21),
    "bad-segmentation": (_set(21, segmentation=[24, 5, 37, 5, 37, 25, 24, 25]), 2, 21),
    "bad-segmentation text": (_set(21, segmentation="mask"), 2, 21),
    "short-polygon": (_polygons(21, [24, 5, 37, 5, 37, 25, 24, 25], [24, 5, 37, 5]), 2, 21),
    "odd-polygon": (_polygons(21, [24, 5, 37, 5, 37, 25, 24, 25], [24, 5, 37, 5, 37, 25, 24]), 2, 21),
    "polygon-outside": (_whole(21, 45, 5, 18, 20, segmentation=[[45, 5, 67, 5, 67, 25, 45, 25]]), 2, 21),
    "rle-size": (_set(21, segmentation={**RLE, "size": [WIDTH, HEIGHT]}), 2, 21),
    "broken-rle": (_set(21, segmentation={**RLE, "counts": [100, 10]}), 2, 21),
    "broken-rle text": (_set(21, segmentation={**RLE, "counts": "~~~"}), 2, 21),
    "crowd-polygon": (_set(21, iscrowd=1), 2, 21),
    "missing-segmentation": (_drop(21, "segmentation"), 2, 21),
    "wrong-area": (_set(21, area=4000), 2, 21),
    "wrong-area rle": (_set(21, segmentation=dict(RLE), area=100), 2, 21),
    "wrong-area missing": (_drop(21, "area"), 2, 21),
    "keypoint-length": (_set(21, keypoints=[1, 2, 2]), 2, 21),
    "keypoint-count": (_set(21, num_keypoints=1), 2, 21),
    "keypoint-count without any": (_drop(21, "keypoints"), 2, 21),
    "keypoint-visibility": (_set(21, keypoints=[24, 5, 3, 37, 25, 1]), 2, 21),
    "keypoint-outside": (_set(21, keypoints=[24, 5, 2, 70, 25, 1]), 2, 21),
    "not-a-number keypoints": (_set(21, keypoints=[24, 5, 2, 37, None, 1]), 2, 21),
}


def jpeg(array: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", exif=exif)
    return file.getvalue()


def bomb_png(width: int = 60000, height: int = 60000) -> bytes:
    """A PNG of a few bytes that asks for gigabytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _rewrite(content_of):
    def plant(folder: Path):
        path = folder / "im 3.png"
        path.write_bytes(content_of(path))

    return plant


# kind -> plant(folder); each is a finding of image 3
FILE_FAULTS = {
    "missing-image": lambda folder: (folder / "im 3.png").unlink(),
    "unreadable-image": _rewrite(lambda path: b"no image"),
    "unreadable-image empty": _rewrite(lambda path: b""),
    "truncated-image": _rewrite(lambda path: path.read_bytes()[:3000]),
    "truncated-image jpeg": _rewrite(lambda path: jpeg(picture(3))[:1200]),
    "huge-image": _rewrite(lambda path: bomb_png()),
    "size-differs": lambda folder: Image.fromarray(picture(3, 60, 48)).save(folder / "im 3.png"),
    "exif-turned": _rewrite(lambda path: jpeg(picture(3), 6)),
    "exif-orientation": _rewrite(lambda path: jpeg(picture(3), 3)),
    "duplicate-image": _rewrite(lambda path: (path.parent / "im 2.png").read_bytes()),
}
