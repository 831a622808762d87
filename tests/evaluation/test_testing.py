import logging
from collections import OrderedDict

import pytest

from det2lite.config import get_cfg
from det2lite.evaluation.testing import flatten_results_dict, print_csv_format, verify_results

RESULTS = OrderedDict(bbox={"AP": 40.1234, "AP50": float("nan"), "AP-cat": 3.0}, seconds=7)


def test_copy_paste_lines_leave_categories_out(caplog):
    with caplog.at_level(logging.INFO):
        print_csv_format(RESULTS)
    assert caplog.messages == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 40.1234,nan",
        "copypaste: seconds=7",
    ]
    with pytest.raises(TypeError):
        print_csv_format([1])


def test_nothing_to_print_is_no_error(caplog):
    with caplog.at_level(logging.INFO):
        print_csv_format({})
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("row", "good"),
    [
        (["bbox", "AP", 40.0, 0.2], True),
        (["bbox", "AP", 40.0, 0.1], False),
        (["bbox", "AP50", 40.0, 100], False),
        (["bbox", "AP75", 40.0, 100], False),
        (["segm", "AP", 40.0, 100], False),
    ],
)
def test_expected_results_are_compared(row, good, caplog):
    cfg = get_cfg()
    assert verify_results(cfg, {})
    cfg.TEST.EXPECTED_RESULTS = [row]
    results = {"bbox": RESULTS["bbox"]}
    if good:
        assert verify_results(cfg, results)
    else:
        with pytest.raises(SystemExit) as exit:
            verify_results(cfg, results)
        assert exit.value.code == 1 and "verification failed" in caplog.text


def test_results_are_flattened():
    assert flatten_results_dict({"a": {"b": 1, "c": {"d": 2}}, "e": 3, "f": {}}) == {"a/b": 1, "a/c/d": 2, "e": 3}
