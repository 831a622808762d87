import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from det2lite import model_zoo
from det2lite.config import CfgNode, get_cfg
from det2lite.model_zoo.model_zoo import config_names
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.utils.errors import BadValue, MissingFile, UnknownName
from det2lite.utils.file_io import PathManager

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
    own = [name for name in SHIPPED if name not in ZOO and not name.startswith(("quick_start/", "new_baselines/"))]
    assert own == ["COCO-Detection/fcos_R_50_FPN_1x"]


def test_urls():
    url = model_zoo.get_checkpoint_url("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    assert url.endswith("detectron2/COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl")
    assert model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", trained=True).MODEL.WEIGHTS == url


PUBLISHED = json.loads((Path(model_zoo.__file__).parent / "checkpoints.json").read_text())["config_to_suffix"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_name_has_a_config_and_an_address(name):
    url = f"https://dl.fbaipublicfiles.com/detectron2/{name}/{PUBLISHED[name]}"
    assert model_zoo.get_checkpoint_url(f"{name}.yaml") == url
    assert model_zoo.get_config_file(f"{name}.yaml").endswith(f"/{name}.yaml")
    assert model_zoo.get_config(f"{name}.yaml", trained=True).MODEL.WEIGHTS == url


def test_addresses_of_the_zoo(monkeypatch, tmp_path):
    """`detectron2://` names are the same files; without a connection the message says which file to put where."""
    asked = []

    def download(url, *args, **kwargs):
        asked.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr("iopath.common.file_io.download", download)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.delenv("DET2LITE_MODEL_ZOO", raising=False)
    for name, suffix in PUBLISHED.items():
        with pytest.raises(MissingFile, match=rf"no route to host.* put it at \$DET2LITE_MODEL_ZOO/{name}/{suffix}"):
            PathManager.get_local_path(f"detectron2://{name}/{suffix}")
    assert asked == [model_zoo.get_checkpoint_url(name) for name in PUBLISHED] and len(asked) == 64


def test_get_loads_the_published_checkpoint(tmp_path, monkeypatch):
    """From the local folder, whose file has the checksum in its name: bytes behind a pickle's end are not read."""
    name = "COCO-Detection/rpn_R_50_C4_1x"
    with torch.device("meta"):
        cfg = model_zoo.get_config(f"{name}.yaml")
        shapes = {key: v.shape for key, v in META_ARCH_REGISTRY.get("ProposalNetwork")(cfg).state_dict().items()}
    content = pickle.dumps({"model": {key: np.full(shape, 0.5, "float32") for key, shape in shapes.items()}})
    path = tmp_path / name / PUBLISHED[name]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("DET2LITE_MODEL_ZOO", str(tmp_path))
    with pytest.raises(BadValue, match="wrong checksum"):
        model_zoo.get(f"{name}.yaml", trained=True, device="cpu")
    monkeypatch.setattr("det2lite.utils.checksums.expected_digest", lambda *args: None)
    model = model_zoo.get(f"{name}.yaml", trained=True, device="cpu")
    assert model.training and all((v == 0.5).all() for v in model.state_dict().values())


def test_names_of_python_configs():
    """Detectron2 has the new baselines as configs in Python; here they are YAML, and found by either name."""
    name = "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ"
    assert model_zoo.get_config_file(f"{name}.py") == model_zoo.get_config_file(f"{name}.yaml")
    assert model_zoo.get_checkpoint_url(f"{name}.py").endswith(f"{name}/42045954/model_final_ef3a80.pkl")
    cfg = model_zoo.get_config(f"{name}.py")
    assert cfg.MODEL.REGNET.SE_RATIO == 0.25 and cfg.SOLVER.MAX_ITER == 737500
    with pytest.raises(UnknownName, match="did you mean 'new_baselines/mask_rcnn_R_50_FPN_"):
        model_zoo.get_config_file("new_baselines/mask_rcnn_R_50_FPN_50ep_LSJ.py")


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
