import functools
import logging
import time

import pytest
import termcolor

from det2lite.utils import logger as logger_module
from det2lite.utils.logger import create_small_table, log_every_n, log_every_n_seconds, log_first_n, setup_logger


@pytest.fixture
def name():
    yield "d2l_test"
    logger = logging.getLogger("d2l_test")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_each_line_is_said_once_however_often_it_is_set_up(tmp_path, capsys, name):
    for _ in range(3):
        logger = setup_logger(tmp_path, name=name)
    logging.getLogger(f"{name}.part").warning("careful")
    assert capsys.readouterr().out.count("careful") == 1
    text = (tmp_path / "log.txt").read_text()
    assert text.count("careful") == 1 and f"{name}.part WARNING: careful" in text
    assert not logger.propagate


def test_other_ranks_write_their_own_file_and_no_terminal(tmp_path, capsys, name):
    setup_logger(tmp_path / "sub" / "mine.log", distributed_rank=2, name=name).info("hello")
    assert capsys.readouterr().out == ""
    assert "hello" in (tmp_path / "sub" / "mine.log.rank2").read_text()


def test_loggers_share_one_file(tmp_path, name):
    first, second = setup_logger(tmp_path, name=name), setup_logger(tmp_path, name=f"{name}.other")
    first.info("one")
    second.info("two")
    logging.getLogger(f"{name}.other").handlers.clear()
    assert [line.split(": ")[-1] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["one", "two"]


def test_terminal_shortens_the_name_and_keeps_the_traceback(capsys, name):
    setup_logger(name=name, abbrev_name="short", color=False)
    try:
        raise ValueError("cause")
    except ValueError:
        logging.getLogger(f"{name}.part").exception("it broke")
    out = capsys.readouterr().out
    assert "short.part ERROR: it broke" in out and "ValueError: cause" in out


def test_colours_mark_the_level(capsys, name, monkeypatch):
    monkeypatch.setattr(termcolor, "colored", functools.partial(termcolor.colored, force_color=True))
    setup_logger(name=name).error("bad")
    out = capsys.readouterr().out
    assert "\x1b[32m" in out and "\x1b[31m" in out and out.endswith("bad\n")


def test_small_table_is_one_row():
    table = create_small_table({"AP": 12.34567, "AP50": float("nan")}).splitlines()
    assert len(table) == 3 and "AP50" in table[0] and "12.346" in table[2] and "nan" in table[2]


@pytest.fixture(autouse=True)
def forget():
    logger_module._SAID.clear()
    logger_module._LAST_SAID.clear()


def test_first_n_counts_callers_or_messages(caplog):
    with caplog.at_level(logging.INFO):
        for i in range(4):
            log_first_n(logging.INFO, f"caller {i}", n=2)
            log_first_n(logging.INFO, f"message {i % 2}", key="message")
            log_first_n(logging.INFO, f"both {i % 3}", key=("caller", "message"))
    assert [m for m in caplog.messages if "caller" in m] == ["caller 0", "caller 1"]
    assert [m for m in caplog.messages if "message" in m] == ["message 0", "message 1"]
    assert [m for m in caplog.messages if "both" in m] == ["both 0", "both 1", "both 2"]
    assert {record.name for record in caplog.records} == {__name__}
    with pytest.raises(ValueError):
        log_first_n(logging.INFO, "x", key="file")


def test_every_n_and_every_n_seconds(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 4.9, 5.0, 11.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        for i in range(5):
            log_every_n(logging.INFO, f"count {i}", n=3)
            log_every_n_seconds(logging.INFO, f"seconds {i}", n=5, name="other")
    assert [m for m in caplog.messages if "count" in m] == ["count 0", "count 3"]
    assert [m for m in caplog.messages if "seconds" in m] == ["seconds 0", "seconds 3", "seconds 4"]
