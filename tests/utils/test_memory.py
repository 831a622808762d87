import os
import platform
import subprocess
import sys

import pytest
import torch

from det2lite.utils.memory import retry_if_cuda_oom


class OnGpu:
    """Stands for a tensor on a GPU."""

    device = torch.device("cuda")

    def to(self, device):
        return f"moved to {device}"


def failing(times):
    calls = []

    @retry_if_cuda_oom
    def compute(*args, **kwargs):
        calls.append((args, kwargs))
        if len(calls) <= times:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return "done"

    return compute, calls


@pytest.mark.parametrize("times", [0, 1])
def test_a_second_try_has_the_same_arguments(times):
    compute, calls = failing(times)
    value = OnGpu()
    assert compute(value, k=value) == "done"
    assert calls == [((value,), {"k": value})] * (times + 1)


def test_the_third_try_is_on_the_cpu():
    compute, calls = failing(2)
    cpu = torch.ones(1)
    assert compute(OnGpu(), cpu, 3, k=OnGpu()) == "done"
    assert calls[2] == (("moved to cpu", cpu, 3), {"k": "moved to cpu"})


def test_still_out_of_memory_and_other_errors_are_raised():
    compute, calls = failing(3)
    with pytest.raises(RuntimeError, match="out of memory"):
        compute()
    assert len(calls) == 3

    @retry_if_cuda_oom
    def broken():
        """Doc."""
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        broken()
    assert broken.__name__ == "broken" and broken.__doc__ == "Doc."


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("asked_for", [False, True])
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise(asked_for):
    script = """
import resource, torch
from det2lite.utils.memory import keep_freed_memory
kept = keep_freed_memory()
for count in range(40):
    if count == 30:  # by then a free block of the size is found
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.full([16 << 20], 1.0)  # 64 MiB
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    own = {"MALLOC_TRIM_THRESHOLD_": "131072"} if asked_for else {}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    run = subprocess.run(
        [sys.executable, "-c", script], env=inherited | own, capture_output=True, text=True, check=True
    )
    kept, faults = run.stdout.split()
    assert kept == str(not asked_for)
    if not asked_for:
        assert int(faults) < 1000  # of 163,840 pages
