import pytest

from det2lite.config import get_cfg
from det2lite.engine.scaling import scale_to_workers
from det2lite.utils.errors import BadValue


def config(reference, **test):
    cfg = get_cfg()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = reference
    cfg.SOLVER.IMS_PER_BATCH = 16
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.MAX_ITER = 5000
    cfg.SOLVER.STEPS = (4000, 4500)
    cfg.SOLVER.CHECKPOINT_PERIOD = 1000
    cfg.TEST.EVAL_PERIOD = 500
    cfg.freeze()
    return cfg


def test_twice_the_processes():
    cfg = config(8)
    scaled = scale_to_workers(cfg, 16)
    solver = scaled.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (32, 0.2, 2500)
    assert (solver.STEPS, solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD) == ((2000, 2250), 500, 500)
    assert (scaled.TEST.EVAL_PERIOD, solver.REFERENCE_WORLD_SIZE) == (250, 16)
    assert scaled.is_frozen() and cfg.SOLVER.IMS_PER_BATCH == 16
    assert scale_to_workers(scaled, 16) is scaled


def test_one_process_of_eight():
    solver = scale_to_workers(config(8), 1).SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (2, 0.0125, 40000)


@pytest.mark.parametrize("reference", [0, 4])
def test_nothing_to_scale(reference):
    cfg = config(reference)
    assert scale_to_workers(cfg, 4) is cfg


def test_never_stays_never():
    cfg = config(1)
    cfg.defrost()
    cfg.TEST.EVAL_PERIOD = 1
    scaled = scale_to_workers(cfg, 8)
    assert scaled.TEST.EVAL_PERIOD == 1 and not scaled.is_frozen()
    cfg.TEST.EVAL_PERIOD = 0
    assert scale_to_workers(cfg, 8).TEST.EVAL_PERIOD == 0


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(BadValue, match="IMS_PER_BATCH 16.* 3 processes"):
        scale_to_workers(config(3), 8)
