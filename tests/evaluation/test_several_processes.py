"""Every evaluator gathers from several processes exactly what one process computes, also from one without images."""

import importlib.util
import json
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from det2lite.data.datasets import register_coco_instances, register_lvis_instances, register_pascal_voc
from det2lite.engine import launch
from det2lite.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOEvaluator,
    COCOPanopticEvaluator,
    LVISEvaluator,
    PascalVOCDetectionEvaluator,
    RotatedCOCOEvaluator,
    SemSegEvaluator,
    inference_on_dataset,
)
from det2lite.structures import Boxes, Instances, RotatedBoxes
from det2lite.utils import comm

HEIGHT, WIDTH = 40, 60
CASES = {"some": 7, "one": 1}  # images; of one image the second process has none
CITY_CLASSES = ("person", "rider", "car")
KINDS = ["coco", "rotated", "lvis", "voc", "sem_seg", "panoptic"]
if importlib.util.find_spec("cityscapesscripts") is not None:
    KINDS += ["city_instances", "city_maps"]


def truth_of(image_id):
    """Boxes XYXY (R, 4), classes (R,) from 0 to 2."""
    rng = np.random.default_rng(image_id)
    corner, size = rng.integers(0, [30, 18], (4, 2)), rng.integers(10, 22, (4, 2))
    return np.concatenate([corner, corner + size], axis=1), rng.integers(0, 3, 4)


def map_of(image_id, shift=0):
    """(H, W) numbers of boxes from 1, 0 for none, and the classes of those that can be seen."""
    boxes, classes = truth_of(image_id)
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        ids[y0 : y1 - shift, x0 + shift : x1] = number
    return ids, {int(i): int(classes[i - 1]) for i in np.unique(ids) if i}


def detections_of(image_id, *, rotated=False):
    rng = np.random.default_rng(100 + image_id)
    boxes, classes = truth_of(image_id)
    boxes = torch.from_numpy(boxes + rng.normal(0, 1.5, boxes.shape)).float()
    instances = Instances((HEIGHT, WIDTH), scores=torch.from_numpy(rng.random(len(boxes))).float())
    instances.pred_classes = torch.from_numpy(classes)
    if rotated:
        size = boxes[:, 2:] - boxes[:, :2]
        instances.pred_boxes = RotatedBoxes(torch.cat([boxes[:, :2] + size / 2, size, torch.zeros(4, 1)], dim=1))
        return {"instances": instances}
    instances.pred_boxes = Boxes(boxes)
    instances.pred_masks = torch.stack([torch.from_numpy(map_of(image_id, 1)[0] == i) for i in range(1, 5)])
    return {"instances": instances}


def semantic_of(image_id):
    labels, rng = labels_of(image_id), np.random.default_rng(200 + image_id)
    labels = np.where(rng.random(labels.shape) < 0.3, 1, labels)
    return {"sem_seg": torch.nn.functional.one_hot(torch.from_numpy(labels), 19).permute(2, 0, 1).float()}


def labels_of(image_id):
    """(H, W) class + 1 of the box of a pixel, 0 for none."""
    ids, classes = map_of(image_id)
    return sum(((ids == i) * (c + 1) for i, c in classes.items()), np.zeros_like(ids))


def panoptic_of(image_id):
    ids, classes = map_of(image_id, 2)
    segments = [{"id": i, "category_id": c, "isthing": True} for i, c in classes.items()]
    return {"panoptic_seg": (torch.from_numpy(ids), segments)}


OUTPUTS = {
    "rotated": lambda image_id: detections_of(image_id, rotated=True),
    "sem_seg": semantic_of,
    "panoptic": panoptic_of,
    "city_maps": semantic_of,
}


def write_files(folder, num_images):
    """Ground truth of all kinds in a folder."""
    (folder / "panoptic").mkdir(parents=True)
    annotations, lvis_annotations, panoptic = [], [], []
    for i in range(1, num_images + 1):
        ids, seen = map_of(i)
        Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], axis=-1).astype(np.uint8)).save(folder / f"panoptic/{i}.png")
        infos = [{"id": n, "category_id": c + 1, "iscrowd": 0, "area": int((ids == n).sum())} for n, c in seen.items()]
        panoptic.append({"image_id": i, "file_name": f"{i}.png", "segments_info": infos})
        Image.fromarray(labels_of(i).astype(np.uint8)).save(folder / f"{i}.png")
        for (x0, y0, x1, y1), label in zip(*(part.tolist() for part in truth_of(i)), strict=True):
            entry = {"id": len(annotations) + 1, "image_id": i, "category_id": label + 1, "area": (x1 - x0) * (y1 - y0)}
            entry["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            entry["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(entry | {"iscrowd": 0})
            lvis_annotations.append(entry)
    images = [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(1, num_images + 1)]
    lvis_images = [
        image
        | {"coco_url": f"http://x/val/{image['id']}.jpg", "neg_category_ids": [], "not_exhaustive_category_ids": []}
        for image in images
    ]
    categories = [{"id": c, "name": f"c{c}", "isthing": 1, "frequency": "rcf"[c - 1]} for c in (1, 2, 3)]
    for name, parts in {
        "coco": (images, annotations),
        "lvis": (lvis_images, lvis_annotations),
        "panoptic": (images, panoptic),
    }.items():
        content = dict(zip(("images", "annotations"), parts, strict=True)) | {"categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(content))
    write_voc(folder, num_images)
    write_cityscapes(folder / "gtFine" / "val" / "aachen", num_images)


def write_voc(folder, num_images):
    for name in ("Annotations", "ImageSets/Main"):
        os.makedirs(folder / name)
    (folder / "ImageSets/Main/val.txt").write_text("".join(f"{i}\n" for i in range(1, num_images + 1)))
    for i in range(1, num_images + 1):
        objects = [
            f"<object><name>c{label + 1}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin>"
            f"<ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in zip(*truth_of(i), strict=True)
        ]
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{i}.jpg</filename>{size}{''.join(objects)}</annotation>"
        (folder / f"Annotations/{i}.xml").write_text(text)


def write_cityscapes(folder, num_images):
    folder.mkdir(parents=True)
    for i in range(1, num_images + 1):
        ids, seen = map_of(i)
        instances = np.full(ids.shape, 7, np.uint16)  # road
        for number, label in seen.items():
            instances[ids == number] = 1000 * (24 + label) + number
        stem = folder / f"aachen_000000_{i:06}"
        Image.fromarray(instances).save(f"{stem}_gtFine_instanceIds.png")
        labels = np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8)
        Image.fromarray(labels).save(f"{stem}_gtFine_labelIds.png")


def registered(kind, folder, num_images):
    """The name of a data set, registered in this process."""
    name = f"det2lite_test_processes_{kind}"
    metadata = MetadataCatalog.get(name)
    if kind in ("coco", "rotated"):
        register_coco_instances(name, {}, f"{folder}/coco.json", folder)
    elif kind == "lvis":
        register_lvis_instances(name, {}, f"{folder}/lvis.json", folder)
    elif kind == "voc":
        register_pascal_voc(name, folder, "val", 2012, ("c1", "c2", "c3"))
    else:
        samples = [
            {"image_id": i, "file_name": f"{i}.jpg", "sem_seg_file_name": f"{folder}/{i}.png"}
            for i in range(1, num_images + 1)
        ]
        if kind.startswith("city"):
            samples = [{**s, "file_name": f"aachen_000000_{s['image_id']:06}_leftImg8bit.png"} for s in samples]
        DatasetCatalog.register(name, lambda: samples)
    if kind == "sem_seg":
        metadata.set(stuff_classes=[f"c{c}" for c in range(19)], ignore_label=255)
    if kind == "panoptic":
        metadata.set(panoptic_json=f"{folder}/panoptic.json", panoptic_root=f"{folder}/panoptic")
        metadata.set(thing_dataset_id_to_contiguous_id={1: 0, 2: 1, 3: 2}, stuff_dataset_id_to_contiguous_id={})
    if kind.startswith("city"):
        metadata.set(gt_dir=f"{folder}/gtFine/val", thing_classes=list(CITY_CLASSES))
    return name


def evaluator_of(kind, name, out):
    with_folder = {
        "coco": COCOEvaluator,
        "rotated": RotatedCOCOEvaluator,
        "lvis": LVISEvaluator,
        "sem_seg": SemSegEvaluator,
        "panoptic": COCOPanopticEvaluator,
    }
    if kind in with_folder:
        return with_folder[kind](name, output_dir=out)
    without = {"voc": PascalVOCDetectionEvaluator, "city_instances": CityscapesInstanceEvaluator}
    return without.get(kind, CityscapesSemSegEvaluator)(name)


def evaluate_all(folder, out):
    """Writes {kind: results} of this process' run for every case; and which images it saw."""
    for case in CASES:
        data, results, seen = f"{folder}/{case}", {}, []
        os.makedirs(f"{out}/{case}", exist_ok=True)
        for kind in KINDS:
            name = registered(kind, data, CASES[case])
            loader = build_detection_test_loader(DatasetCatalog.get(name), mapper=lambda sample: sample, batch_size=2)

            def model(batch, kind=kind, seen=seen):
                ids = [int(sample["image_id"]) for sample in batch]
                seen.extend((kind, image_id) for image_id in ids)
                return [OUTPUTS.get(kind, detections_of)(image_id) for image_id in ids]

            results[kind] = inference_on_dataset(model, loader, evaluator_of(kind, name, f"{out}/{case}/{kind}"))
            for catalog in (DatasetCatalog, MetadataCatalog):
                catalog.pop(name)
        torch.save({"results": results, "seen": seen}, f"{out}/{case}/rank_{comm.get_rank()}.pth")


def predictions_in(out):
    """The files of predictions that the evaluators left, by path."""
    found = sorted(path for path in out.rglob("*") if path.suffix in (".json", ".png"))
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a run in one process and of one in two."""
    folder = tmp_path_factory.mktemp("processes")
    for case, num_images in CASES.items():
        write_files(folder / case, num_images)
    alone, together = folder / "alone", folder / "together"
    evaluate_all(str(folder), str(alone))
    launch(evaluate_all, 2, dist_url="auto", args=(str(folder), str(together)))
    return alone, together


@pytest.mark.parametrize(("case", "pieces"), [("some", (4, 3)), ("one", (1, 0))])
def test_two_processes_give_what_one_gives(runs, case, pieces):
    alone, together = (folder / case for folder in runs)
    expected = torch.load(alone / "rank_0.pth")
    ranks = [torch.load(together / f"rank_{rank}.pth") for rank in range(2)]
    assert [len(rank["seen"]) for rank in ranks] == [piece * len(KINDS) for piece in pieces]
    assert sorted(ranks[0]["seen"] + ranks[1]["seen"]) == sorted(expected["seen"])
    assert list(expected["results"]) == KINDS
    for kind, results in expected["results"].items():
        assert str(ranks[0]["results"][kind]) == str(results), kind  # to the last digit, nan too
        assert not ranks[1]["results"][kind], "results are on the main process"
        numbers = [value for task in results.values() for value in task.values() if not math.isnan(value)]
        assert any(0 < value < 100 for value in numbers), f"{kind}: an example that tells nothing"
    files = predictions_in(alone)
    assert len(files) >= 5 and predictions_in(together) == files
