"""Defaults of the parts of MODEL behind the backbone."""

RPN = {
    "HEAD_NAME": "StandardRPNHead",  # in RPN_HEAD_REGISTRY
    "IN_FEATURES": ["res4"],  # feature maps that proposals are made from
    "BOUNDARY_THRESH": -1,  # pixels that an anchor may reach over the image's edge in training; -1: any
    "IOU_THRESHOLDS": [0.3, 0.7],  # below the first: background; from the last on: object
    "IOU_LABELS": [0, -1, 1],  # -1: ignored
    "BATCH_SIZE_PER_IMAGE": 256,  # anchors that the loss looks at
    "POSITIVE_FRACTION": 0.5,  # of these, at most
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "BBOX_REG_LOSS_WEIGHT": 1.0,  # beside LOSS_WEIGHT
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),  # of dx, dy, dw, dh
    "SMOOTH_L1_BETA": 0.0,  # where L1 begins; 0: L1 alone
    "LOSS_WEIGHT": 1.0,  # of both losses
    "PRE_NMS_TOPK_TRAIN": 12000,  # per feature map
    "PRE_NMS_TOPK_TEST": 6000,  # per feature map
    "POST_NMS_TOPK_TRAIN": 2000,  # per image, over all feature maps
    "POST_NMS_TOPK_TEST": 1000,  # per image
    "NMS_THRESH": 0.7,  # IoU over which the lower score is dropped
    "CONV_DIMS": [-1],  # channels of the head's hidden convolutions; -1: those of its input
}

ROI_HEADS = {
    "NAME": "Res5ROIHeads",  # in ROI_HEADS_REGISTRY
    "NUM_CLASSES": 80,  # without background
    "IN_FEATURES": ["res4"],  # feature maps that regions are pooled from
    "IOU_THRESHOLDS": [0.5],  # IoU with an object from which on a proposal stands for it
    "IOU_LABELS": [0, 1],  # below and above the threshold: background, object
    "BATCH_SIZE_PER_IMAGE": 512,  # proposals that are trained on
    "POSITIVE_FRACTION": 0.25,  # of these, at most
    "SCORE_THRESH_TEST": 0.05,  # detections with a lower score are dropped
    "NMS_THRESH_TEST": 0.5,  # IoU over which the lower score of a class is dropped
    "PROPOSAL_APPEND_GT": True,  # ground-truth boxes are proposals too in training
}

ROI_BOX_HEAD = {
    "NAME": "",  # in ROI_BOX_HEAD_REGISTRY
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "BBOX_REG_LOSS_WEIGHT": 1.0,  # beside the classification loss
    "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),  # of dx, dy, dw, dh
    "SMOOTH_L1_BETA": 0.0,  # where L1 begins; 0: L1 alone
    "POOLER_RESOLUTION": 14,  # bins along each side
    "POOLER_SAMPLING_RATIO": 0,  # samples along a bin's side; 0: as many as it covers cells
    "POOLER_TYPE": "ROIAlignV2",  # or "ROIAlign", "ROIPool", "ROIAlignRotated"
    "NUM_FC": 0,  # fully connected layers, behind the convolutions
    "FC_DIM": 1024,  # their channels
    "NUM_CONV": 0,  # 3x3 convolutions
    "CONV_DIM": 256,  # their channels
    "NORM": "",  # of the convolutions: "", "BN", "GN", ...
    "CLS_AGNOSTIC_BBOX_REG": False,  # one box for all classes
    "TRAIN_ON_PRED_BOXES": False,  # masks are trained on the boxes that the box head predicts
    "USE_FED_LOSS": False,  # federated loss, for LVIS
    "USE_SIGMOID_CE": False,  # a sigmoid for each class instead of one softmax
    "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,  # a class is drawn by its number of images to this power
    "FED_LOSS_NUM_CLASSES": 50,  # classes that the loss of a batch looks at, at least
}

ROI_BOX_CASCADE_HEAD = {
    "BBOX_REG_WEIGHTS": ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),  # by stage
    "IOUS": (0.5, 0.6, 0.7),  # of the stages
}

ROI_MASK_HEAD = {
    "NAME": "MaskRCNNConvUpsampleHead",  # in ROI_MASK_HEAD_REGISTRY
    "POOLER_RESOLUTION": 14,  # bins along each side; masks have twice as many
    "POOLER_SAMPLING_RATIO": 0,  # as in ROI_BOX_HEAD
    "NUM_CONV": 0,  # 3x3 convolutions
    "CONV_DIM": 256,  # their channels
    "NORM": "",  # of the convolutions: "", "BN", "GN", ...
    "CLS_AGNOSTIC_MASK": False,  # one mask for all classes
    "POOLER_TYPE": "ROIAlignV2",  # as in ROI_BOX_HEAD
}

ROI_KEYPOINT_HEAD = {
    "NAME": "KRCNNConvDeconvUpsampleHead",  # in ROI_KEYPOINT_HEAD_REGISTRY
    "POOLER_RESOLUTION": 14,  # bins along each side; heatmaps have four times as many
    "POOLER_SAMPLING_RATIO": 0,  # as in ROI_BOX_HEAD
    "CONV_DIMS": (512,) * 8,  # channels of the convolutions
    "NUM_KEYPOINTS": 17,
    "MIN_KEYPOINTS_PER_IMAGE": 1,  # images with fewer are not trained on
    "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,  # else by the number of keypoints a full batch could have
    "LOSS_WEIGHT": 1.0,
    "POOLER_TYPE": "ROIAlignV2",  # as in ROI_BOX_HEAD
}

SEM_SEG_HEAD = {
    "NAME": "SemSegFPNHead",  # in SEM_SEG_HEADS_REGISTRY
    "IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "IGNORE_VALUE": 255,  # label of pixels that are not trained on
    "NUM_CLASSES": 54,  # values of the label maps
    "CONVS_DIM": 128,  # channels
    "COMMON_STRIDE": 4,  # pixels; the feature maps are added up at this stride
    "NORM": "GN",
    "LOSS_WEIGHT": 1.0,
}

PANOPTIC_FPN = {
    "INSTANCE_LOSS_WEIGHT": 1.0,
    "COMBINE": {
        "ENABLED": True,  # merge instances and semantic segmentation
        "OVERLAP_THRESH": 0.5,  # share of an instance that may be covered already
        "STUFF_AREA_LIMIT": 4096,  # pixels; smaller stuff regions are dropped
        "INSTANCES_CONFIDENCE_THRESH": 0.5,  # score that an instance needs
    },
}

RETINANET = {
    "NUM_CLASSES": 80,  # without background
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "NUM_CONVS": 4,  # in each of the two branches
    "IOU_THRESHOLDS": [0.4, 0.5],  # below the first: background; from the last on: object
    "IOU_LABELS": [0, -1, 1],  # -1: ignored
    "PRIOR_PROB": 0.01,  # of an object, at the start of training
    "SCORE_THRESH_TEST": 0.05,  # detections with a lower score are dropped
    "TOPK_CANDIDATES_TEST": 1000,  # per feature map
    "NMS_THRESH_TEST": 0.5,  # IoU over which the lower score of a class is dropped
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),  # of dx, dy, dw, dh
    "FOCAL_LOSS_GAMMA": 2.0,  # 0 is cross entropy; more looks away from easy examples
    "FOCAL_LOSS_ALPHA": 0.25,  # weight of objects, against 1 - alpha of background
    "SMOOTH_L1_LOSS_BETA": 0.1,  # where L1 begins
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or "giou", "diou", "ciou"
    "NORM": "",  # of the branches: "", "BN", "GN", ...
}

FCOS = {
    "NUM_CLASSES": 80,  # without background
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "NUM_CONVS": 4,  # in each of the two branches
    "PRIOR_PROB": 0.01,  # of an object, at the start of training
    "CENTER_SAMPLING_RADIUS": 1.5,  # strides around an object's centre in which it is learnt
    "SCORE_THRESH_TEST": 0.2,  # detections with a lower score are dropped
    "TOPK_CANDIDATES_TEST": 1000,  # per feature map
    "NMS_THRESH_TEST": 0.6,  # IoU over which the lower score of a class is dropped
    "FOCAL_LOSS_GAMMA": 2.0,  # 0 is cross entropy; more looks away from easy examples
    "FOCAL_LOSS_ALPHA": 0.25,  # weight of objects, against 1 - alpha of background
    "NORM": "GN",  # of the branches: "", "BN", "GN", ...
}
