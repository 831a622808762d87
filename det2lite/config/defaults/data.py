"""Defaults of what is read and how: INPUT, DATASETS, DATALOADER."""

INPUT = {
    "MIN_SIZE_TRAIN": (800,),  # pixels of the shorter edge; several values: see the next key
    "MIN_SIZE_TRAIN_SAMPLING": "choice",  # "choice": one of the values; "range": between two values
    "MAX_SIZE_TRAIN": 1333,  # pixels of the longer edge at most
    "MIN_SIZE_TEST": 800,  # pixels; 0: no resizing
    "MAX_SIZE_TEST": 1333,
    "RANDOM_FLIP": "horizontal",  # or "vertical", "none"
    "CROP": {
        "ENABLED": False,  # random crop in training
        "TYPE": "relative_range",  # or "relative", "absolute", "absolute_range"
        "SIZE": [0.9, 0.9],  # (height, width): shares of the image, or pixels where TYPE is absolute
    },
    "LARGE_SCALE_JITTER": {
        # in training, instead of the sizes above: any scale, then a crop, padded where the image is smaller
        "ENABLED": False,  # arXiv 2012.07177
        "SIZE": [1024, 1024],  # (height, width) in pixels
        "SCALE": [0.1, 2.0],  # least and greatest size of the image, as a factor on SIZE, into which it fits
    },
    # JPEG files at least twice as large as they will be are decoded at 1/2, 1/4 or 1/8 of their size: twice as
    # fast for photographs of 12 megapixels, with pixels that differ a little; without effect where crops come first
    "REDUCED_DECODING": False,
    "FORMAT": "BGR",  # channels that the model is given: "BGR", "RGB", or a mode of PIL
    "MASK_FORMAT": "polygon",  # or "bitmask"
}

DATASETS = {
    # own data sets in the COCO format, to be used by name: lists of [name, JSON file, folder of the images]
    "REGISTER": [],
    "TRAIN": (),  # registered names
    "PROPOSAL_FILES_TRAIN": (),  # one a data set, where LOAD_PROPOSALS is set
    "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,  # per image
    "TEST": (),  # registered names, evaluated one after the other
    "PROPOSAL_FILES_TEST": (),
    "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
}

DATALOADER = {
    "NUM_WORKERS": 4,  # processes per GPU
    "ASPECT_RATIO_GROUPING": True,  # wide and tall images never share a batch, which saves padding
    "SAMPLER_TRAIN": "TrainingSampler",  # or "RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler"
    "REPEAT_THRESHOLD": 0.0,  # share of images under which a category's images are repeated
    "REPEAT_SQRT": True,  # repeat by the square root of threshold / share, else by the ratio itself
    "FILTER_EMPTY_ANNOTATIONS": True,  # train on images with at least one object only
}
