import os
import signal

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
