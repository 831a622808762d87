"""Random ground truth and detections in the COCO format, with everything that makes matching difficult."""

import contextlib
import copy
import io

import numpy as np
import pycocotools.mask as mask_util
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HEIGHT, WIDTH, NUM_CATEGORIES = 120, 160, 4


def rle_of(box):
    """An L-shaped mask in a box XYWH."""
    x0, y0, x1, y1 = (int(v) for v in (box[0], box[1], box[0] + box[2] + 1, box[1] + box[3] + 1))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = 0
    rle = mask_util.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_box(rng):
    width, height = rng.choice([10, 35, 100], 2) * rng.uniform(0.5, 1.1, 2)
    box = [rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height), width, height]
    return [float(v) for v in box]


def polygon_of(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x + w / 2, y + h, x, y + 0.6 * h]


def random_data(seed, num_images=10):
    """(ground truth, results): crowds, ties of scores, images with neither, and a category that never occurs."""
    rng = np.random.default_rng(seed)
    images = [{"id": 7 * i + 3, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"} for i in range(num_images)]
    annotations, results = [], []
    for image in images:
        if rng.random() < 0.15:
            continue
        boxes = [random_box(rng) for _ in range(rng.integers(0, 8))]
        for box in boxes:
            crowd = bool(rng.random() < 0.15)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 3 * int(rng.integers(0, NUM_CATEGORIES - 1)) + 1,
                    "bbox": box,
                    "area": float(box[2] * box[3] * rng.uniform(0.4, 1)),
                    "iscrowd": int(crowd),
                    "segmentation": rle_of(box) if crowd else [polygon_of(box)],
                }
            )
        if rng.random() < 0.1:
            continue
        for _ in range(rng.integers(0, 20)):
            box = random_box(rng)
            category_id = 3 * int(rng.integers(0, NUM_CATEGORIES - 1)) + 1
            if boxes and rng.random() < 0.7:
                meant = annotations[len(annotations) - 1 - rng.integers(len(boxes))]
                category_id = meant["category_id"]
                box = meant["bbox"] + rng.normal(0, 1, 4)
                box = [*np.clip(box[:2], 0, [WIDTH - 2, HEIGHT - 2]), *np.maximum(box[2:], 1)]
            score = rng.random()
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": category_id,
                    "bbox": [float(np.float32(v)) for v in box],
                    "score": float(round(score, 1) if seed % 2 else np.float32(score)),
                    "segmentation": rle_of(box),
                }
            )
    categories = [{"id": 3 * c + 1, "name": f"class {c}"} for c in range(NUM_CATEGORIES)]
    return {"images": images, "categories": categories, "annotations": annotations}, results


def reference(dataset, results, task, cls=COCOeval, **params):
    """pycocotools' evaluation, or that of another class of its kind."""
    results = copy.deepcopy(results)
    if task == "segm":
        for result in results:
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        detections = truth.loadRes(results) if results else COCO()
        evaluation = cls(truth, detections, task)
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.fixture(scope="session")
def random_coco():
    """`random_coco(seed) -> (ground truth, results)`."""
    return random_data


@pytest.fixture(scope="session")
def pycocotools_reference():
    """`pycocotools_reference(ground truth, results, task, cls=COCOeval, **params) -> COCOeval after summarize`."""
    return reference
