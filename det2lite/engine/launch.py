"""Starting a function in one process per device, by ourselves or as torchrun and SLURM have done already.

torch is imported when a function needs it: the tools' `--help` passes through this module.
"""

import logging
import os
import pickle
import socket
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from det2lite.utils.errors import BadValue, UserError

__all__ = ["DEFAULT_TIMEOUT", "launch", "launch_as_asked"]

DEFAULT_TIMEOUT = timedelta(minutes=30)

_MAX_TEXT = 4000  # of a traceback: those of all processes have to fit into the pipe to the parent

logger = logging.getLogger(__name__)


class ProcessFailed(RuntimeError):
    """A process of the launch failed; the message holds its traceback."""


class Place(NamedTuple):
    """Where a process stands among all, and where they meet."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    dist_url: str


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
):
    """Runs `main_func(*args)` in `num_gpus_per_machine` processes on each of `num_machines` machines.

    They talk over nccl on CUDA and gloo on a machine without. `dist_url` is where they meet, such as
    "tcp://host:port"; "auto" takes a free port and is for one machine. One process is the calling one.
    Under torchrun, and under srun unless several devices or machines are asked for here, processes
    exist already: this one joins them and runs `main_func`. Returns main_func's result where it ran in this process.

    An error in a process ends the others and is raised here; of a `UserError`, only its message.
    """
    place = place_from_environment(os.environ, alone=num_gpus_per_machine * num_machines == 1)
    if place is not None:
        return _run(place, main_func, args, timeout)
    world_size = num_machines * num_gpus_per_machine
    if world_size < 1 or not 0 <= machine_rank < num_machines:
        raise BadValue(
            f"cannot start {num_gpus_per_machine} processes on {num_machines} machines as machine {machine_rank};"
            " machine ranks count from 0 to the number of machines - 1"
        )
    if world_size == 1:
        return main_func(*args)
    if dist_url is None or dist_url == "auto":
        if num_machines > 1:
            raise BadValue(
                f"{num_machines} machines need one address to meet at: give every machine the same"
                " --dist-url tcp://<host of machine 0>:<free port>"
            )
        dist_url = f"tcp://127.0.0.1:{find_free_port()}"
    _check_devices(num_gpus_per_machine)
    _start(main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args, timeout)


def launch_as_asked(main_func: Callable, asked: Namespace, *args):
    """`launch` with the devices and machines that a command line asks for, see `add_launch_arguments`."""
    return launch(
        main_func,
        asked.num_gpus,
        num_machines=asked.num_machines,
        machine_rank=asked.machine_rank,
        dist_url=asked.dist_url,
        args=args,
    )


def find_free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


_find_free_port = find_free_port  # its name in Detectron2, which scripts that start processes themselves import


def place_from_environment(environ: Mapping[str, str], *, alone: bool) -> Place | None:
    """This process's place as torchrun or srun gave it; None when neither started several processes.

    `alone` says that the caller asked for one process: only then is srun's word taken, because a job of
    one srun task a machine usually starts its processes by itself.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= environ.keys():
        world_size = int(environ["WORLD_SIZE"])
        if world_size == 1:
            return None
        local_size = int(environ.get("LOCAL_WORLD_SIZE", world_size))
        return Place(int(environ["RANK"]), world_size, int(environ["LOCAL_RANK"]), local_size, "env://")
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    if not alone or tasks == 1 or not {"SLURM_PROCID", "SLURM_LOCALID"} <= environ.keys():
        return None
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", "127.0.0.1"))
    # the same for all processes of a job step, other than those of most other steps on these machines
    port = 20000 + (int(environ.get("SLURM_JOB_ID", 0)) * 131 + int(environ.get("SLURM_STEP_ID", 0))) % 20000
    local_size = int(environ.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)).split("(")[0].split(",")[0])
    return Place(
        int(environ["SLURM_PROCID"]),
        tasks,
        int(environ["SLURM_LOCALID"]),
        local_size,
        f"tcp://{first_host(nodes)}:{port}",
    )


def first_host(nodes: str) -> str:
    """The first host in SLURM's short writing: "gpu[03-05,9],cpu1" begins with gpu03."""
    head, bracket, tail = nodes.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    numbers, _, rest = tail.partition("]")
    suffix = rest.split(",")[0]
    return head + numbers.split(",")[0].split("-")[0] + suffix


def _check_devices(processes: int) -> None:
    import torch

    devices = torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        raise BadValue(
            f"{processes} processes need as many GPUs, and this machine has {devices}: use --num-gpus {devices},"
            ' or set CUDA_VISIBLE_DEVICES="" and MODEL.DEVICE cpu to train on the CPU'
        )


def _start(main_func, processes, num_machines, machine_rank, dist_url, args, timeout) -> None:
    """Starts this machine's processes and waits for them."""
    import torch.multiprocessing as mp

    # it warns of each process that it ends after an error in another; that error is what matters, and is raised here
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    errors = mp.get_context("spawn").SimpleQueue()
    world_size = num_machines * processes
    places = [Place(machine_rank * processes + i, world_size, i, processes, dist_url) for i in range(processes)]
    try:
        mp.start_processes(
            _worker, args=(places, main_func, args, timeout, errors), nprocs=processes, start_method="spawn"
        )
    except (mp.ProcessRaisedException, mp.ProcessExitedException):
        if not errors.empty():  # the first is the cause: others fail because they miss the process that failed
            raise _unpack(errors.get()) from None
        raise


def _worker(index, places, main_func, args, timeout, errors) -> None:
    try:
        _run(places[index], main_func, args, timeout)
    except UserError as error:
        errors.put(_pack(error))
        raise SystemExit(1) from None
    except Exception as error:
        errors.put(_pack(error, f"process {places[index].rank} failed:\n{traceback.format_exc()[-_MAX_TEXT:]}"))
        raise


def _pack(error: Exception, text: str = "") -> tuple[bytes | None, str]:
    """An error to send; of one that is not the user's only the text, which tells where it was raised."""
    if not isinstance(error, UserError):
        return None, text
    try:
        return pickle.dumps(error), str(error)
    except Exception:  # an error may hold anything
        return b"", str(error)


def _unpack(packed: tuple[bytes | None, str]) -> Exception:
    """The error of a process of ours; of a user's error that cannot travel only the message."""
    data, message = packed
    if data is None:
        return ProcessFailed(message)
    try:
        error = pickle.loads(data)
    except Exception:
        return UserError(message)
    return error if isinstance(error, UserError) else UserError(message)


def _run(place: Place, main_func: Callable, args: tuple, timeout: timedelta):
    """Joins the other processes, runs the function, and leaves them."""
    import torch
    import torch.distributed as dist

    from det2lite.utils import comm

    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(place.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_size))  # they share the cores
    try:
        dist.init_process_group(
            backend="nccl" if on_cuda else "gloo",
            init_method=place.dist_url,
            world_size=place.world_size,
            rank=place.rank,
            timeout=timeout,
        )
    except Exception:
        logger.error("Process %d of %d cannot join at %s", place.rank, place.world_size, place.dist_url)
        raise
    comm.create_local_process_group(place.local_size)
    comm.synchronize()
    result = main_func(*args)
    dist.destroy_process_group()  # after an error it would wait for the others, who wait for this process
    return result
