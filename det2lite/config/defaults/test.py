"""Defaults of TEST: evaluation and inference."""

TEST = {
    "EXPECTED_RESULTS": [],  # [[task, metric, value, tolerance], ...], verified after an evaluation
    "EVAL_PERIOD": 0,  # iterations between evaluations in training; 0: only at the end
    "AMP": {
        "ENABLED": False,  # mixed precision of SOLVER.AMP.PRECISION in evaluation and prediction; results are float32
    },
    "BATCH_SIZE": 1,  # images of one size that each GPU takes at once; results stay those of single images
    "KEYPOINT_OKS_SIGMAS": [],  # one a keypoint; empty: those of COCO persons
    "DETECTIONS_PER_IMAGE": 100,  # at most, the best of all classes
    "AUG": {
        "ENABLED": False,  # test-time augmentation
        "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),  # pixels of the shorter edge
        "MAX_SIZE": 4000,  # pixels of the longer edge at most
        "FLIP": True,  # each size mirrored too
    },
    "PRECISE_BN": {
        "ENABLED": False,  # exact statistics of batch norm before each evaluation
        "NUM_ITER": 200,  # batches to estimate them from
    },
}
