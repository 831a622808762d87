"""Sampling under Detectron2's path; it lives in `det2lite.modeling.samplers.random`."""

from det2lite.modeling.samplers.random import subsample_labels

__all__ = ["subsample_labels"]
