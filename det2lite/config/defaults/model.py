"""Defaults of MODEL. Names of components are those of their registries."""

from det2lite.config.defaults.heads import (
    FCOS,
    PANOPTIC_FPN,
    RETINANET,
    ROI_BOX_CASCADE_HEAD,
    ROI_BOX_HEAD,
    ROI_HEADS,
    ROI_KEYPOINT_HEAD,
    ROI_MASK_HEAD,
    RPN,
    SEM_SEG_HEAD,
)

ANCHOR_GENERATOR = {
    "NAME": "DefaultAnchorGenerator",  # in ANCHOR_GENERATOR_REGISTRY
    # side of a square of the anchor's area, in pixels of the model's input; one list a feature map,
    # or one list for all of them
    "SIZES": [[32, 64, 128, 256, 512]],
    "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],  # height / width; lists as above
    "ANGLES": [[-90, 0, 90]],  # degrees, counter-clockwise; of rotated anchors
    "OFFSET": 0.0,  # of the first anchor's centre from the corner, in strides
}

RESNETS = {
    "DEPTH": 50,  # 18, 34, 50, 101, 152
    "OUT_FEATURES": ["res4"],  # of "stem", "res2" ... "res5"
    "NUM_GROUPS": 1,  # above 1: ResNeXt
    "NORM": "FrozenBN",  # or "BN", "SyncBN", "GN", ""
    "WIDTH_PER_GROUP": 64,  # channels of the bottleneck in res2
    "STRIDE_IN_1X1": True,  # stride in the first 1x1 convolution (MSRA), else in the 3x3 one (torchvision)
    "RES5_DILATION": 1,  # 2 keeps the resolution of res4
    "RES2_OUT_CHANNELS": 256,  # 64 for depths 18 and 34
    "STEM_OUT_CHANNELS": 64,
    "DEFORM_ON_PER_STAGE": [False, False, False, False],  # res2 to res5
    "DEFORM_MODULATED": False,  # deformable convolution v2
    "DEFORM_NUM_GROUPS": 1,
}

REGNET = {  # the default is RegNetX-4.0GF
    "DEPTH": 23,  # blocks in all
    "W_A": 38.65,  # growth of the width with each block
    "W_0": 96,  # width at the start
    "W_M": 2.43,  # factor between the widths of two stages
    "GROUP_WIDTH": 40,  # channels of a group
    "SE_RATIO": 0.0,  # above 0: RegNetY, squeezed channels to those of the block's input
    "STEM_WIDTH": 32,  # channels
    "NORM": "FrozenBN",  # or "BN", "SyncBN", "GN"
    "OUT_FEATURES": ["s1", "s2", "s3", "s4"],  # of "stem", "s1" ... "s4"
}

MODEL = {
    "LOAD_PROPOSALS": False,  # from files, see DATASETS
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "DEVICE": "auto",  # cuda, else mps, else cpu; or one of these, or "cuda:1"
    "META_ARCHITECTURE": "GeneralizedRCNN",  # in META_ARCH_REGISTRY
    # of every head: a number, "auto" (as the first of DATASETS.TRAIN has), or None for each head's own NUM_CLASSES
    "NUM_CLASSES": None,
    "WEIGHTS": "",  # checkpoint to start from: a path or an address
    # per channel, in the order of INPUT.FORMAT; the input is (image - mean) / std
    "PIXEL_MEAN": [103.530, 116.280, 123.675],
    "PIXEL_STD": [1.0, 1.0, 1.0],  # 1.0 where the backbone's weights hold the scale already
    "BACKBONE": {
        "NAME": "build_resnet_backbone",  # in BACKBONE_REGISTRY
        "FREEZE_AT": 2,  # stages kept as they are loaded: 1 the stem, 2 res2 too; 0 none
    },
    "FPN": {
        "IN_FEATURES": [],  # of the backbone, such as ["res2", "res3", "res4", "res5"]
        "OUT_CHANNELS": 256,
        "NORM": "",  # "", "BN", "GN", ...
        "FUSE_TYPE": "sum",  # or "avg"
    },
    "PROPOSAL_GENERATOR": {
        "NAME": "RPN",  # in PROPOSAL_GENERATOR_REGISTRY, or "PrecomputedProposals"
        "MIN_SIZE": 0,  # pixels of the model's input; proposals with a shorter side are dropped
    },
    "ANCHOR_GENERATOR": ANCHOR_GENERATOR,
    "RPN": RPN,
    "ROI_HEADS": ROI_HEADS,
    "ROI_BOX_HEAD": ROI_BOX_HEAD,
    "ROI_BOX_CASCADE_HEAD": ROI_BOX_CASCADE_HEAD,
    "ROI_MASK_HEAD": ROI_MASK_HEAD,
    "ROI_KEYPOINT_HEAD": ROI_KEYPOINT_HEAD,
    "SEM_SEG_HEAD": SEM_SEG_HEAD,
    "PANOPTIC_FPN": PANOPTIC_FPN,
    "RETINANET": RETINANET,
    "FCOS": FCOS,
    "RESNETS": RESNETS,
    "REGNET": REGNET,
}
