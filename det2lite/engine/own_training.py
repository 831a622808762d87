"""A config and a folder of data become a training: the data registered, the config fitted, what was chosen said."""

import os
import re
from typing import Any

import psutil
import torch

from det2lite.config import CfgNode
from det2lite.data import DatasetCatalog
from det2lite.data.datasets import load_coco_json
from det2lite.data.own_data import OwnData, prepare_training_data
from det2lite.data.preflight.samples import stop_on_samples
from det2lite.engine.own_schedule import Machine, fit_to_data
from det2lite.utils.collect_env import has_fast_bfloat16
from det2lite.utils.device import resolve_device
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

__all__ = ["check_weights", "set_up_for_data"]


def set_up_for_data(
    cfg: CfgNode, folder: str, *, val_folder: str | None = None, processes: int = 1, **wishes: Any,
) -> list[str]:  # fmt: skip
    """Changes `cfg` so that it trains on the data set in a folder. Returns lines that say what was found and chosen.

    COCO files that have to be made go below OUTPUT_DIR. val_folder: see `prepare_training_data`; wishes: `fit_to_data`.
    """
    data = prepare_training_data(folder, cfg.OUTPUT_DIR, val_folder=val_folder, seed=max(cfg.SEED, 0))
    check_tasks(cfg, data, folder)
    stem = _free_name(folder)
    splits = {f"{stem}_train": data.train.files, f"{stem}_val": data.val.files}
    cfg.DATASETS.REGISTER = [[name, *map(str, files)] for name, files in splits.items()]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (f"{stem}_train",), (f"{stem}_val",)
    val_name = cfg.DATASETS.TEST[0]  # else its faults would show only after the first part of the training
    stop_on_samples([val_name], load_coco_json(*data.val.files, dataset_name=None), learns=False)
    machine = Machine(processes, _memory(cfg))
    chosen = fit_to_data(cfg, data.train.counts.images, len(data.class_names), machine, **wishes)
    return [*data.story, *chosen, *cpu_advice(cfg)]


def cpu_advice(cfg: CfgNode) -> list[str]:
    """A line for who trains on a processor that is faster in bfloat16, and has not asked for it."""
    if cfg.SOLVER.AMP.ENABLED or resolve_device(cfg.MODEL.DEVICE) != "cpu" or not has_fast_bfloat16():
        return []
    return ["CPU: SOLVER.AMP.ENABLED True computes in bfloat16, in little more than half of the time (docs/speed.md)"]


def check_tasks(cfg: CfgNode, data: OwnData, folder: str) -> None:
    """Raises `BadValue` where the model learns what the data does not show."""
    counts, model = data.train.counts, cfg.MODEL
    without = counts.annotations - counts.polygons - counts.masks
    if model.META_ARCHITECTURE in ("PanopticFPN", "SemanticSegmentor"):
        raise BadValue(
            f"a model of {model.META_ARCHITECTURE} learns from maps of the ground, which --data does not read; take one"
            " of instances, such as --model mask_rcnn_R_50_FPN_1x"
        )
    if model.KEYPOINT_ON:
        raise BadValue(
            "a model of keypoints has to know their names and which are mirrored: register the data in a script"
            " (docs/data.md), or take a model without keypoints, such as --model mask_rcnn_R_50_FPN_1x"
        )
    if model.LOAD_PROPOSALS:
        raise BadValue("this model takes its proposals from files; take one such as --model faster_rcnn_R_50_FPN_1x")
    if not counts.annotations:
        raise BadValue(f"{folder}: no object is annotated in its images for training")
    if model.MASK_ON and without:
        raise BadValue(
            f"{folder}: {without} of {counts.annotations} objects have a box but no mask, and the model learns masks;"
            " take one of boxes, such as --model faster_rcnn_R_50_FPN_1x, or set MODEL.MASK_ON False"
        )


def check_weights(cfg: CfgNode) -> None:
    """Fetches MODEL.WEIGHTS before anything is built. Raises `MissingFile` with the ways out where that fails."""
    path = cfg.MODEL.WEIGHTS
    if not path or os.path.isfile(path):
        return
    try:
        found = os.path.isfile(PathManager.get_local_path(path.partition("?")[0]))
    except MissingFile as error:
        raise MissingFile(f'{error}; or train without pre-trained weights: --weights ""') from None
    if not found:
        raise MissingFile(f'no file {path} to take weights from; give --weights FILE, or --weights "" for none')


def _free_name(folder: str) -> str:
    """What the data set is called: like its folder, unless a data set of that name is known already."""
    stem = re.sub(r"\W+", "_", os.path.basename(os.path.abspath(folder))).strip("_") or "data"
    taken = {f"{stem}_train", f"{stem}_val"} & set(DatasetCatalog.list())
    return f"own_{stem}" if taken else stem


def _memory(cfg: CfgNode) -> float:
    """GiB that each process has: of its GPU, or of the RAM that is free."""
    if cfg.MODEL.DEVICE in ("auto", "cuda") and torch.cuda.is_available():
        return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 2**30
    return psutil.virtual_memory().available / 2**30
