"""Training and evaluation in a call each, in this process."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from det2lite import engine
from det2lite.apis.detector import config_of, detector_config
from det2lite.config import CfgNode
from det2lite.engine import DefaultTrainer, check_training_config, evaluate_weights
from det2lite.engine.run_folder import RunExists, claim_run_folder


def train(
    config: CfgNode | str | os.PathLike,
    *,
    output_dir: str | os.PathLike | None = None,
    resume: bool = False,
    device: str | None = None,
    options: Sequence[Any] = (),
    trainer_class: type[DefaultTrainer] = DefaultTrainer,
) -> Mapping[str, Any]:
    """Trains the model of a config as `DefaultTrainer` does; returns the metrics of the last evaluation.

    config: a CfgNode, a YAML file or a name of the model zoo. output_dir: instead of OUTPUT_DIR. resume: go on with the
    run that is there; without it, a folder that holds a run is refused. options: keys and values in turn, which change
    the config. `init_detector(checkpoint=...)` takes the `model_final.pth` that is written.
    """
    cfg = config_of(config)
    cfg.merge_from_list(list(options))
    if output_dir is not None:
        cfg.OUTPUT_DIR = os.fspath(output_dir)
    if device is not None:
        cfg.MODEL.DEVICE = str(device)
    cfg.freeze()
    if not resume:
        try:
            claim_run_folder(cfg.OUTPUT_DIR)
        except RunExists:
            raise RunExists(
                f"{cfg.OUTPUT_DIR} holds a run already: resume=True goes on with it, or take another output_dir"
            ) from None
    engine.default_setup(cfg, {"resume": resume})
    check_training_config(cfg)
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer.train()


def evaluate(
    config: CfgNode | str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    *,
    datasets: Sequence[str] | None = None,
    output_dir: str | os.PathLike | None = None,
    device: str | None = None,
    options: Sequence[Any] = (),
    trainer_class: type[DefaultTrainer] = DefaultTrainer,
) -> Mapping[str, Any]:
    """Metrics of a model on data sets, as `evaluate_weights` gives them: {task: {metric: value}}.

    config, checkpoint, device, options: as in `init_detector`. datasets: registered names; default: DATASETS.TEST.
    output_dir: of the detections, instead of OUTPUT_DIR.
    """
    cfg = detector_config(config, checkpoint, options=options)
    if datasets is not None:
        cfg.DATASETS.TEST = (datasets,) if isinstance(datasets, str) else tuple(datasets)
    if output_dir is not None:
        cfg.OUTPUT_DIR = os.fspath(output_dir)
    if device is not None:
        cfg.MODEL.DEVICE = str(device)
    cfg.freeze()
    return evaluate_weights(cfg, trainer_class=trainer_class)
