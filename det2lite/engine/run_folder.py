"""The folder of a run: whether one is there already, and what may happen to it."""

import glob
import os
import re

from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.logger import setup_logger

__all__ = ["RunExists", "claim_run_folder", "config_of_run", "has_checkpoint", "traces_of_run"]

_CHECKPOINT = re.compile(r"model_(\d{7}|final|best\w*)\.pth")
_LOGS = ("metrics.json", "last_checkpoint", "events.out.tfevents.*", "log.txt*")


class RunExists(BadValue, FileExistsError):
    """A folder holds a run that a new one would overwrite."""


def traces_of_run(folder: str) -> list[str]:
    """Names of what a training left in a folder: checkpoints and metrics. Empty: it has not come to its first."""
    if not os.path.isdir(folder):
        return []
    found = sorted(name for name in os.listdir(folder) if _CHECKPOINT.fullmatch(name))
    metrics = os.path.join(folder, "metrics.json")
    return found + (["metrics.json"] if os.path.isfile(metrics) and os.path.getsize(metrics) else [])


def claim_run_folder(folder: str, *, overwrite: bool = False, kept: str = "") -> None:
    """Makes sure that a new run overwrites nothing. Raises `RunExists` where there is one, unless with `overwrite`.

    Then its checkpoints, metrics and logs are removed, and nothing else. kept: a file that must not be among them.
    """
    traces = traces_of_run(folder)
    if not traces:
        return
    if not overwrite:
        raise RunExists(
            f"{folder} holds a run already ({', '.join(traces[:3])}{', ...' if len(traces) > 3 else ''}): go on with it"
            " (--resume), choose another folder (--output DIR), or remove it and start anew (--overwrite)"
        )
    doomed = [os.path.join(folder, name) for name in traces]
    doomed += [path for pattern in _LOGS for path in glob.glob(os.path.join(glob.escape(folder), pattern))]
    if kept and os.path.realpath(kept) in map(os.path.realpath, doomed):
        raise BadValue(f"{kept} is part of the run that --overwrite removes; choose another folder (--output DIR)")
    for path in set(doomed):
        os.remove(path)


def warn_of_earlier_run(folder: str) -> None:
    """Warns where a training is about to write over the run in a folder, as Detectron2's tools do without a word."""
    traces = traces_of_run(folder) if comm.is_main_process() else []
    if traces:
        setup_logger(folder).warning(
            "%s holds a run already (%s), which this one writes over; stop it now and give --resume to go on with that"
            " run, or another OUTPUT_DIR to keep it",
            folder,
            ", ".join(traces[:3]),
        )


def has_checkpoint(folder: str) -> bool:
    """Whether the run in a folder can be gone on with from more than its beginning."""
    return os.path.isfile(os.path.join(folder, "last_checkpoint"))


def config_of_run(folder: str) -> str | None:
    """The config of the run in a folder as YAML: that of its last checkpoint, else config.yaml; None without a run."""
    from det2lite.checkpoint.run_info import read_run_info

    last = os.path.join(folder, "last_checkpoint")
    if os.path.isfile(last):
        with open(last, encoding="utf-8") as file:
            text = read_run_info(os.path.join(folder, file.read().strip())).get("config")
        if text:
            return text
    path = os.path.join(folder, "config.yaml")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()
