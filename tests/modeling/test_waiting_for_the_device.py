"""Where the host waits for the device in a step of training, counted without one: what needs a tensor's values.

On a GPU each such place stops the queue of kernels. docs/speed.md says why those that are left are.
"""

import importlib
import sys
from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from det2lite.modeling import build_model, poolers
from det2lite.solver import build_optimizer
from det2lite.utils.events import EventStorage

READS = {torch.Tensor.tolist, torch.Tensor.cpu}  # on the CPU they call no operator
OPERATORS = {
    *("_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "repeat_interleave", "bincount"),
    *("unique_consecutive", "unique_dim", "_unique", "_unique2"),
}
# these run, or work on tensors that are, on the CPU only
ON_THE_CPU = {
    *(
        "layers/sparse_gradient.py:backward",
        "layers/nms.py:_nms_by_class",
        "utils/events_storage.py:update",
    ),
    *("modeling/assigners/max_iou.py:__call__", "modeling/box_coders/delta.py:get_deltas"),
    *("modeling/poolers.py:convert_boxes_to_pooler_format",),
}
RETINANET = (
    *("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 3),
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone", "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
)
CLIPPING = ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")


def place():
    """File and function of det2lite that called last, such as `layers/nms.py:batched_nms`."""
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if "/det2lite/" in code.co_filename and not code.co_name.startswith("<"):
            return f"{code.co_filename.rpartition('/det2lite/')[2]}:{code.co_name}"
        frame = frame.f_back
    return "elsewhere"


class Operators(TorchDispatchMode):
    def __init__(self, places):
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith(("index", "_index_put")) and isinstance(args[1], list | tuple)
        masks = [x for x in args[1] if x is not None and x.dtype == torch.bool] if by_mask else ()
        if name in OPERATORS or masks:
            self.places[place()] += 1
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    def __init__(self, places):
        super().__init__()
        self.places = places

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in READS:
            self.places[place()] += 1
        return func(*args, **(kwargs or {}))


def step(model, optimizer, batch):
    loss = sum(model(batch).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def waits(cfg, batch):
    """Places of a second step, from the images on the device to the new weights."""
    torch.manual_seed(0)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    places = Counter()
    with EventStorage(), pytest.MonkeyPatch.context() as patch:
        for module in (poolers, importlib.import_module("det2lite.layers.roi_align")):
            patch.setattr(module, "table_pays", lambda features: False)  # as on a GPU
        step(model, optimizer, batch)
        with Reads(places), Operators(places):
            step(model, optimizer, batch)
    return {name: count for name, count in places.items() if name not in ON_THE_CPU}


def test_the_count_sees_what_waits():
    places, values = Counter(), torch.arange(4)
    with Reads(places), Operators(places):
        _ = values.tolist(), values.sum().item(), bool(values.any()), values.nonzero(), values[values > 1]
        values[values > 1] = torch.tensor(0)
        _ = values[torch.tensor([0])] + 1, values.max(), torch.where(values > 1, 1, 0)
    assert places["elsewhere"] == 6


def test_mask_rcnn(tiny_config, tiny_batch):
    # of two images, one of which has polygons
    assert waits(tiny_config(*CLIPPING), tiny_batch) == {
        "modeling/proposal_generator/proposal_utils.py:finite_candidates": 1,
        "modeling/proposal_generator/proposal_utils.py:pick_candidates": 1,
        "modeling/proposal_generator/proposal_utils.py:split_by_image": 2,
        "modeling/samplers/random.py:subsample_labels": 4,
        "modeling/box_coders/loss.py:dense_box_regression_loss": 1,
        "modeling/poolers.py:_indices_of_levels": 2,
        "modeling/roi_heads/base.py:select_foreground_proposals": 1,
        "modeling/roi_heads/fast_rcnn.py:box_reg_loss": 1,
        "structures/polygons.py:__getitem__": 2,
        "structures/polygons.py:crop_and_resize": 1,
    }


def test_retinanet(tiny_config, tiny_batch):
    found = waits(tiny_config(*CLIPPING, *RETINANET), tiny_batch)
    assert found == {"modeling/box_coders/loss.py:dense_box_regression_loss": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("overrides", [(), RETINANET], ids=["mask_rcnn", "retinanet"])
def test_backward_and_optimizer_never_wait_on_a_gpu(overrides, tiny_config, tiny_batch):
    model = build_model(tiny_config(*CLIPPING, *overrides, "MODEL.DEVICE", "cuda"))
    optimizer = build_optimizer(tiny_config(*CLIPPING, *overrides), model)
    with EventStorage():
        step(model, optimizer, tiny_batch)
        loss = sum(model(tiny_batch).values())
        optimizer.zero_grad()
        mode = torch.cuda.get_sync_debug_mode()
        try:
            torch.cuda.set_sync_debug_mode("error")
            loss.backward()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
