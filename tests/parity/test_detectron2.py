"""Models against reference numbers of Detectron2, config by config.

Both sides hold the same weights, which are derived from the parameters' names, and see the same two images. The
numbers under `reference/` were made by running Detectron2 on a CPU.
"""

import itertools
import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from det2lite import model_zoo
from det2lite.layers import paste_masks_in_image
from det2lite.modeling import build_model
from det2lite.solver import build_lr_scheduler, build_optimizer
from det2lite.structures import Boxes, Instances, Keypoints, PolygonMasks
from det2lite.utils.events import EventStorage

HERE = Path(__file__).parent
GOLDEN = HERE / "reference" / "golden"
NAMES = sorted(path.relative_to(GOLDEN).with_suffix("").as_posix() for path in GOLDEN.rglob("*.json"))
TRAJECTORIES = json.loads((HERE / "reference" / "trajectory.json").read_text())
OVERRIDES = json.loads((HERE / "reference" / "overrides.json").read_text())
RTOL = 2e-3
BOX_ATOL = 0.05  # pixels
LARGE = (  # their smaller relatives run each time
    "COCO-Detection/faster_rcnn_R_101_DC5_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_C4_3x",
    "LVISv1-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv",
)


def unit_noise(name: str, shape: tuple) -> np.ndarray:
    """Float32 noise of zero mean and unit variance, a function of `name` alone (splitmix64)."""
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    x = np.arange(1, count + 1, dtype=np.uint64) + (np.uint64(zlib.crc32(name.encode())) << np.uint64(32))
    with np.errstate(over="ignore"):
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform = (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return ((uniform - 0.5) * np.sqrt(12.0)).astype(np.float32).reshape(shape)


def filled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict with every float tensor replaced by its noise, scaled by the kind of parameter."""
    result = {}
    for name, value in state.items():
        if not value.is_floating_point():
            result[name] = value.clone()
            continue
        shape = tuple(value.shape)
        noise = unit_noise(name, shape)
        if name.endswith("running_var"):
            noise = 1.0 + 0.2 * np.abs(noise)
        elif name.endswith(("running_mean", "bias")):
            noise = 0.1 * noise
        elif len(shape) >= 2:
            noise = noise * (1.0 / np.sqrt(int(np.prod(shape[1:]))))
        else:
            noise = 1.0 + 0.1 * noise
        result[name] = torch.from_numpy(np.asarray(noise, dtype=np.float32))
    return result


def load_inputs(cfg, training: bool) -> list[dict]:
    batch = []
    for record in json.loads((HERE / "inputs" / "inputs.json").read_text()):
        image = cv2.imread(str(HERE / "inputs" / record["file"]))
        size = (record["height"], record["width"])
        item = {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()), "height": size[0], "width": size[1]}
        objects = record["objects"]
        if cfg.MODEL.KEYPOINT_ON:
            objects = [o for o in objects if o["category"] == 0]
        boxes = torch.tensor([o["bbox_xyxy"] for o in objects])
        if training:
            item["instances"] = ground_truth(cfg, objects, boxes, size)
            sem_seg = cv2.imread(str(HERE / "inputs" / record["sem_seg"]), -1)
            item["sem_seg"] = torch.from_numpy(sem_seg.astype("int64"))
        if cfg.MODEL.LOAD_PROPOSALS:
            proposals = Boxes(torch.cat([boxes, boxes + 7, boxes * 0.8]))
            proposals.clip(size)
            logits = torch.linspace(2, -2, 3 * len(boxes))
            item["proposals"] = Instances(size, proposal_boxes=proposals, objectness_logits=logits)
        batch.append(item)
    return batch


def ground_truth(cfg, objects: list[dict], boxes: torch.Tensor, size: tuple[int, int]) -> Instances:
    dense = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    num_classes = cfg.MODEL.RETINANET.NUM_CLASSES if dense else cfg.MODEL.ROI_HEADS.NUM_CLASSES
    instances = Instances(size, gt_boxes=Boxes(boxes))
    instances.gt_classes = torch.tensor([o["category"] % num_classes for o in objects])
    if cfg.MODEL.MASK_ON:
        instances.gt_masks = PolygonMasks([[np.asarray(p) for p in o["polygons"]] for o in objects])
    if cfg.MODEL.KEYPOINT_ON:
        keypoints = torch.tensor([o["keypoints"] for o in objects]).reshape(len(objects), 17, 3)
        instances.gt_keypoints = Keypoints(keypoints)
    return instances


def zoo_config(name: str, overrides: list):
    cfg = model_zoo.get_config(f"{name}.yaml")
    cfg.merge_from_list(overrides)
    if cfg.MODEL.RESNETS.NORM == "SyncBN":  # one process has nothing to synchronise
        cfg.MODEL.RESNETS.NORM = "BN"
    return cfg


def close(actual, wanted, rtol: float = RTOL, atol: float = 1e-5, what: str = "") -> None:
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(wanted, float), rtol, atol, err_msg=what)


def read_reference(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in NAMES])
def test_agrees_with_detectron2(name):
    reference = read_reference(name)
    if "same_as" in reference:  # the same network under another schedule
        ours, other = (model_zoo.get_config(f"{n}.yaml").MODEL for n in (name, reference["same_as"]))
        other.WEIGHTS = ours.WEIGHTS
        assert ours == other
        return
    cfg = zoo_config(reference.get("config", name), OVERRIDES + reference.get("overrides", []))
    model = build_model(cfg)
    state = model.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == reference["state"]
    state = filled(state)
    model.load_state_dict(state)
    check_training(model, load_inputs(cfg, True), reference)
    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        outputs = model(load_inputs(cfg, False))
    for output, wanted in zip(outputs, reference["inference"], strict=True):
        assert set(output) == set(wanted)
        for key in wanted:
            check_output(key, output[key], wanted[key])
    if any(thin_boxes(wanted).any() for wanted in reference["inference"]):
        check_masks_of_thin_boxes(model, load_inputs(cfg, False), reference["inference"])


def check_training(model, batch: list[dict], reference: dict) -> None:
    model.train()
    with EventStorage():
        losses = model(batch)
    assert set(losses) == set(reference["losses"])
    for key, value in reference["losses"].items():
        close(losses[key].item(), value, what=key)
    sum(losses.values()).backward()
    norms = {n: float(p.grad.double().norm()) for n, p in model.named_parameters() if p.grad is not None}
    assert set(norms) == set(reference["grad_norms"])
    for key, value in reference["grad_norms"].items():
        close(norms[key], value, rtol=10 * RTOL, what=f"gradient of {key}")


def check_output(key: str, output, wanted: dict) -> None:
    if key == "sem_seg":
        assert list(output.shape) == wanted["shape"]
        close(output.double().abs().sum(), wanted["abs_sum"], atol=1e-3)
    elif key == "panoptic_seg":
        segmentation, info = output
        assert len(info) == wanted["segments"]
        close(torch.bincount(segmentation.flatten().long()), wanted["area"], rtol=0.02, atol=30)
    else:
        check_instances(output, wanted)


def check_instances(instances: Instances, wanted: dict) -> None:
    assert len(instances) == wanted["num"]
    for key, value in wanted.items():
        if key == "mask_area":
            areas = instances.pred_masks.flatten(1).sum(1)[: len(value)]
            determined = ~thin_boxes({"instances": wanted})
            close(areas[determined], np.asarray(value)[determined], rtol=0.02, atol=20, what=key)
        elif key == "pred_classes":
            assert instances.pred_classes[: len(value)].tolist() == value
        elif key != "num":
            field = instances.get(key)
            field = field.tensor if isinstance(field, Boxes) else field
            pixels = "boxes" in key or "keypoints" in key
            close(field[: len(value)], value, atol=BOX_ATOL if pixels else 2e-4, what=key)


def thin_boxes(wanted: dict) -> np.ndarray:
    """Which of the detections with a mask have a box as thin as boxes may differ: pixels then hit any of its mask."""
    count = len(wanted.get("instances", {}).get("mask_area", ()))
    boxes = np.asarray(wanted["instances"]["pred_boxes"][:count] if count else np.zeros((0, 4)))
    return (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) <= BOX_ATOL


def check_masks_of_thin_boxes(model, batch: list[dict], references: list[dict]) -> None:
    """Their masks are compared where the reference has its boxes, whose sides are known to half of the last digit."""
    with torch.no_grad():
        found = model.inference(batch, do_postprocess=False)
    for instances, wanted in zip(found, (w["instances"] for w in references), strict=True):
        thin = thin_boxes({"instances": wanted})
        masks = instances.pred_masks[: len(thin)][thin][:, 0]
        boxes = np.asarray(wanted["pred_boxes"])[: len(thin)][thin]
        half = 0.5 * 10.0 ** (np.floor(np.log10(boxes.clip(1e-3))) - 5)  # of six digits
        areas = []
        for signs in itertools.product((-1, 0, 1), repeat=4):
            moved = Boxes(torch.from_numpy(boxes + signs * half).float())
            areas.append(paste_masks_in_image(masks, moved, instances.image_size).flatten(1).sum(1).numpy())
        value = np.asarray(wanted["mask_area"], float)[thin]
        tolerance = 20 + 0.02 * value
        assert (value >= np.min(areas, 0) - tolerance).all() and (value <= np.max(areas, 0) + tolerance).all()


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_steps_of_the_optimizer(name):
    cfg = zoo_config(name, OVERRIDES)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER = 0.0002, 4, (5,), 8
    model = build_model(cfg)
    model.load_state_dict(filled(model.state_dict()))
    model.train()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for wanted in TRAJECTORIES[name]:
        total = sum(model(load_inputs(cfg, True)).values())
        close(optimizer.param_groups[0]["lr"], wanted["lr"], rtol=1e-5, atol=1e-12)
        close(total.item(), wanted["total_loss"], rtol=5 * RTOL, atol=1e-4)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        scheduler.step()
