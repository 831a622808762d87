import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist

import det2lite
from det2lite.utils import comm


def test_alone_every_function_answers_for_one_process():
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank(), comm.get_local_size()) == (1, 0, 0, 1)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == [{"a": 1}] and comm.gather("x") == ["x"]
    assert comm.reduce_dict({"loss": torch.tensor(2.0)}) == {"loss": torch.tensor(2.0)}
    np.random.seed(3)
    expected = np.random.randint(2**31)
    np.random.seed(3)
    assert comm.shared_random_seed() == expected
    with pytest.raises(RuntimeError, match="create_local_process_group"):
        comm.get_local_process_group()


def _two_processes(rank, port, folder):
    os.environ.pop("LOCAL_RANK", None)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    np.random.seed(rank)
    with pytest.raises(ValueError, match="machines of 3"):
        comm.create_local_process_group(3)
    os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"] = "5", "8"
    assert (comm.get_local_rank(), comm.get_local_size()) == (5, 8)
    comm.create_local_process_group(1)
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
    comm.create_local_process_group(2)
    assert (comm.get_local_rank(), comm.get_local_size()) == (rank, 2)
    comm.synchronize()
    names = ("a", "b") if rank else ("b", "a")
    values = {name: torch.tensor(float(rank + ord(name))) for name in names}
    found = {
        "rank": comm.get_rank(),
        "main": comm.is_main_process(),
        "all": comm.all_gather(["x"] * rank),
        "gathered": comm.gather(rank, dst=1),
        "seed": comm.shared_random_seed(),
        "mean": {k: v.item() for k, v in comm.reduce_dict(values).items()},
        "sum": {k: v.item() for k, v in comm.reduce_dict(values, average=False).items()},
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_talk(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = os.path.dirname(os.path.dirname(det2lite.__file__))
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    # this file as a script: a fork would inherit locks of the threads that other tests have started
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(port), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert (first["rank"], second["rank"], first["main"], second["main"]) == (0, 1, True, False)
    assert first["all"] == second["all"] == [[], ["x"]]
    assert first["gathered"] == [] and second["gathered"] == [0, 1]
    assert first["seed"] == second["seed"]
    assert first["mean"] == {"a": 97.5, "b": 98.5} and first["sum"] == {"a": 195.0, "b": 197.0}


if __name__ == "__main__":
    _two_processes(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
