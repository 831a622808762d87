import pytest

from det2lite import model_zoo
from det2lite.config import get_cfg
from det2lite.engine.own_schedule import Machine, fit_to_data, from_scratch
from det2lite.utils.errors import BadValue


@pytest.fixture
def cfg():
    """16 images a batch, learning rate 0.02, steps at 60,000 and 80,000 of 90,000 iterations, images of 800 pixels."""
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def test_a_small_data_set(cfg):
    lines = fit_to_data(cfg, 600, 3, Machine(1, 16.0))
    solver = cfg.SOLVER
    assert solver.IMS_PER_BATCH == 4  # 4 GiB an image
    assert solver.BASE_LR == pytest.approx(0.005)
    assert solver.MAX_ITER == 7500  # 50 epochs of 150 iterations
    assert solver.STEPS == (5000, 6667) and solver.WARMUP_ITERS == 750
    assert solver.CHECKPOINT_PERIOD == cfg.TEST.EVAL_PERIOD == 750  # 5 epochs
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == cfg.MODEL.NUM_CLASSES == 3 and cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 54
    assert "learning rate: 0.005 (the config's 0.02 is for 16 images a step)" in lines[2]


@pytest.mark.parametrize(("images", "epochs"), [(1, 100), (300, 100), (1000, 30), (118_000, 12)])
def test_epochs_follow_the_size(cfg, images, epochs):
    fit_to_data(cfg, images, 80, Machine(8, 80.0), batch=16)
    assert cfg.SOLVER.MAX_ITER == -(-images * epochs // 16)
    assert cfg.SOLVER.IMS_PER_BATCH == 16 and cfg.SOLVER.BASE_LR == 0.02
    assert cfg.SOLVER.WARMUP_ITERS == min(1000, max(1, round(0.1 * cfg.SOLVER.MAX_ITER)))


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (Machine(1, 1.0), 1),
        (Machine(1, 141.0), 16),
        (Machine(8, 141.0), 16),
        (Machine(3, 8.0), 6),
        (Machine(32, 16.0), 32),
    ],
)
def test_batch_follows_the_memory(cfg, machine, expected):
    fit_to_data(cfg, 1000, 3, machine)
    assert cfg.SOLVER.IMS_PER_BATCH == expected


def test_small_images_need_less_memory(cfg):
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (200,), 333
    fit_to_data(cfg, 1000, 3, Machine(1, 2.0))
    assert cfg.SOLVER.IMS_PER_BATCH == 8  # a sixteenth of the pixels


def test_what_is_asked_for(cfg):
    fit_to_data(cfg, 10, 3, Machine(1, 8.0), epochs=0.5, batch=2)
    assert cfg.SOLVER.MAX_ITER == 3 and cfg.SOLVER.STEPS == (2, 3) and cfg.TEST.EVAL_PERIOD == 5
    with pytest.raises(BadValue, match="--epochs -1"):
        fit_to_data(cfg, 10, 3, Machine(1, 8.0), epochs=-1)
    with pytest.raises(BadValue, match="--batch 3 is over all 2 processes"):
        fit_to_data(cfg, 10, 3, Machine(2, 8.0), batch=3)


def test_wishes_are_followed(cfg):
    """1200 images are 75 steps of 16. Rate and steps go by the config before the wishes."""
    reference = cfg.SOLVER.clone()
    cfg.SOLVER.merge_from_list(["IMS_PER_BATCH", 4, "ACCUMULATE", 4, "MAX_ITER", 900])
    lines = fit_to_data(cfg, 1200, 3, Machine(1, 80.0), batch=4, iterations=900, reference=reference)
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.STEPS) == (4, 900, (600, 800))
    assert solver.BASE_LR == pytest.approx(0.02) and solver.WARMUP_ITERS == 90
    assert solver.CHECKPOINT_PERIOD == 75  # 12 epochs
    assert "4 images over 1 process, 4 batches a step (as asked for)" in lines[0]
    assert "12 epochs of 75 iterations, 900 in all" in lines[1]
    cfg.SOLVER.ACCUMULATE = 1
    fit_to_data(cfg, 1200, 3, Machine(1, 80.0), batch=4, reference=reference)
    assert solver.BASE_LR == pytest.approx(0.005)


def test_from_scratch(cfg):
    assert from_scratch(cfg) == [
        "from scratch: no frozen stage, group norm instead of frozen batch norm, pixels scaled"
    ]
    assert cfg.MODEL.WEIGHTS == "" and cfg.MODEL.FPN.NORM == cfg.MODEL.RESNETS.NORM == "GN"
    own = get_cfg()
    own.MODEL.BACKBONE.FREEZE_AT, own.MODEL.RESNETS.NORM, own.MODEL.PIXEL_STD = 0, "BN", [57.0, 57.0, 57.0]
    before = own.clone()
    assert from_scratch(own) == ["from scratch"] and own == before  # made for it
