import copy
import pickle

import numpy as np
import pytest
import torch

from det2lite.structures import Boxes, Instances, PolygonMasks


def make(count=3):
    return Instances(
        (4, 5),
        boxes=Boxes(torch.arange(4.0 * count).reshape(count, 4)),
        labels=torch.arange(count),
        names=[f"object {i}" for i in range(count)],
    )


def test_fields():
    instances = make()
    assert instances.image_size == (4, 5) and len(instances) == 3
    assert instances.has("labels") and not instances.has("scores")
    instances.scores = torch.zeros(3)
    assert instances.get("scores") is instances.scores
    assert list(instances.get_fields()) == ["boxes", "labels", "names", "scores"]
    instances.remove("scores")
    assert not instances.has("scores")


def test_wrong_use():
    instances = make()
    with pytest.raises(AssertionError, match="length 2 to a Instances of length 3"):
        instances.scores = torch.zeros(2)
    with pytest.raises(TypeError, match="len"):
        Instances((4, 5)).set("count", 3)
    with pytest.raises(AttributeError, match="Cannot find field 'scores'"):
        instances.scores  # noqa: B018
    with pytest.raises(KeyError):
        instances.get("scores")
    with pytest.raises(NotImplementedError):
        iter(instances)
    with pytest.raises(NotImplementedError):
        len(Instances((1, 1)))


@pytest.mark.parametrize("i", range(-3, 3))
def test_int_index(i):
    one = make()[i]
    assert len(one) == 1 and one.labels.tolist() == [i % 3] and one.names == [f"object {i % 3}"]
    assert one.boxes.tensor.shape == (1, 4)


@pytest.mark.parametrize("i", [3, -4])
def test_int_index_out_of_range(i):
    with pytest.raises(IndexError):
        make()[i]


@pytest.mark.parametrize(
    "item",
    [slice(0, 2), torch.tensor([0, 1]), torch.tensor([True, True, False]), np.array([True, True, False]), [0, 1]],
)
def test_other_indices(item):
    chosen = make()[item]
    assert chosen.labels.tolist() == [0, 1] and chosen.names == ["object 0", "object 1"] and len(chosen.boxes) == 2


def test_choosing_none():
    none = make()[torch.zeros(3, dtype=torch.bool)]
    assert len(none) == 0 and none.names == [] and none.boxes.tensor.shape == (0, 4)


def test_cat():
    both = Instances.cat([make(), make(0), make(2)])
    assert both.labels.tolist() == [0, 1, 2, 0, 1] and len(both.boxes) == 5 and both.names[-1] == "object 1"
    one = make()
    assert Instances.cat([one]) is one
    with pytest.raises(AssertionError):
        Instances.cat([])
    with pytest.raises(AssertionError):
        Instances.cat([make(), Instances((1, 1), labels=torch.zeros(1))])
    with pytest.raises(ValueError, match="Unsupported type.*'odd'"):
        Instances.cat([Instances((1, 1), odd="ab"), Instances((1, 1), odd="cd")])


def test_to_keeps_what_cannot_move():
    moved = make().to("cpu")
    assert moved.labels.tolist() == [0, 1, 2] and moved.names[0] == "object 0"
    masks = PolygonMasks([[np.array([0, 0, 1, 0, 1, 1.0])]])
    assert Instances((1, 1), masks=masks).to(torch.device("cpu")).masks is masks


def test_text():
    assert str(make()).startswith("Instances(num_instances=3, image_height=4, image_width=5, fields=[boxes: Boxes(")
    assert repr(Instances((1, 2))) == "Instances(num_instances=0, image_height=1, image_width=2, fields=[])"


def test_copies():
    for twin in (copy.deepcopy(make()), pickle.loads(pickle.dumps(make()))):
        assert twin.labels.tolist() == [0, 1, 2] and twin.image_size == (4, 5)
