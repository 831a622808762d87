"""The parts of a usual training, at their familiar path."""

from det2lite.engine.arguments import default_argument_parser
from det2lite.engine.predictor import DefaultPredictor
from det2lite.engine.setup import (
    _highlight,  # noqa: F401 - projects import these two from here
    _try_get_key,  # noqa: F401
    create_ddp_model,
    default_setup,
    default_writers,
)
from det2lite.engine.trainer import DefaultTrainer

__all__ = [
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "DefaultPredictor",
    "DefaultTrainer",
]
