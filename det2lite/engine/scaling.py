"""Linear scaling of a config with the number of processes ("Accurate, Large Minibatch SGD", arXiv 1706.02677)."""

import logging

from det2lite.config import CfgNode
from det2lite.utils.errors import BadValue

__all__ = ["scale_to_workers"]

logger = logging.getLogger(__name__)


def scale_to_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """`cfg` for `num_workers` processes: the images of each stay, rate and batch grow, iterations shrink.

    Returns `cfg` itself where SOLVER.REFERENCE_WORLD_SIZE is 0 or `num_workers`, else a changed copy.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, num_workers):
        return cfg
    if cfg.SOLVER.IMS_PER_BATCH % reference:
        raise BadValue(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be shared by SOLVER.REFERENCE_WORLD_SIZE"
            f" {reference} processes; make it a multiple"
        )
    scale = num_workers / reference
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    solver, test = cfg.SOLVER, cfg.TEST
    solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * scale)
    solver.BASE_LR = solver.BASE_LR * scale
    solver.MAX_ITER = round(solver.MAX_ITER / scale)
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / scale)
    solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
    solver.CHECKPOINT_PERIOD = max(1, round(solver.CHECKPOINT_PERIOD / scale))
    if test.EVAL_PERIOD > 0:  # 0 means never, which no rounding may turn it into
        test.EVAL_PERIOD = max(1, round(test.EVAL_PERIOD / scale))
    solver.REFERENCE_WORLD_SIZE = num_workers
    logger.info(
        "Scaled to %d processes: batch %d, learning rate %g, %d iterations, warm-up %d, steps %s",
        num_workers,
        solver.IMS_PER_BATCH,
        solver.BASE_LR,
        solver.MAX_ITER,
        solver.WARMUP_ITERS,
        solver.STEPS,
    )
    if frozen:
        cfg.freeze()
    return cfg
