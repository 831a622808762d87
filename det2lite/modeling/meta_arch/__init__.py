"""Meta-architectures: one file a pipeline."""

from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY, build_model
from det2lite.modeling.meta_arch.dense_detector import DenseDetector
from det2lite.modeling.meta_arch.fcos import FCOS
from det2lite.modeling.meta_arch.panoptic_fpn import PanopticFPN
from det2lite.modeling.meta_arch.rcnn import GeneralizedRCNN, ProposalNetwork
from det2lite.modeling.meta_arch.retinanet import RetinaNet
from det2lite.modeling.meta_arch.semantic_seg import (
    SEM_SEG_HEADS_REGISTRY,
    SemanticSegmentor,
    SemSegFPNHead,
    build_sem_seg_head,
)

__all__ = [
    "FCOS",
    "META_ARCH_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "DenseDetector",
    "GeneralizedRCNN",
    "PanopticFPN",
    "ProposalNetwork",
    "RetinaNet",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "build_model",
    "build_sem_seg_head",
]
