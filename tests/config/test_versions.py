import pytest

from det2lite.config import downgrade_config, get_cfg, upgrade_config
from det2lite.config.versions import guess_version
from det2lite.utils.errors import BadValue


@pytest.mark.parametrize("version", [0, 1])
def test_down_and_up_again(version):
    cfg = get_cfg()
    cfg.MINE = 1
    old = downgrade_config(cfg, version)
    assert old.VERSION == version and "WEIGHT" in old.MODEL and "WEIGHTS" not in old.MODEL
    assert upgrade_config(old) == cfg
    with pytest.raises(ValueError):
        upgrade_config(cfg, 1)
    with pytest.raises(ValueError):
        downgrade_config(old, 2)


def test_old_files_are_recognised(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("MODEL:\n  WEIGHT: x.pkl\n  RPN: {ANCHOR_SIZES: [[7]]}\nTEST: {DETECTIONS_PER_IMG: 5}\n")
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    assert cfg.MODEL.WEIGHTS == "x.pkl"
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[7]]
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 5
    path.write_text("VERSION: 0\nMODEL:\n  RPN_HEAD: {NAME: Mine}\n")
    cfg.merge_from_file(str(path))
    assert cfg.MODEL.RPN.HEAD_NAME == "Mine" and cfg.VERSION == 2


def test_guess():
    assert guess_version({"MODEL": {"WEIGHT": ""}}) == 1
    assert guess_version({"MODEL": {"WEIGHTS": ""}}) == 2
    assert guess_version({}) == 2


@pytest.mark.parametrize("version", ["3", "-1", "two", "2.0", "null", "true"])
def test_unknown_version(tmp_path, version):
    path = tmp_path / "later.yaml"
    path.write_text(f"VERSION: {version}\n")
    with pytest.raises(BadValue, match=r"later\.yaml: VERSION is .*versions 0 to 2"):
        get_cfg().merge_from_file(str(path))
