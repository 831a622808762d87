"""The training of a config from its start to its last evaluation, as the tools run it."""

from collections.abc import Mapping
from typing import Any

from det2lite.config import CfgNode
from det2lite.engine import hooks
from det2lite.engine.auto_batch import with_batch_of_run
from det2lite.engine.checks import check_training_config
from det2lite.engine.evaluate import evaluate_with_tta
from det2lite.engine.trainer import DefaultTrainer
from det2lite.modeling import build_model_with_tta

__all__ = ["train_from_config"]


def train_from_config(
    cfg: CfgNode, *, resume: bool = False, trainer_class: type[DefaultTrainer] = DefaultTrainer
) -> Mapping[str, Any]:
    """Trains from MODEL.WEIGHTS (with `resume`: on from the last checkpoint in OUTPUT_DIR). Returns the last results.

    What would end the training late is found first. Call `default_setup` before.
    """
    check_training_config(cfg)
    if resume:
        cfg = with_batch_of_run(cfg)
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    if cfg.TEST.AUG.ENABLED:
        build_model_with_tta(cfg, trainer.model)  # a model that has no such evaluation is told of before the training
        last = hooks.EvalHook(0, lambda: evaluate_with_tta(cfg, trainer.model, trainer_class=trainer_class))
        trainer.register_hooks([last])
    return trainer.train()
