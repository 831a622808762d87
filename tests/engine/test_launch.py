import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from det2lite.engine import SimpleTrainer, create_ddp_model, launch
from det2lite.engine.launch import (
    Place,
    ProcessFailed,
    _pack,
    _unpack,
    find_free_port,
    first_host,
    place_from_environment,
)
from det2lite.utils import comm
from det2lite.utils.errors import BadValue, UserError

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "here",
    "MASTER_PORT": "1",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "10",
    "SLURM_STEP_ID": "2",
}


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return {"loss_a": self.weight * x, "loss_b": self.weight * 2 * x}


class OtherError(UserError):
    """An error that pickle cannot build again."""

    def __init__(self, *, name):
        super().__init__(f"the other error of {name}")


def endless(value):
    while True:
        yield torch.tensor(value)


def count_exchanges(exchanges, bucket):
    exchanges.append(bucket.index())
    return default_hooks.allreduce_hook(None, bucket)


def train_two(folder):
    """The ranks' batches are 1 and 3: their mean gradient is 3 * 2."""
    rank = comm.get_rank()
    model = create_ddp_model(Line())
    trainer = SimpleTrainer(model, endless(1.0 + 2 * rank), torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 1)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()} if rank == 0 else {}
    weight = model.module.weight.item()
    accumulating = create_ddp_model(Line())
    exchanges = []
    accumulating.register_comm_hook(exchanges, count_exchanges)
    optimizer = torch.optim.SGD(accumulating.parameters(), lr=0.1)
    SimpleTrainer(accumulating, iter(torch.tensor([1.0, 2, 3]) + 6 * rank), optimizer, accumulate=3).train(0, 1)
    result = {
        "weight": weight,
        "accumulated": (accumulating.module.weight.item(), len(exchanges)),
        "local": (comm.get_local_rank(), comm.get_local_size()),
        "latest": latest,
    }
    torch.save(result, os.path.join(folder, f"{rank}.pth"))


def fail(kind):
    if kind == "user" and comm.get_rank() == 1:
        raise BadValue("the remedy is here")
    if kind == "defect" and comm.get_rank() == 1:
        raise ZeroDivisionError("a defect")
    comm.synchronize()


def add(a, b):
    return a + b


def test_one_process_is_this_one():
    assert launch(add, 1, args=(1, 2)) == 3


def test_two_processes_train_one_model(tmp_path):
    launch(train_two, 2, dist_url="auto", args=(str(tmp_path),))
    ranks = [torch.load(tmp_path / f"{rank}.pth") for rank in range(2)]
    assert [r["weight"] for r in ranks] == pytest.approx([0.4, 0.4])
    # means 2 and 8 of three batches each: a gradient of 3 * 5, exchanged once
    assert [r["accumulated"] for r in ranks] == [(pytest.approx(-0.5), 1)] * 2
    assert [r["local"] for r in ranks] == [(0, 2), (1, 2)]
    latest = ranks[0]["latest"]
    assert (latest["loss_a"], latest["loss_b"], latest["total_loss"]) == pytest.approx((2.0, 4.0, 6.0))
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [("user", BadValue, "^the remedy is here$"), ("defect", ProcessFailed, "process 1 failed(?s:.*)a defect")],
)
def test_errors_of_a_process_come_here(kind, error, message):
    with pytest.raises(error, match=message) as caught:
        launch(fail, 2, args=(kind,))
    assert isinstance(caught.value, UserError) == (kind == "user")


def test_an_error_that_cannot_travel_keeps_its_message():
    error = _unpack(_pack(OtherError(name="rank 1")))
    assert type(error) is UserError and str(error) == "the other error of rank 1"
    assert type(_unpack(_pack(BadValue("x")))) is BadValue


@pytest.mark.parametrize(("gpus", "machines", "rank"), [(0, 1, 0), (1, 2, 2), (2, 1, -1)])
def test_numbers_that_make_no_sense(gpus, machines, rank):
    with pytest.raises(BadValue, match="machine"):
        launch(add, gpus, machines, rank, args=(1, 2))


def test_several_machines_need_an_address():
    with pytest.raises(BadValue, match="--dist-url"):
        launch(add, 1, 2, 0, "auto", args=(1, 2))


def test_too_many_processes_for_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadValue, match="this machine has 1"):
        launch(add, 2, args=(1, 2))


def test_free_port():
    assert 1024 <= find_free_port() < 65536


def test_torchrun_is_joined():
    assert place_from_environment(TORCHRUN, alone=True) == Place(3, 4, 1, 2, "env://")
    assert place_from_environment(TORCHRUN, alone=False) is not None
    assert place_from_environment({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, alone=True) is None
    assert place_from_environment({}, alone=True) is None


def test_srun_is_joined_when_nothing_else_was_asked_for():
    assert place_from_environment(SLURM, alone=True) == Place(5, 8, 1, 4, "tcp://gpu07:21312")
    assert place_from_environment(SLURM, alone=False) is None
    assert place_from_environment({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, alone=True) is None


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("one", "one"), ("a,b", "a"), ("gpu[03-05,9],cpu1", "gpu03"), ("n[1,3]-ib", "n1-ib"), ("a,b[1-2]", "a")],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host
