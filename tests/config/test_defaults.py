"""The default config against Detectron2's."""

import subprocess
import sys
from pathlib import Path

import yaml

from det2lite.config import get_cfg

REFERENCE = Path(__file__).parent.parent / "parity" / "reference" / "defaults.yaml"


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def plain(value):
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def test_defaults_are_detectron2s():
    reference = yaml.safe_load(REFERENCE.read_text())
    ours = {key: plain(value) for key, value in leaves(get_cfg())}
    assert len(reference) == 192
    different = {key for key, value in reference.items() if key not in ours or ours[key] != value}
    assert different == {"MODEL.DEVICE"}
    assert ours["MODEL.DEVICE"] == "auto"
    nodes = ("MODEL.FCOS.", "MODEL.REGNET.", "INPUT.LARGE_SCALE_JITTER.")
    own = {key for key in set(ours) - set(reference) if not key.startswith(nodes)}
    assert own == {
        "INPUT.REDUCED_DECODING",
        *("DATASETS.REGISTER", "MODEL.NUM_CLASSES", "SOLVER.AMP.PRECISION", "TEST.AMP.ENABLED", "TEST.BATCH_SIZE"),
        *("SOLVER.ACCUMULATE", "SOLVER.EMA.ENABLED", "SOLVER.EMA.DECAY", "SOLVER.REFERENCE_IMS_PER_BATCH"),
    }


def test_config_does_not_import_torch():
    code = "import sys, det2lite.config as c; c.get_cfg(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
