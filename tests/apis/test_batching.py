import threading

import pytest

from det2lite.apis.batching import Batcher, Prepared, in_order, read_ahead


def image(index, group):
    return Prepared(index, None, group=group)


def numbers(batches):
    return [[one.index for one in batch] for batch in batches]


def test_batches_are_of_one_group():
    batcher = Batcher(2)
    assert numbers(batcher.add(image(0, "a"))) == []
    assert numbers(batcher.add(image(1, "b"))) == []
    assert numbers(batcher.add(image(2, "a"))) == [[0, 2]]
    assert numbers(batcher.add(image(3, "c"))) == []
    assert numbers(batcher.flush()) == [[1], [3]]
    assert batcher.flush() == []


def test_nothing_waits_long():
    batcher = Batcher(3, window=3)
    batcher.add(image(0, "rare"))
    assert numbers(batcher.add(image(1, "a")) + batcher.add(image(2, "a"))) == []
    assert numbers(batcher.add(image(3, "a"))) == [[1, 2, 3], [0]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_keeps_the_order_and_its_bounds(workers):
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    reader = read_ahead(lambda index, item: (index, 2 * item), items(), workers=workers, ahead=4)
    assert next(reader) == (0, 0) and len(taken) <= 5
    assert list(reader) == [(k, 2 * k) for k in range(1, 20)]


def test_a_reader_that_is_left_ends_its_threads():
    before = set(threading.enumerate())
    reader = read_ahead(lambda index, item: item, range(100), workers=2, ahead=4)
    next(reader)
    assert set(threading.enumerate()) - before
    reader.close()
    assert not set(threading.enumerate()) - before


def test_in_order():
    assert list(in_order([(2, "c"), (0, "a"), (1, "b"), (3, "d")])) == ["a", "b", "c", "d"]
    assert list(in_order([])) == []
