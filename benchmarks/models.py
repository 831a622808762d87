"""Models and batches to measure: those of a package with Detectron2's interface, and torchvision's.

Weights are noise of one seed, scaled by fan-in so that activations keep their size through 50 layers.
Both sides see the same images, which were resized before, and the same objects.
"""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import part, timed

INPUTS = Path(__file__).resolve().parents[1] / "tests" / "parity" / "inputs"
CONFIDENCE = 4  # scale of the weights of the classes' scores: large enough for as many detections as are kept
PIXEL_STD = [57.375, 57.12, 58.395]  # what torchvision divides by, so that activations are as large
WARMUP = 2  # calls before the first that counts: the first ones allocate memory, the later ones find it
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def read_samples(count: int, short_edge: int) -> list[dict]:
    """`count` images, those of the parity tests over and over, with their objects.

    Each is a dict of image (3, H, W) uint8 BGR, boxes (R, 4) XYXY pixels, classes (R,) and polygons of each object.
    """
    import cv2

    samples = []
    for record in json.loads((INPUTS / "inputs.json").read_text()):
        image = cv2.imread(str(INPUTS / record["file"]))
        scale = short_edge / min(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size)
        objects = record["objects"]
        samples.append(
            {
                "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
                "boxes": torch.tensor([o["bbox_xyxy"] for o in objects]) * scale,
                "classes": torch.tensor([o["category"] for o in objects]),
                "polygons": [[np.asarray(p) * scale for p in o["polygons"]] for o in objects],
            }
        )
    return [samples[i % len(samples)] for i in range(count)]


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Gives every weight noise of variance 1 / fan-in, the same for the same shapes."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            fan_in = value[0].numel() if value.dim() >= 2 else 1
            if name.endswith("running_var"):
                noise = 1 + 0.2 * noise.abs()
            elif name.endswith(("bias", "running_mean")):
                noise = 0.1 * noise
            else:
                noise = noise / fan_in**0.5 if value.dim() >= 2 else 1 + 0.1 * noise
                noise = noise * (CONFIDENCE if "cls_score" in name else 1)
            state[name] = noise.to(value.dtype)
    model.load_state_dict(state)
    return model


def packaged(package: str, config: str, samples: list[dict], training: bool, device: str, opts: list[str]) -> tuple:
    """(model, batch) of a package with Detectron2's interface. opts: changes of the config, KEY VALUE pairs."""
    cfg = part(package, "config").get_cfg()
    cfg.merge_from_file(part(package, "model_zoo").get_config_file(f"{config}.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", "MODEL.PIXEL_STD", PIXEL_STD, *opts])
    structures = part(package, "structures")
    batch = []
    for sample in samples:
        height, width = sample["image"].shape[1:]
        item = {"image": sample["image"], "height": height, "width": width}
        if training:
            instances = structures.Instances((height, width))
            instances.gt_boxes = structures.Boxes(sample["boxes"])
            instances.gt_classes = sample["classes"]
            instances.gt_masks = structures.PolygonMasks(sample["polygons"])
            item["instances"] = instances
        batch.append(item)
    return fill(part(package, "modeling").build_model(cfg)).train(training), batch


class TorchvisionMaskRCNN(torch.nn.Module):
    """torchvision's Mask R-CNN R50-FPN, called with one argument."""

    def __init__(self, short_edge: int, device: str) -> None:
        super().__init__()
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.ops import FrozenBatchNorm2d

        # as maskrcnn_resnet50_fpn builds it for pretrained weights: norms frozen, and the first two stages
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
        )
        self.model = MaskRCNN(backbone, num_classes=81, min_size=short_edge, max_size=1333)
        self.to(device)

    def forward(self, batch: tuple[list, list | None]) -> Any:
        device = next(self.parameters()).device
        images, targets = batch
        images = [image.to(device, non_blocking=True) for image in images]
        if targets is not None:
            targets = [{key: value.to(device, non_blocking=True) for key, value in t.items()} for t in targets]
        return self.model(images, targets)


def torchvisions(samples: list[dict], short_edge: int, training: bool, device: str) -> tuple:
    """(model, batch) of torchvision; polygons are drawn before, as its data sets do."""
    from pycocotools import mask as coco_mask

    images = [sample["image"].flip(0).float() / 255 for sample in samples]
    targets = []
    for sample in samples:
        height, width = sample["image"].shape[1:]
        masks = [
            coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([p.reshape(-1) for p in polygons], height, width)))
            for polygons in sample["polygons"]
        ]
        targets.append(
            {
                "boxes": sample["boxes"],
                "labels": sample["classes"] + 1,
                "masks": torch.from_numpy(np.stack(masks)),
            }
        )
    model = fill(TorchvisionMaskRCNN(short_edge, device)).train(training)
    return model, (images, targets if training else None)


def use_device(args: Any) -> None:
    """Threads, TF32 and the current GPU by the options."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    if ":" in args.device:
        torch.cuda.set_device(args.device)


def prepare(name: str, precision: str, args: Any, training: bool) -> tuple:
    """(model, batch, context manager of its precision) of torchvision or of the package `name`, by the options."""
    use_device(args)
    samples = read_samples(args.images, args.short_edge)
    if name == "torchvision":
        model, batch = torchvisions(samples, args.short_edge, training, args.device)
    else:
        model, batch = packaged(name, args.config, samples, training, args.device, args.opts)
    dtype = PRECISIONS[precision]
    autocast = partial(torch.autocast, args.device.split(":")[0], dtype=dtype) if dtype else nullcontext
    return model, batch, autocast


def synchronised(job: Callable[[], Any], device: str) -> Callable[[], Any]:
    """`job` that returns when the device has done its work."""

    def run() -> Any:
        value = job()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return value

    return run


def work(job: Callable[[], Any]) -> float:
    """Floating point operations of the matrix products and convolutions in a call of `job`, backward pass included."""
    import torchvision  # noqa: F401 - registers its operators
    from torch.utils.flop_counter import FlopCounterMode

    def of_linear(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * x[0] * x[1] * weight[0]

    def of_deformed(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        batch, _, height, width = out_shape
        return 2 * batch * height * width * math.prod(weight)

    def of_deformed_gradients(gradient: Any, x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * of_deformed(x, weight, out_shape=gradient)

    # what has an operator of its own
    formulas = {
        torch.ops.torchvision.deform_conv2d: of_deformed,
        torch.ops.torchvision._deform_conv2d_backward: of_deformed_gradients,
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        formulas[torch.ops.mkldnn._linear_pointwise] = of_linear
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        job()
    return counter.get_total_flops()


def prepare_work(prepare: Callable, *arguments: Any) -> Callable[[], float]:
    """For `common.fresh`: the `work` of the job that `prepare(*arguments)` makes."""
    job = prepare(*arguments)
    return lambda: work(job)


def prepare_peak(precision: str, args: Any) -> Callable[[], float]:
    """For `common.fresh`: operations a second of a large square matrix product, by the options.

    It is made as a product and as a convolution, and the faster one counts.
    """
    use_device(args)
    side = 8192 if args.device.startswith("cuda") else 3072
    dtype = PRECISIONS[precision] or torch.float32
    a, b = (torch.randn(side, side, device=args.device, dtype=dtype) for _ in range(2))
    x, weight = a.view(1, 32, side // 32, side).permute(0, 3, 1, 2), b[:, :, None, None]  # channels last
    jobs = (lambda: a @ b, lambda: torch.nn.functional.conv2d(x, weight))
    jobs = [synchronised(job, args.device) for job in jobs]
    return lambda: 2 * side**3 / min(timed(job)[0] for _ in range(9) for job in jobs)


def profile_table(job: Callable[[], Any], rows: int = 20) -> str:
    """The operators that take most time in one call of `job`."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    with profile(activities=activities) as prof:
        job()
    return prof.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=60)
