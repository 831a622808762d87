"""Showing results so that they can be copied, and comparing them with expected ones."""

import logging
import pprint
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["flatten_results_dict", "print_csv_format", "verify_results"]

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Logs the main metrics of each task as lines of comma-separated values, ready for a spreadsheet.

    results: `{task: {metric: number}}`. Metrics with `-` in their name (those of one category) are left out.
    """
    if not isinstance(results, Mapping):
        raise TypeError(f"results are a mapping from tasks to metrics, not {type(results).__name__}")
    if not results:
        logger.info("There are no results to show")
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info("copypaste: %s=%s", task, metrics)
            continue
        main = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(main))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compares results with `TEST.EXPECTED_RESULTS`, rows of [task, metric, value, tolerance].

    Returns True where all agree or none are expected. Where one does not, logs both and exits with status 1.
    """
    expected_rows = cfg.TEST.EXPECTED_RESULTS
    if not expected_rows:
        return True
    failed = False
    for task, metric, expected, tolerance in expected_rows:
        actual = results.get(task, {}).get(metric)
        if actual is None or not np.isfinite(actual) or abs(actual - expected) > tolerance:
            failed = True
            logger.error("%s/%s is %s; expected %s within %s", task, metric, actual, expected, tolerance)
    if failed:
        logger.error("Result verification failed!")
        logger.error("Expected results: %s", expected_rows)
        logger.error("Actual results: %s", pprint.pformat(dict(results)))
        sys.exit(1)
    logger.info("Results verification passed.")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, with names joined by `/`: `{"bbox": {"AP": 1}}` becomes `{"bbox/AP": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{inner}": v for inner, v in flatten_results_dict(value).items()}
        else:
            flat[name] = value
    return flat
