import logging

import pytest
import torch

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.engine import auto_batch
from det2lite.engine.auto_batch import images_that_fit, is_automatic, resolve_batch_size, with_batch_of_run
from det2lite.engine.checks import check_training_config
from det2lite.engine.scaling import scale_to_images, scale_to_workers
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue

GIB = 1 << 30


def linear(fixed, each, limit=None, tried=None):
    """A GPU where a step takes `fixed + each * images` GiB, and runs out at `limit`."""

    def peak(images):
        if tried is not None:
            tried.append(images)
        needed = (fixed + each * images) * GIB
        return None if limit is not None and needed > limit * GIB else int(needed)

    return peak


def test_extrapolated_and_verified():
    tried = []
    assert images_that_fit(linear(1, 2, 40, tried), 40 * GIB) == 17  # (0.9 * 40 - 1) / 2
    assert tried == [1, 2, 17]
    assert images_that_fit(linear(1, 2, 40), 40 * GIB, worst_case=1.25) == 14
    assert images_that_fit(linear(1, 2, 40), 40 * GIB, most=8) == 8
    assert images_that_fit(linear(1, 20, 40), 40 * GIB) == 1
    assert images_that_fit(linear(1, 0.1, 4), 4 * GIB, most=1) == 1


def test_memory_that_grows_faster_than_it_seemed():
    tried = []

    def peak(images):
        tried.append(images)
        return int((1 + images + (images > 10) * images) * GIB)

    assert images_that_fit(peak, 20 * GIB) == 9
    assert tried == [1, 2, 17, 15, 13, 11, 9]


def test_not_even_one_image():
    with pytest.raises(BadValue, match="one image takes 12.0 GiB of 9.0 GiB"):
        images_that_fit(linear(2, 10), 10 * GIB)
    with pytest.raises(BadValue, match="one image takes more of 9.0 GiB"):
        images_that_fit(linear(2, 10, 10), 10 * GIB)


def make_cfg(*changes):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", "auto", "MODEL.DEVICE", "cpu", *changes])
    return cfg


class Free:
    available = 32 * GIB


@pytest.fixture
def ram(monkeypatch):
    monkeypatch.setattr(auto_batch.psutil, "virtual_memory", lambda: Free)


def test_on_the_cpu_by_half_of_the_free_ram(ram, caplog):
    cfg = make_cfg()
    cfg.freeze()
    with caplog.at_level(logging.INFO, "det2lite"):
        found = resolve_batch_size(cfg, None, None, None)
    assert found.SOLVER.IMS_PER_BATCH == 4 and found.is_frozen()  # 4 GiB for an image of 800 x 1333
    assert cfg.SOLVER.IMS_PER_BATCH == "auto"
    assert "4 images over 1 processes" in caplog.text and "0.001 is taken as it is for 4 images" in caplog.text
    small = make_cfg("INPUT.MIN_SIZE_TRAIN", (100,))
    assert resolve_batch_size(small, None, None, None).SOLVER.IMS_PER_BATCH == 16  # more gain nothing


def test_the_schedule_follows_where_its_images_are_known(ram):
    reference = ("SOLVER.REFERENCE_IMS_PER_BATCH", 16, "SOLVER.BASE_LR", 0.02, "SOLVER.STEPS", (30000,))
    solver = resolve_batch_size(make_cfg(*reference), None, None, None).SOLVER
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.STEPS) == (4, 160000, (120000,))
    assert solver.BASE_LR == pytest.approx(0.005)
    assert (solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD, solver.REFERENCE_IMS_PER_BATCH) == (4000, 20000, 4)


def test_scaling_of_numbers():
    cfg = get_cfg()
    assert scale_to_images(cfg) is cfg
    cfg.merge_from_list(["SOLVER.REFERENCE_IMS_PER_BATCH", 16, "SOLVER.IMS_PER_BATCH", 8, "SOLVER.ACCUMULATE", 2])
    assert scale_to_images(cfg) is cfg  # 16 images an iteration
    cfg.SOLVER.ACCUMULATE = 4
    scaled = scale_to_images(cfg)
    assert (scaled.SOLVER.BASE_LR, scaled.SOLVER.MAX_ITER) == (0.002, 20000)
    assert scale_to_images(scaled) is scaled
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    with pytest.raises(BadValue, match="both scale"):
        scale_to_images(cfg)
    cfg.SOLVER.IMS_PER_BATCH = "auto"
    with pytest.raises(BadValue, match="REFERENCE_IMS_PER_BATCH"):
        scale_to_workers(cfg, 4)
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 4, "SOLVER.REFERENCE_WORLD_SIZE", 0])
    cfg.SOLVER.REFERENCE_IMS_PER_BATCH = -1
    with pytest.raises(BadValue, match="0 or more"):
        scale_to_images(cfg)


@pytest.mark.parametrize("value", ["many", 2.5, None])
def test_other_words_are_errors(value):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", value])
    with pytest.raises(BadValue, match="a number of images, or auto"):
        is_automatic(cfg)
    with pytest.raises(BadValue, match="a number of images, or auto"):
        check_training_config(cfg)


def test_a_run_keeps_its_batch(ram, tmp_path):
    cfg = make_cfg("OUTPUT_DIR", str(tmp_path))
    assert with_batch_of_run(cfg) is cfg  # nothing there yet
    begun = cfg.clone()
    begun.SOLVER.IMS_PER_BATCH = 6
    checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    checkpointer.attach_config(begun)
    checkpointer.save("model_0000001")
    assert with_batch_of_run(cfg).SOLVER.IMS_PER_BATCH == 6
    with pytest.raises(BadValue, match="has batches of 6 images, and .* found 4 now: set SOLVER.IMS_PER_BATCH 6"):
        auto_batch.check_batch_of_run(resolve_batch_size(cfg, None, None, None))
    auto_batch.check_batch_of_run(begun)


class Counting(torch.nn.Module):
    """A loss of all pixels; remembers what it was given."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.batches = []

    def forward(self, batch):
        self.batches.append([(tuple(x["image"].shape), len(x["instances"])) for x in batch])
        return {"loss": self.weight * sum(x["image"].sum() for x in batch)}


def test_the_trial_takes_the_largest_sample_with_many_objects_and_learns_nothing():
    def sample(side, objects):
        boxes = Boxes(torch.ones(objects, 4))
        return {"image": torch.rand(3, side, side), "instances": Instances((side, side), gt_boxes=boxes)}

    cfg = make_cfg("SOLVER.EMA.ENABLED", True, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 40)
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (20,), "INPUT.MAX_SIZE_TRAIN", 30])
    batches = [[sample(8, 1)], [sample(12, 3)], [sample(10, 2)]] * 6
    optimizer_of = lambda cfg, model: torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)  # noqa: E731
    trial = auto_batch._TrialStep(cfg, Counting, lambda cfg: iter(batches), optimizer_of)
    assert trial.worst_case == pytest.approx(20 * 30 / 144) and len(trial.extra) == 1
    trial(1), trial(3)
    assert trial.model.batches == [[((3, 12, 12), 12)], [((3, 12, 12), 12)] * 3]  # a quarter of 40, in threes
    assert trial.model.weight.item() == 1.0 and trial.optimizer.state[trial.model.weight]


def test_peaks_and_limits_of_a_gpu(monkeypatch):
    used = []
    fakes = {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device: used.clear(),
        "synchronize": lambda device: None,
        "max_memory_reserved": lambda device: max(used),
        "memory_reserved": lambda device: 3 * GIB,
        "mem_get_info": lambda device: (7 * GIB, 16 * GIB),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def job(images):
        if images > 4:
            raise torch.cuda.OutOfMemoryError
        used.append(images * GIB)

    memory = auto_batch.CudaMemory(torch.device("cuda"), job)
    assert memory.limit() == 10 * GIB  # others have 6
    assert [memory.peak(3), memory.peak(2), memory.peak(5)] == [3 * GIB, 2 * GIB, None]
    assert images_that_fit(memory.peak, memory.limit()) == 4
