"""Outputs come from the device together: copies are counted on tensors that say that they are on a GPU."""

import pytest
import torch

from det2lite.evaluation.to_host import to_host
from det2lite.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes

GPU = torch.device("cuda", 0)


class OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU and notes how it is copied."""

    events: list = []

    device = property(lambda self: GPU)

    def to(self, *args, **kwargs):
        self.events.append(("copy", args, kwargs))
        return self.as_subclass(torch.Tensor)


@pytest.fixture
def events(monkeypatch):
    OnGpu.events = []

    class Stream:
        def synchronize(self):
            OnGpu.events.append("wait")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    return OnGpu.events


def test_a_batch_is_waited_for_once(events):
    batch = []
    for count in (2, 0, 3):
        instances = Instances((8, 9), scores=torch.rand(count).as_subclass(OnGpu))
        instances.pred_classes = torch.arange(count).as_subclass(OnGpu)
        instances.pred_masks = torch.ones(count, 8, 9, dtype=torch.bool).as_subclass(OnGpu)
        batch.append(instances)
    moved = to_host(batch)
    assert events == [("copy", ("cpu",), {"non_blocking": True})] * 9 + ["wait"]
    assert all(type(value) is torch.Tensor for found in moved for value in found.get_fields().values())
    assert [found.pred_classes.tolist() for found in moved] == [[0, 1], [], [0, 1, 2]]
    assert type(batch[0].scores) is OnGpu  # the model's output is left as it was


def test_structures_are_moved_by_what_they_hold(events):
    boxes = Boxes(torch.ones(1, 4))
    boxes.tensor = boxes.tensor.as_subclass(OnGpu)
    moved = to_host([Instances((8, 9), pred_boxes=boxes)])[0]
    assert len(events) == 2 and type(moved.pred_boxes) is Boxes and type(moved.pred_boxes.tensor) is torch.Tensor


def test_what_is_on_the_cpu_is_kept(events):
    fields = {
        "pred_boxes": Boxes(torch.ones(1, 4)),
        "rotated": RotatedBoxes(torch.ones(1, 5)),
        "pred_masks": BitMasks(torch.ones(1, 8, 9, dtype=torch.bool)),
        "pred_keypoints": Keypoints(torch.ones(1, 2, 3)),
        "polygons": PolygonMasks([[[0.0, 0.0, 1.0, 0.0, 1.0, 1.0]]]),
        "scores": torch.ones(1),
        "names": ["one"],
    }
    moved = to_host([Instances((8, 9), **fields)])[0]
    assert moved.image_size == (8, 9) and all(moved.get(name) is value for name, value in fields.items())
    assert not events and to_host([]) == []
