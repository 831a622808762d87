"""Which samples are seen, in which order, by which rank."""

from det2lite.data.samplers.grouped_batch_sampler import GroupedBatchSampler
from det2lite.data.samplers.inference import InferenceSampler, SameSizeBatchSampler
from det2lite.data.samplers.training import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

__all__ = [
    "GroupedBatchSampler",
    "InferenceSampler",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "SameSizeBatchSampler",
    "TrainingSampler",
]
