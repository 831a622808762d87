"""Defaults of SOLVER: optimiser, schedule, checkpoints."""

SOLVER = {
    "LR_SCHEDULER_NAME": "WarmupMultiStepLR",  # or "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    "MAX_ITER": 40000,  # iterations of the training
    "BASE_LR": 0.001,  # learning rate behind the warm-up, for a batch of IMS_PER_BATCH
    "BASE_LR_END": 0.0,  # where the cosine schedule ends
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 0.0001,
    "WEIGHT_DECAY_NORM": 0.0,  # of the parameters of normalisation layers
    "GAMMA": 0.1,  # factor of the learning rate at each step
    "STEPS": (30000,),  # iterations
    "NUM_DECAYS": 3,  # of WarmupStepWithFixedGammaLR
    "WARMUP_FACTOR": 1.0 / 1000,  # of the learning rate at iteration 0
    "WARMUP_ITERS": 1000,  # iterations in which the learning rate rises
    "WARMUP_METHOD": "linear",  # or "constant"
    "RESCALE_INTERVAL": False,  # squeeze the schedule behind the warm-up instead of cutting its start
    "CHECKPOINT_PERIOD": 5000,  # iterations
    "IMS_PER_BATCH": 16,  # images of a batch, over all GPUs; "auto": as many as the memory holds
    "ACCUMULATE": 1,  # batches of an iteration: their mean gradient makes one step of the optimizer
    "REFERENCE_WORLD_SIZE": 0,  # GPUs that the schedule was written for; 0: no rescaling
    "REFERENCE_IMS_PER_BATCH": 0,  # images of an iteration that the schedule was written for; 0: no rescaling
    "EMA": {
        "ENABLED": False,  # evaluate and save an exponential moving average of the weights
        "DECAY": 0.9998,  # share of the average that stays at an iteration; smaller in the first ones
    },
    "BIAS_LR_FACTOR": 1.0,  # of the learning rate, for biases
    "WEIGHT_DECAY_BIAS": None,  # None: as WEIGHT_DECAY
    "CLIP_GRADIENTS": {
        "ENABLED": False,
        "CLIP_TYPE": "value",  # or "norm", for each parameter by itself
        "CLIP_VALUE": 1.0,
        "NORM_TYPE": 2.0,  # of CLIP_TYPE "norm"
    },
    "AMP": {
        "ENABLED": False,  # mixed precision
        "PRECISION": "auto",  # "float16" (with scaled gradients), "bfloat16"; auto: float16 on cuda, else bfloat16
    },
}
