"""`SOLVER.IMS_PER_BATCH: auto`: as many images as the memory holds; and a schedule for another batch than it is for."""

import gc
import logging
import math
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import nn

from det2lite.config import CfgNode, get_cfg
from det2lite.engine.run_folder import config_of_run
from det2lite.engine.run_state import keep_random_state
from det2lite.engine.scaling import scale_to_images
from det2lite.modeling.mixed_precision import amp_precision
from det2lite.structures import Instances
from det2lite.utils import comm
from det2lite.utils.device import resolve_device
from det2lite.utils.errors import BadValue
from det2lite.utils.events import EventStorage

__all__ = [
    "CudaMemory",
    "check_batch_of_run",
    "images_that_fit",
    "is_automatic",
    "resolve_batch_size",
    "with_batch_of_run",
]

logger = logging.getLogger(__name__)

SHARE = 0.9  # of the memory that may be used: allocations differ a little from step to step
MOST = 64  # images for each process: behind that a larger batch gains no speed
SAMPLES = 16  # looked at, for the largest of them
# On a CPU a larger batch is hardly faster, and a machine that swaps is lost: no measuring, but a careful guess.
CPU_SHARE, CPU_MOST, CPU_BYTES_PER_IMAGE, CPU_PIXELS = 0.5, 16, 4 << 30, 800 * 1333


def is_automatic(cfg: CfgNode) -> bool:
    """Whether SOLVER.IMS_PER_BATCH is "auto". Raises `BadValue` for another word."""
    value = cfg.SOLVER.IMS_PER_BATCH
    if type(value) is not int and value != "auto":
        raise BadValue(f"SOLVER.IMS_PER_BATCH is {value!r}: give a number of images, or auto")
    return value == "auto"


def with_batch_of_run(cfg: CfgNode) -> CfgNode:
    """For a run that goes on: `cfg` with the batch that was found at its start, where SOLVER.IMS_PER_BATCH is auto."""
    images = _batch_of_run(cfg.OUTPUT_DIR) if is_automatic(cfg) else None
    if images is None:
        return cfg
    if images % comm.get_world_size():
        raise BadValue(
            f"the run in {cfg.OUTPUT_DIR} has batches of {images} images, which {comm.get_world_size()} processes"
            " cannot share: go on with as many processes as before"
        )
    logger.info("SOLVER.IMS_PER_BATCH auto: %d images, as the run began", images)
    return _with_batch(cfg, images // comm.get_world_size())


def check_batch_of_run(cfg: CfgNode) -> None:
    """Raises `BadValue` where the run in OUTPUT_DIR, which goes on, has other batches than were chosen for `cfg`."""
    images = _batch_of_run(cfg.OUTPUT_DIR)
    if images not in (None, cfg.SOLVER.IMS_PER_BATCH):
        raise BadValue(
            f"the run in {cfg.OUTPUT_DIR} has batches of {images} images, and SOLVER.IMS_PER_BATCH auto found"
            f" {cfg.SOLVER.IMS_PER_BATCH} now: set SOLVER.IMS_PER_BATCH {images} to go on with it"
        )


def _batch_of_run(folder: str) -> int | None:
    """Images in a batch of the run in a folder, as its last checkpoint says; None without one, or without a number."""
    text = config_of_run(folder)
    if not text:
        return None
    cfg = get_cfg()
    cfg.set_new_allowed(True)  # keys of a project of its own
    cfg.merge_from_text(text, f"config of {folder}")
    value = cfg.SOLVER.IMS_PER_BATCH
    return value if isinstance(value, int) else None


def resolve_batch_size(
    cfg: CfgNode,
    build_model: Callable[[CfgNode], nn.Module],
    build_loader: Callable[[CfgNode], Any],
    build_optimizer: Callable[[CfgNode, nn.Module], torch.optim.Optimizer],
) -> CfgNode:
    """`cfg` with a number for SOLVER.IMS_PER_BATCH, the same in all processes, and the schedule scaled to it.

    On CUDA it is measured with a model of its own on the largest of a few training samples; the random state stays.
    Scaling: see `scale_to_images`. Returns `cfg` itself where nothing changes.
    """
    if is_automatic(cfg):
        cfg = _with_batch(cfg, 1)  # for what is built to measure, a batch of one image each
        images = _count_for_process(cfg, build_model, build_loader, build_optimizer) * comm.get_world_size()
        logger.info("SOLVER.IMS_PER_BATCH auto: %d images over %d processes", images, comm.get_world_size())
        cfg = _with_batch(cfg, images // comm.get_world_size())
        if not cfg.SOLVER.REFERENCE_IMS_PER_BATCH:
            logger.warning(
                "SOLVER.BASE_LR %g is taken as it is for %d images an iteration; set SOLVER.REFERENCE_IMS_PER_BATCH to"
                " the images that the schedule is for, to have it scaled",
                *(cfg.SOLVER.BASE_LR, images * cfg.SOLVER.ACCUMULATE),
            )
    return scale_to_images(cfg)


def _with_batch(cfg: CfgNode, each: int) -> CfgNode:
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.IMS_PER_BATCH = each * comm.get_world_size()
    if frozen:
        cfg.freeze()
    return cfg


def _count_for_process(cfg, build_model, build_loader, build_optimizer) -> int:
    device = torch.device(resolve_device(cfg.MODEL.DEVICE))
    if device.type != "cuda":
        free = min(comm.all_gather(psutil.virtual_memory().available))
        count = _guess_on_cpu(cfg, free / comm.get_local_size())
        logger.info("SOLVER.IMS_PER_BATCH auto: %d images a process by the free RAM, which is not measured", count)
        return count
    with keep_random_state():
        step = _TrialStep(cfg, build_model, build_loader, build_optimizer)
        memory = CudaMemory(device, step)
        worst_case = max(comm.all_gather(step.worst_case))
        count = images_that_fit(_of_all(memory.peak), min(comm.all_gather(memory.limit())), worst_case=worst_case)
        del step, memory
        gc.collect()
        torch.cuda.empty_cache()
    return count


def _of_all(peak: Callable[[int], int | None]) -> Callable[[int], int | None]:
    """The largest of the processes' peaks, so that all go the same way and wait for one another where they have to."""

    def largest(images: int) -> int | None:
        peaks = comm.all_gather(peak(images))
        return None if None in peaks else max(peaks)

    return largest


def _guess_on_cpu(cfg: CfgNode, available: float) -> int:
    """Images of the config's largest size for `available` bytes of RAM."""
    side = max(cfg.INPUT.MIN_SIZE_TRAIN)
    share = side * min(cfg.INPUT.MAX_SIZE_TRAIN, side * 5 / 3) / CPU_PIXELS
    return min(max(1, int(CPU_SHARE * available / (CPU_BYTES_PER_IMAGE * share))), CPU_MOST)


def images_that_fit(peak: Callable[[int], int | None], limit: int, *, most: int = MOST, worst_case: float = 1.0) -> int:
    """The largest batch whose step needs at most `SHARE` of `limit` bytes, measured.

    peak: of images to the bytes that a step takes at most, or None where they do not fit. Memory grows linearly with
    the images: it is measured at 1 and 2, extrapolated, and the answer verified. worst_case: how much larger than the
    measured image others can be. Raises `BadValue` where not even one image fits.
    """
    usable, one = SHARE * limit, peak(1)
    if one is None or one > usable:
        needed = "more" if one is None else f"{one / 2**30:.1f} GiB"
        raise BadValue(
            f"SOLVER.IMS_PER_BATCH auto: one image takes {needed} of {usable / 2**30:.1f} GiB; make"
            " INPUT.MIN_SIZE_TRAIN smaller, set SOLVER.AMP.ENABLED True, or set SOLVER.IMS_PER_BATCH 1 and try"
        )
    two = peak(2) if most > 1 else None
    if two is None or two > usable:
        return 1
    each, fixed = max(two - one, 1), one - max(two - one, 1)
    count = min(max(1, math.floor((usable - fixed) / (each * worst_case))), most)
    while count > 1:
        found = peak(count)
        if found is not None and fixed + (found - fixed) * worst_case <= usable:
            break
        count = min(count - 1, int(0.9 * count))
    count = max(count, 1)
    logger.info("One image takes %.2f GiB, each further one %.2f GiB: %d fit", one / 2**30, each / 2**30, count)
    return count


class CudaMemory:
    """What a job takes on a GPU. job: called with a number of images."""

    def __init__(self, device: torch.device, job: Callable[[int], None]) -> None:
        self.device = device
        self.job = job

    def limit(self) -> int:
        """Bytes that this process can have: what is free, and what it holds already."""
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)

    def peak(self, images: int) -> int | None:
        """Bytes that the process holds at most while the job runs; None where that is too much."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            self.job(images)
            torch.cuda.synchronize(self.device)
        except torch.cuda.OutOfMemoryError:
            return None
        return torch.cuda.max_memory_reserved(self.device)


class _TrialStep:
    """A step of the optimizer on copies of the largest of a few training samples, learning nothing.

    Its objects are repeated until there are as many as the region heads sample, so that their masks count too.
    """

    def __init__(self, cfg, build_model, build_loader, build_optimizer) -> None:
        self.model = build_model(cfg).train()
        self.optimizer = build_optimizer(cfg, self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        device = next(self.model.parameters()).device.type
        self.precision = amp_precision(cfg.SOLVER.AMP.PRECISION, device) if cfg.SOLVER.AMP.ENABLED else None
        self.device = device
        copies = cfg.SOLVER.EMA.ENABLED + (comm.get_world_size() > 1)  # the average; the buckets of gradients
        self.extra = [[p.detach().clone() for p in self.model.parameters()] for _ in range(copies)]
        heads = cfg.MODEL.ROI_HEADS
        objects = math.ceil(heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION)
        self.sample = _crowded(_largest_sample(build_loader(_without_workers(cfg))), objects)
        self.worst_case = max(1.0, _most_pixels(cfg) / _pixels(self.sample)) if _pixels(self.sample) else 1.0

    def __call__(self, images: int) -> None:
        with EventStorage(), torch.autocast(self.device, dtype=self.precision, enabled=self.precision is not None):
            losses = self.model([self.sample] * images)
        (sum(losses.values()) if isinstance(losses, dict) else losses).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def _without_workers(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SEED = max(cfg.SEED, 0)  # the same samples each time
    return cfg


def _pixels(sample: Any) -> int:
    image = sample.get("image") if isinstance(sample, dict) else None
    return image.shape[-1] * image.shape[-2] if isinstance(image, torch.Tensor) else 0


def _most_pixels(cfg: CfgNode) -> float:
    if cfg.INPUT.LARGE_SCALE_JITTER.ENABLED:
        height, width = cfg.INPUT.LARGE_SCALE_JITTER.SIZE
        return height * width
    return max(cfg.INPUT.MIN_SIZE_TRAIN) * cfg.INPUT.MAX_SIZE_TRAIN


def _largest_sample(loader: Any) -> Any:
    samples = []
    for batch in loader:
        samples += batch
        if len(samples) >= SAMPLES:
            break
    return max(samples, key=_pixels)


def _crowded(sample: Any, objects: int) -> Any:
    """`sample` with its objects over and over, `objects` at least where it has any."""
    instances = sample.get("instances") if isinstance(sample, dict) else None
    if not isinstance(instances, Instances) or not len(instances):
        return sample
    return {**sample, "instances": Instances.cat([instances] * math.ceil(objects / len(instances)))}
