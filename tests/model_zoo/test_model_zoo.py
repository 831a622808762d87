from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from det2lite import model_zoo
from det2lite.config import CfgNode, get_cfg
from det2lite.model_zoo.model_zoo import config_names
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.utils.errors import UnknownName

REFERENCE = Path(__file__).parent.parent / "parity" / "reference"


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def plain(value):
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


ZOO = yaml.safe_load((REFERENCE / "zoo.yaml").read_text())
SHIPPED = [name.removesuffix(".yaml") for name in config_names()]


@pytest.mark.parametrize("name", [name for name in SHIPPED if name in ZOO])
def test_config_resolves_to_detectron2s(name):
    default = {key: plain(value) for key, value in leaves(get_cfg())}
    ours = {key: plain(value) for key, value in leaves(model_zoo.get_config(f"{name}.yaml"))}
    assert {key: value for key, value in ours.items() if value != default[key]} == ZOO[name]


@cache
def number_of_parameters(model: str) -> int:
    """Of a model described by the text of a config's MODEL; on the meta device it costs no memory."""
    cfg = get_cfg()
    cfg.MODEL = CfgNode.load_cfg(model)
    with torch.device("meta"):
        return sum(p.numel() for p in META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).parameters())


@pytest.mark.parametrize("name", SHIPPED)
def test_config_builds(name):
    cfg = model_zoo.get_config(f"{name}.yaml")
    cfg.MODEL.WEIGHTS = ""
    assert number_of_parameters(cfg.MODEL.dump()) > 1e6


def test_what_is_shipped():
    assert set(ZOO) <= set(SHIPPED) and len(ZOO) == 86
    own = [name for name in SHIPPED if name not in ZOO and not name.startswith("quick_start/")]
    assert own == ["COCO-Detection/fcos_R_50_FPN_1x"]


def test_urls():
    url = model_zoo.get_checkpoint_url("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    assert url.endswith("detectron2/COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl")
    assert model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", trained=True).MODEL.WEIGHTS == url


@pytest.mark.parametrize("name", ["COCO-Detection/faster_rcnn_R_50_FPN_2x.yaml", "../setup.py", "/etc/passwd", ""])
def test_unknown_names(name):
    with pytest.raises(UnknownName):
        model_zoo.get_config_file(name)
    with pytest.raises(RuntimeError):
        model_zoo.get_config_file(name)


def test_unknown_name_suggests():
    with pytest.raises(UnknownName, match="did you mean 'COCO-Detection/faster_rcnn_R_50_FPN_"):
        model_zoo.get_config_file("COCO-Detection/faster_rcnn_R50_FPN_1x.yaml")
    with pytest.raises(UnknownName, match="no published checkpoint"):
        model_zoo.get_checkpoint_url("quick_start/mask_rcnn_shapes.yaml")
