"""Talking between the processes of a run. Without `torch.distributed` every function answers as the only process."""

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

__all__ = [
    "all_gather",
    "create_local_process_group",
    "gather",
    "get_local_process_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "shared_random_seed",
    "synchronize",
]

_LOCAL_PROCESS_GROUP: dist.ProcessGroup | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """The number of processes in the run."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """This process' number in the run, 0 first."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Whether this process is the one that logs and saves."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Groups the processes of each machine; ranks of one machine follow one another. Every process must call it.

    Raises ValueError where the world size is not a multiple of `num_workers_per_machine`.
    """
    global _LOCAL_PROCESS_GROUP
    world_size = get_world_size()
    if world_size % num_workers_per_machine:
        raise ValueError(f"{world_size} processes cannot be split into machines of {num_workers_per_machine}")
    for first in range(0, world_size, num_workers_per_machine):
        ranks = list(range(first, first + num_workers_per_machine))
        group = dist.new_group(ranks)  # all ranks take part in the creation of every group
        if get_rank() in ranks:
            _LOCAL_PROCESS_GROUP = group


def get_local_process_group() -> dist.ProcessGroup:
    """The group of the processes on this machine. Raises RuntimeError before `create_local_process_group`."""
    if _LOCAL_PROCESS_GROUP is None:
        raise RuntimeError(
            "no local process group yet: start processes by engine.launch or call "
            "comm.create_local_process_group(processes_per_machine) after init_process_group"
        )
    return _LOCAL_PROCESS_GROUP


def get_local_rank() -> int:
    """This process' number on its machine, 0 first; torchrun's LOCAL_RANK where no local group was made."""
    if not _is_distributed():
        return 0
    if _LOCAL_PROCESS_GROUP is None and "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    return dist.get_rank(group=get_local_process_group())


def get_local_size() -> int:
    """The number of processes on this machine; torchrun's LOCAL_WORLD_SIZE where no local group was made."""
    if not _is_distributed():
        return 1
    if _LOCAL_PROCESS_GROUP is None and "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return dist.get_world_size(group=get_local_process_group())


def synchronize() -> None:
    """Waits until every process has come here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        # without the device NCCL guesses one from the rank, which is wrong on a second machine
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@functools.cache
def _gloo_beside(world: dist.ProcessGroup) -> dist.ProcessGroup:
    return dist.new_group(backend="gloo")


def _cpu_group() -> dist.ProcessGroup:
    """All processes over gloo, because objects are gathered as bytes in host memory."""
    world = dist.group.WORLD
    return _gloo_beside(world) if dist.get_backend() == dist.Backend.NCCL else world


_get_global_gloo_group = _cpu_group  # its name in Detectron2


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The `data` (anything that pickles) of every process, in the order of ranks."""
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    collected: list[Any] = [None] * size
    dist.all_gather_object(collected, data, group=group)
    return collected


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The `data` of every process in the order of ranks on rank `dst`; an empty list on the others."""
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    if dist.get_rank() != dst:
        dist.gather_object(data, None, dst=dst, group=group)
        return []
    collected: list[Any] = [None] * size
    dist.gather_object(data, collected, dst=dst, group=group)
    return collected


def shared_random_seed() -> int:
    """A random number in [0, 2**31) that is the same in all processes. All of them must call it."""
    return all_gather(int(np.random.randint(2**31)))[0]


@torch.no_grad()
def reduce_dict(input_dict: Mapping[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sums or averages 0-d tensors of the same keys over the processes. Only rank 0's result is meaningful."""
    world_size = get_world_size()
    if world_size == 1:
        return input_dict
    names = sorted(input_dict)  # processes may have put the keys in different orders
    values = torch.stack([input_dict[name] for name in names])  # (K,)
    dist.reduce(values, dst=0)
    if average and get_rank() == 0:
        values /= world_size
    return dict(zip(names, values, strict=True))
