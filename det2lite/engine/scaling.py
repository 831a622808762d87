"""Linear scaling of a config with its processes or its images ("Accurate, Large Minibatch SGD", arXiv 1706.02677)."""

import logging

from det2lite.config import CfgNode
from det2lite.utils.errors import BadValue

__all__ = ["scale_to_images", "scale_to_workers"]

logger = logging.getLogger(__name__)


def scale_to_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """`cfg` for `num_workers` processes: the images of each stay, rate and batch grow, iterations shrink.

    Returns `cfg` itself where SOLVER.REFERENCE_WORLD_SIZE is 0 or `num_workers`, else a changed copy.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, num_workers):
        return cfg
    if isinstance(cfg.SOLVER.IMS_PER_BATCH, str):
        raise BadValue(
            "SOLVER.REFERENCE_WORLD_SIZE scales a number of images: with SOLVER.IMS_PER_BATCH auto set it to 0, and"
            " SOLVER.REFERENCE_IMS_PER_BATCH to the images that the schedule is for"
        )
    if cfg.SOLVER.IMS_PER_BATCH % reference:
        raise BadValue(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be shared by SOLVER.REFERENCE_WORLD_SIZE"
            f" {reference} processes; make it a multiple"
        )
    scale = num_workers / reference
    cfg = _scaled(cfg, scale, IMS_PER_BATCH=round(cfg.SOLVER.IMS_PER_BATCH * scale), REFERENCE_WORLD_SIZE=num_workers)
    _log(f"{num_workers} processes", cfg)
    return cfg


def scale_to_images(cfg: CfgNode) -> CfgNode:
    """`cfg` with the schedule for the images of an iteration: the rate grows with them, iterations shrink.

    They are SOLVER.IMS_PER_BATCH times ACCUMULATE. Returns `cfg` itself where SOLVER.REFERENCE_IMS_PER_BATCH, which the
    schedule was written for, is 0 or equal, else a changed copy, whose reference they are.
    """
    solver = cfg.SOLVER
    reference, images = solver.REFERENCE_IMS_PER_BATCH, solver.IMS_PER_BATCH * solver.ACCUMULATE
    if reference < 0:
        raise BadValue(f"SOLVER.REFERENCE_IMS_PER_BATCH is {reference}; set it to 0 or more")
    if reference in (0, images):
        return cfg
    if solver.REFERENCE_WORLD_SIZE:
        raise BadValue(
            "SOLVER.REFERENCE_WORLD_SIZE and SOLVER.REFERENCE_IMS_PER_BATCH both scale the schedule: set one to 0"
        )
    cfg = _scaled(cfg, images / reference, REFERENCE_IMS_PER_BATCH=images)
    _log(f"{images} images an iteration instead of {reference}", cfg)
    return cfg


def _scaled(cfg: CfgNode, scale: float, **of_solver: int) -> CfgNode:
    """A copy whose rate is multiplied, and whose iterations are divided, by `scale`; of_solver: keys set beside."""
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    solver, test = cfg.SOLVER, cfg.TEST
    solver.BASE_LR = solver.BASE_LR * scale
    solver.MAX_ITER = round(solver.MAX_ITER / scale)
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / scale)
    solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
    solver.CHECKPOINT_PERIOD = max(1, round(solver.CHECKPOINT_PERIOD / scale))
    if test.EVAL_PERIOD > 0:  # 0 means never, which no rounding may turn it into
        test.EVAL_PERIOD = max(1, round(test.EVAL_PERIOD / scale))
    for key, value in of_solver.items():
        solver[key] = value
    if frozen:
        cfg.freeze()
    return cfg


def _log(what: str, cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    logger.info(
        "Scaled to %s: batch %d, learning rate %g, %d iterations, warm-up %d, steps %s",
        *(what, solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER, solver.WARMUP_ITERS, solver.STEPS),
    )
