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
    batch: int | None = None, iterations: int | None = None, reference: CfgNode | None = None,
) -> list[str]:  # fmt: skip
    """Changes `cfg` for data of `num_images` images to train on. Returns lines that say what was chosen, and why.

    The batch is what the memory holds, at most the config's; the learning rate follows the images of a step linearly
    ("Accurate, Large Minibatch SGD", arXiv 1706.02677) from the config's; small data sets are seen more often than
    large ones. epochs, iterations, batch: where they are asked for. reference: the SOLVER that rate, batch and steps
    are scaled from, where `cfg` holds somebody's wishes already.
    """
    solver = cfg.SOLVER
    reference = solver.clone() if reference is None else reference
    if "auto" in (batch, solver.IMS_PER_BATCH, reference.IMS_PER_BATCH):
        raise BadValue("the batch is chosen for the data already: leave SOLVER.IMS_PER_BATCH auto out")
    why_batch = "as asked for"
    if batch is None:
        batch, why_batch = _batch_for(cfg, num_images, machine)
    if batch < 1 or batch % machine.processes:
        raise BadValue(f"--batch {batch} is over all {machine.processes} processes: give a multiple of their number")
    seen, of_reference = batch * solver.ACCUMULATE, reference.IMS_PER_BATCH * reference.ACCUMULATE  # in an iteration
    epochs, why_epochs = _epochs_for(num_images, epochs, iterations, seen)
    per_epoch = math.ceil(num_images / seen)
    if iterations is None:
        iterations = max(1, math.ceil(epochs * num_images / seen))
    period = max(1, round(epochs / EVALUATIONS)) * per_epoch
    solver.IMS_PER_BATCH, solver.MAX_ITER = batch, iterations
    solver.BASE_LR = reference.BASE_LR * seen / of_reference
    scale = iterations / reference.MAX_ITER
    steps = {max(1, round(step * scale)) for step in reference.STEPS if step < reference.MAX_ITER}
    solver.STEPS = tuple(sorted(steps))
    solver.WARMUP_ITERS = max(1, min(reference.WARMUP_ITERS, round(WARMUP_SHARE * iterations)))
    solver.CHECKPOINT_PERIOD = cfg.TEST.EVAL_PERIOD = period
    solver.REFERENCE_WORLD_SIZE = solver.REFERENCE_IMS_PER_BATCH = 0
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
    set_class_count(cfg, num_classes)
    has_drops = solver.STEPS and "MultiStep" in solver.LR_SCHEDULER_NAME
    drops = f", a tenth of it from {' and '.join(map(str, solver.STEPS))}" if has_drops else ""
    spread = f"{machine.processes} process{'es' * (machine.processes > 1)}"
    spread += f", {solver.ACCUMULATE} batches a step" if solver.ACCUMULATE > 1 else ""
    return [
        f"batch: {batch} images over {spread} ({why_batch})",
        f"length: {epochs:g} epochs of {per_epoch} iterations, {iterations} in all ({why_epochs}; --epochs N)",
        f"learning rate: {solver.BASE_LR:g} (the config's {reference.BASE_LR:g} is for {of_reference} images a step),"
        f" rising over {solver.WARMUP_ITERS} iterations{drops}",
        f"evaluation and checkpoint every {period} iterations",
    ]


def _epochs_for(num_images: int, epochs: float | None, iterations: int | None, seen: int) -> tuple[float, str]:
    """Times that the data is seen, and the reason. iterations: asked for; seen: images in each."""
    if epochs is None and iterations is not None:
        return iterations * seen / num_images, "as asked for"
    if epochs is not None:
        if epochs <= 0:
            raise BadValue(f"--epochs {epochs:g}: give a number above 0")
        return epochs, "as asked for"
    epochs = min(max(round(IMAGES_SEEN / num_images), MIN_EPOCHS), MAX_EPOCHS)
    return epochs, "a small data set is seen more often" if epochs > MIN_EPOCHS else "the data set is large"


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
