import json
import logging
import re

import numpy as np
import pytest
import torch

from det2lite.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    ScalarHistory,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_outside_a_storage_everything_is_dropped():
    assert not has_event_storage()
    storage = get_event_storage()
    storage.put_scalar("loss", 1.0)
    storage.put_scalars(a=1, b=2)
    storage.put_image("picture", torch.zeros(3, 2, 2))
    storage.put_histogram("weights", torch.zeros(3))
    storage.step()
    storage.iter = 7
    assert storage.iter == 0 and storage.latest() == {} and storage._vis_data == []


def test_storages_nest_and_the_innermost_is_active():
    with EventStorage(3) as outer:
        assert has_event_storage() and get_event_storage() is outer
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer and outer.iter == outer.iteration == 3
    assert not has_event_storage()


def test_scalars_have_names_iterations_and_scopes():
    with EventStorage(10) as storage:
        storage.put_scalar("a", 2)
        with storage.name_scope("val"):
            storage.put_scalar("a", np.float32(0.5))
        storage.put_scalar("late", 1.0, cur_iter=4)
        storage.step()
        storage.put_scalar("a", 3)
    assert storage.latest() == {"a": (3.0, 11), "val/a": (0.5, 10), "late": (1.0, 4)}
    assert storage.history("a").values() == [(2.0, 10), (3.0, 11)]
    with pytest.raises(KeyError, match="nothing"):
        storage.history("nothing")
    with pytest.raises(ValueError, match="smoothing_hint"):
        storage.put_scalar("a", 1, smoothing_hint=False)


def test_window_counts_iterations_and_smoothing_is_their_median():
    with EventStorage() as storage:
        for i in range(20):
            storage.put_scalar("every", i)
            storage.put_scalar("lr", i, smoothing_hint=False)
            if i % 5 == 4:
                storage.put_scalar("fifth", i)
            storage.step()
    assert storage.count_samples("every", 10) == 10
    assert storage.count_samples("fifth", 10) == 2
    assert storage.latest_with_smoothing_hint(10) == {"every": (14.5, 19), "lr": (19.0, 19), "fifth": (16.5, 19)}
    assert storage.smoothing_hints() == {"every": True, "lr": False, "fifth": True}


class Lazy(torch.Tensor):
    """A tensor that says it is on an accelerator, as those do that must not be read when they are put."""

    device = torch.device("meta")


def test_tensors_on_a_device_are_read_only_when_asked_for():
    history = ScalarHistory()
    value = torch.tensor(1.5, requires_grad=True).as_subclass(Lazy)
    history.update(value, 0)
    with torch.no_grad():
        value.fill_(9.0)  # what was put stays what it was
    history.update(2.5, 1)
    assert len(history.values()) == 2
    history.update(torch.tensor([4.0]).as_subclass(Lazy), 2)
    assert len(history._pending) == 1
    assert history.values() == [(1.5, 0), (2.5, 1), (4.0, 2)]
    assert history._pending == [] and history.latest() == 4.0
    assert history.median(2) == 3.25 and history.global_avg() == pytest.approx(8 / 3)


def test_cpu_tensors_are_floats_without_a_graph():
    with EventStorage() as storage:
        storage.put_scalar("loss", torch.tensor(0.25, requires_grad=True) * 2)
        with pytest.raises((RuntimeError, ValueError)):
            storage.put_scalar("vector", torch.zeros(2))
    assert type(storage.latest()["loss"][0]) is float and storage.latest()["loss"][0] == 0.5


def test_json_has_a_line_for_each_iteration_with_news(tmp_path):
    path = tmp_path / "metrics.json"
    with EventStorage() as storage:
        writer = JSONWriter(str(path))
        for i in range(60):
            if i % 17 == 0:
                storage.put_scalar("rare", i, smoothing_hint=False)
            storage.put_scalar("often", i, smoothing_hint=False)
            if i % 20 == 19:
                writer.write()
            storage.step()
        writer.write()
        writer.close()
    lines = read_lines(path)
    assert [line["iteration"] for line in lines] == [17, 19, 34, 39, 51, 59]
    assert [line.get("rare") for line in lines] == [17, None, 34, None, 51, None]
    assert [line.get("often") for line in lines] == [None, 19, None, 39, None, 59]


def test_json_appends_and_drops_what_a_killed_run_left_unfinished(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1}\n{"iterat')
    with EventStorage(5) as storage:
        writer = JSONWriter(str(path))
        storage.put_scalar("a", 1)
        writer.write()
        writer.close()
    assert read_lines(path) == [{"iteration": 1}, {"a": 1.0, "iteration": 5}]


def test_printer_shows_time_left_losses_and_memory(caplog):
    with EventStorage(9) as storage:
        printer = CommonMetricPrinter(max_iter=100010)
        storage.put_scalars(total_loss=1.25, loss_cls=0.5, time=0.9, data_time=0.125)
        storage.put_scalar("[metric]depth", 7.0)
        storage.put_scalar("lr", 0.0125, smoothing_hint=False)
        with caplog.at_level(logging.INFO, logger="det2lite.utils.events"):
            printer.write()
    line = caplog.messages[-1]
    assert line.startswith(
        "eta: 1d 01:00:00  iter: 9  total_loss: 1.25  loss_cls: 0.5  [metric]depth: 7  time: 0.9000  "
    )
    assert "last_time: 0.9000  data_time: 0.1250  last_data_time: 0.1250  lr: 0.0125  max_mem: " in line
    assert re.search(r"max_mem: \d+M  elapsed: 0:00:\d\d$", line)
    assert storage.latest()["eta_seconds"][0] == pytest.approx(90000)


def test_printer_estimates_without_a_timer_and_is_silent_at_the_end(caplog):
    with EventStorage() as storage, caplog.at_level(logging.INFO, logger="det2lite.utils.events"):
        printer, endless = CommonMetricPrinter(max_iter=3), CommonMetricPrinter()
        printer.write()
        endless.write()
        storage.step()
        printer.write()
        storage.iter = 3
        printer.write()
    first, without, second = caplog.messages
    assert first.startswith("iter: 0  lr: N/A") and without.startswith("iter: 0")
    assert second.startswith("eta: 0:00:00  iter: 1")


def test_tensorboard_gets_scalars_pictures_and_histograms(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventStorage() as storage:
        writer = TensorboardXWriter(str(tmp_path))
        storage.put_scalar("loss", 2.0)
        storage.put_image("picture", torch.zeros(3, 4, 4, dtype=torch.uint8))
        storage.put_histogram("weights", torch.tensor([[0.0, 1.0], [1.0, 3.0]]), bins=3)
        storage.put_histogram("nothing", torch.zeros(0))
        assert storage._histograms[0]["bucket_counts"] == [1, 2, 1] and len(storage._histograms) == 1
        assert storage._histograms[0]["bucket_limits"] == [1.0, 2.0, 3.0]
        writer.write()
        writer.write()
        assert storage._vis_data == [] and storage._histograms == []
        writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 2.0)]
    assert events.Tags()["images"] == ["picture"] and events.Tags()["histograms"] == ["weights"]
