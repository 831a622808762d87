"""Familiar path of the samplers that know about ranks."""

from det2lite.data.samplers.inference import InferenceSampler
from det2lite.data.samplers.training import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

__all__ = ["InferenceSampler", "RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler", "TrainingSampler"]
