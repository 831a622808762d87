"""Default values of all config keys, one file a topic. A comment says what a key means and its unit."""

from det2lite.config.cfg_node import CfgNode
from det2lite.config.defaults.data import DATALOADER, DATASETS, INPUT
from det2lite.config.defaults.model import MODEL
from det2lite.config.defaults.solver import SOLVER
from det2lite.config.defaults.test import TEST
from det2lite.config.versions import CURRENT_VERSION

_C = CfgNode(
    {
        "VERSION": CURRENT_VERSION,  # of the layout of this tree
        "MODEL": MODEL,
        "INPUT": INPUT,
        "DATASETS": DATASETS,
        "DATALOADER": DATALOADER,
        "SOLVER": SOLVER,
        "TEST": TEST,
        "OUTPUT_DIR": "./output",  # folder of checkpoints, logs and results
        "SEED": -1,  # negative: drawn anew for each run
        "CUDNN_BENCHMARK": False,  # let cuDNN try its algorithms; pays when image sizes repeat
        "FLOAT32_PRECISION": "",  # of matrix products: "", "highest", "high" (TF32), "medium" (bfloat16)
        "VIS_PERIOD": 0,  # iterations between pictures of training samples in the events; 0: none
        "GLOBAL": {"HACK": 1.0},  # for quick experiments in one's own code
    }
)
