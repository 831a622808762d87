"""Defaults of the parts of MODEL behind the backbone."""

RPN = {
    "HEAD_NAME": "StandardRPNHead",
    "IN_FEATURES": ["res4"],
    "BOUNDARY_THRESH": -1,  # pixels that an anchor may reach over the image's edge in training; -1: any
    "IOU_THRESHOLDS": [0.3, 0.7],  # below the first: background; from the last on: object
    "IOU_LABELS": [0, -1, 1],  # -1: ignored
    "BATCH_SIZE_PER_IMAGE": 256,  # anchors that the loss looks at
    "POSITIVE_FRACTION": 0.5,  # of these, at most
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),  # of dx, dy, dw, dh
    "SMOOTH_L1_BETA": 0.0,  # where L1 begins; 0: L1 alone
    "LOSS_WEIGHT": 1.0,
    "PRE_NMS_TOPK_TRAIN": 12000,  # per feature map
    "PRE_NMS_TOPK_TEST": 6000,
    "POST_NMS_TOPK_TRAIN": 2000,  # per image, over all feature maps
    "POST_NMS_TOPK_TEST": 1000,
    "NMS_THRESH": 0.7,
    "CONV_DIMS": [-1],  # channels of the head's hidden convolutions; -1: those of its input
}

ROI_HEADS = {
    "NAME": "Res5ROIHeads",
    "NUM_CLASSES": 80,  # without background
    "IN_FEATURES": ["res4"],
    "IOU_THRESHOLDS": [0.5],
    "IOU_LABELS": [0, 1],
    "BATCH_SIZE_PER_IMAGE": 512,  # proposals that are trained on
    "POSITIVE_FRACTION": 0.25,  # of these, at most
    "SCORE_THRESH_TEST": 0.05,
    "NMS_THRESH_TEST": 0.5,
    "PROPOSAL_APPEND_GT": True,  # ground-truth boxes are proposals too in training
}

ROI_BOX_HEAD = {
    "NAME": "",
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),  # of dx, dy, dw, dh
    "SMOOTH_L1_BETA": 0.0,
    "POOLER_RESOLUTION": 14,  # bins along each side
    "POOLER_SAMPLING_RATIO": 0,  # samples along a bin's side; 0: as many as it covers cells
    "POOLER_TYPE": "ROIAlignV2",  # or "ROIAlign", "ROIPool", "ROIAlignRotated"
    "NUM_FC": 0,
    "FC_DIM": 1024,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_BBOX_REG": False,
    "TRAIN_ON_PRED_BOXES": False,  # masks are trained on the boxes that the box head predicts
    "USE_FED_LOSS": False,  # federated loss, for LVIS
    "USE_SIGMOID_CE": False,
    "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
    "FED_LOSS_NUM_CLASSES": 50,
}

ROI_BOX_CASCADE_HEAD = {
    "BBOX_REG_WEIGHTS": ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),
    "IOUS": (0.5, 0.6, 0.7),  # of the stages
}

ROI_MASK_HEAD = {
    "NAME": "MaskRCNNConvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_MASK": False,
    "POOLER_TYPE": "ROIAlignV2",
}

ROI_KEYPOINT_HEAD = {
    "NAME": "KRCNNConvDeconvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "CONV_DIMS": (512,) * 8,
    "NUM_KEYPOINTS": 17,
    "MIN_KEYPOINTS_PER_IMAGE": 1,  # images with fewer are not trained on
    "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,  # else by the number of keypoints a full batch could have
    "LOSS_WEIGHT": 1.0,
    "POOLER_TYPE": "ROIAlignV2",
}

SEM_SEG_HEAD = {
    "NAME": "SemSegFPNHead",
    "IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "IGNORE_VALUE": 255,  # label of pixels that are not trained on
    "NUM_CLASSES": 54,
    "CONVS_DIM": 128,
    "COMMON_STRIDE": 4,
    "NORM": "GN",
    "LOSS_WEIGHT": 1.0,
}

PANOPTIC_FPN = {
    "INSTANCE_LOSS_WEIGHT": 1.0,
    "COMBINE": {
        "ENABLED": True,  # merge instances and semantic segmentation
        "OVERLAP_THRESH": 0.5,  # share of an instance that may be covered already
        "STUFF_AREA_LIMIT": 4096,  # pixels; smaller stuff regions are dropped
        "INSTANCES_CONFIDENCE_THRESH": 0.5,
    },
}

RETINANET = {
    "NUM_CLASSES": 80,
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "NUM_CONVS": 4,
    "IOU_THRESHOLDS": [0.4, 0.5],
    "IOU_LABELS": [0, -1, 1],
    "PRIOR_PROB": 0.01,  # of an object, at the start of training
    "SCORE_THRESH_TEST": 0.05,
    "TOPK_CANDIDATES_TEST": 1000,  # per feature map
    "NMS_THRESH_TEST": 0.5,
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
    "FOCAL_LOSS_GAMMA": 2.0,
    "FOCAL_LOSS_ALPHA": 0.25,
    "SMOOTH_L1_LOSS_BETA": 0.1,
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "NORM": "",
}
