"""A config of the zoo made fit for somebody's own data: classes, batch, learning rate, length and periods."""

import math
import os
from typing import NamedTuple

from det2lite.config import CfgNode
from det2lite.utils.errors import BadValue

__all__ = ["fit_to_data", "from_scratch"]

IMAGES_SEEN = 30_000  # in a training, where the data set is small; then it is seen up to MAX_EPOCHS times
MIN_EPOCHS, MAX_EPOCHS = 12, 100
WARMUP_SHARE = 0.1  # of the iterations, at most
EVALUATIONS = 10  # in a training, about
GIB_PER_IMAGE = 4.0  # that an image of the size below takes in training, generously
PIXELS = 800 * 1333
GN_STD = [57.375, 57.12, 58.395]  # of ImageNet's pixels, 0..255


class Machine(NamedTuple):
    """Processes that share the batch, and what each has: GiB of memory."""

    processes: int
    memory: float


def fit_to_data(
    cfg: CfgNode, num_images: int, num_classes: int, machine: Machine, *, epochs: float | None = None,
    batch: int | None = None,
) -> list[str]:  # fmt: skip
    """Changes `cfg` for data of `num_images` images to train on. Returns lines that say what was chosen, and why.

    The batch is what the memory holds, at most the config's; the learning rate follows it linearly ("Accurate, Large
    Minibatch SGD", arXiv 1706.02677) from the config's batch; small data sets are seen more often than large ones.
    """
    solver = cfg.SOLVER
    why_batch = "as asked for"
    if batch is None:
        batch, why_batch = _batch_for(cfg, num_images, machine)
    if batch < 1 or batch % machine.processes:
        raise BadValue(f"--batch {batch} is over all {machine.processes} processes: give a multiple of their number")
    why_epochs = "as asked for"
    if epochs is None:
        epochs = min(max(round(IMAGES_SEEN / num_images), MIN_EPOCHS), MAX_EPOCHS)
        why_epochs = "a small data set is seen more often" if epochs > MIN_EPOCHS else "the data set is large"
    if epochs <= 0:
        raise BadValue(f"--epochs {epochs:g}: give a number above 0")
    reference, rate, length = solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER
    seen = batch * solver.ACCUMULATE  # in an iteration
    per_epoch = math.ceil(num_images / seen)
    iterations = max(1, math.ceil(epochs * num_images / seen))
    period = max(1, round(epochs / EVALUATIONS)) * per_epoch
    solver.IMS_PER_BATCH = batch
    solver.BASE_LR = rate * seen / reference
    solver.MAX_ITER = iterations
    solver.STEPS = tuple(sorted({max(1, round(step * iterations / length)) for step in solver.STEPS if step < length}))
    solver.WARMUP_ITERS = max(1, min(solver.WARMUP_ITERS, round(WARMUP_SHARE * iterations)))
    solver.CHECKPOINT_PERIOD = cfg.TEST.EVAL_PERIOD = period
    solver.REFERENCE_WORLD_SIZE = 0
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
    set_class_count(cfg, num_classes)
    drops = (
        f", a tenth of it from {' and '.join(map(str, solver.STEPS))}"
        if "MultiStep" in solver.LR_SCHEDULER_NAME
        else ""
    )
    return [
        f"batch: {batch} images over {machine.processes} process{'es' * (machine.processes > 1)} ({why_batch})",
        f"length: {epochs:g} epochs of {per_epoch} iterations, {iterations} in all ({why_epochs}; --epochs N)",
        f"learning rate: {solver.BASE_LR:g} (the config's {rate:g} is for {reference} images a batch),"
        f" rising over {solver.WARMUP_ITERS} iterations{drops}",
        f"evaluation and checkpoint every {period} iterations",
    ]


def _batch_for(cfg: CfgNode, num_images: int, machine: Machine) -> tuple[int, str]:
    """Images over all processes, and the reason."""
    side = max(cfg.INPUT.MIN_SIZE_TRAIN)
    share = side * min(cfg.INPUT.MAX_SIZE_TRAIN, side * 5 / 3) / PIXELS
    fits = max(1, int(machine.memory / (GIB_PER_IMAGE * share)))
    wanted = max(1, cfg.SOLVER.IMS_PER_BATCH // machine.processes)
    each = max(1, min(fits, wanted, num_images))
    why = (
        "the config's"
        if each * machine.processes == cfg.SOLVER.IMS_PER_BATCH
        else f"for {machine.memory:.0f} GiB of memory"
    )
    return each * machine.processes, f"{why}; --batch N"


def set_class_count(cfg: CfgNode, num_classes: int) -> None:
    """Sets the number of thing classes in every head."""
    cfg.MODEL.NUM_CLASSES = num_classes
    for name, node in cfg.MODEL.items():
        if isinstance(node, CfgNode) and "NUM_CLASSES" in node and name != "SEM_SEG_HEAD":
            node.NUM_CLASSES = num_classes


def from_scratch(cfg: CfgNode) -> list[str]:
    """Lets a model learn without pre-trained weights: nothing frozen, group norm, pixels scaled. Says what it did."""
    cfg.MODEL.WEIGHTS = ""
    lines = []
    if cfg.MODEL.BACKBONE.FREEZE_AT:
        cfg.MODEL.BACKBONE.FREEZE_AT = 0
        lines.append("no frozen stage")
    if cfg.MODEL.RESNETS.NORM == "FrozenBN":
        cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = "GN"
        lines.append("group norm instead of frozen batch norm")
    if list(cfg.MODEL.PIXEL_STD) == [1.0, 1.0, 1.0]:
        cfg.MODEL.PIXEL_STD = GN_STD
        lines.append("pixels scaled")
    return [f"from scratch: {', '.join(lines)}"] if lines else ["from scratch"]
