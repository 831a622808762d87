import os
import signal
import subprocess
import sys
import time

import pytest

from det2lite.data.converters.workers import _interrupts_held_back, map_in_processes


def test_in_this_process():
    assert list(map_in_processes(abs, [-1, 2, 0], 0)) == [1, 2, 0]
    assert list(map_in_processes(abs, [], 1)) == []


def test_interrupts_are_heard_at_the_end():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with _interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(1)
    assert reached == [1]
    with _interrupts_held_back():
        pass


SLOW = """
import os, time
from det2lite.data.converters import workers

def main():
    for pid in workers.map_in_processes(slow, list(range(100)), 2):
        print(pid, flush=True)

def slow(number):
    time.sleep(0.2)
    return os.getpid()

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="asks /proc which processes there are")
def test_processes_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "slow.py")], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while os.path.isdir(f"/proc/{worker}") and time.monotonic() < until:
        time.sleep(0.1)
    assert not os.path.isdir(f"/proc/{worker}")
