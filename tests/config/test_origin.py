import pytest

from det2lite.config import get_cfg
from det2lite.config.origin import as_yaml, origins, select, with_origins
from det2lite.utils.errors import UnknownName


@pytest.fixture
def config_file(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {BASE_LR: 0.5, GAMMA: 0.2}\nMODEL: {MASK_ON: True}\n")
    (tmp_path / "own.yaml").write_text('_BASE_: "base.yaml"\nSOLVER: {BASE_LR: 0.25, MOMENTUM: 0.9}\n')
    return tmp_path / "own.yaml"


def test_who_set_what(config_file):
    found = origins(str(config_file), ["SOLVER.GAMMA", "0.3"])
    assert found["MODEL.MASK_ON"] == str(config_file.with_name("base.yaml"))
    assert found["SOLVER.BASE_LR"] == str(config_file)
    assert found["SOLVER.MOMENTUM"] == str(config_file)  # the default's value, but said
    assert found["SOLVER.GAMMA"] == "command line" and found["SOLVER.NESTEROV"] == "default"
    assert found.keys() == origins().keys() and set(origins().values()) == {"default"}


def test_names_of_older_layouts(tmp_path):
    (tmp_path / "old.yaml").write_text("MODEL: {WEIGHT: a.pkl}\n")
    found = origins(str(tmp_path / "old.yaml"), ["TEST.DETECTIONS_PER_IMG", "7"])
    assert found["MODEL.WEIGHTS"] == str(tmp_path / "old.yaml")
    assert found["TEST.DETECTIONS_PER_IMAGE"] == "command line"


def test_values_that_differ_are_a_config_again(config_file):
    cfg = get_cfg()
    assert select(cfg, changed=True) == {} and as_yaml({}) == ""
    cfg.merge_from_file(str(config_file))
    changed = select(cfg, changed=True)
    assert changed == {"MODEL.MASK_ON": True, "SOLVER.BASE_LR": 0.25, "SOLVER.GAMMA": 0.2}
    again = get_cfg()
    again.merge_from_text(as_yaml(changed))
    assert again == cfg
    assert as_yaml({"DATASETS.TRAIN": ("集_train",)}) == "DATASETS:\n  TRAIN: [集_train]\n"
    whole = get_cfg()
    whole.merge_from_text(as_yaml(select(cfg)))
    assert whole == cfg


def test_groups():
    keys = select(get_cfg(), prefixes=["SOLVER.AMP", "SEED"])
    assert list(keys) == ["SOLVER.AMP.ENABLED", "SOLVER.AMP.PRECISION", "SEED"]
    assert not any(key.startswith("MODEL.RPN_") for key in select(get_cfg(), prefixes=["MODEL.RPN"]))
    with pytest.raises(UnknownName, match="'SOLVR'.* did you mean 'SOLVER'"):
        select(get_cfg(), prefixes=["SOLVR"])


def test_lines_with_origins():
    text = with_origins({"A.B": [1, 2.5], "C": "x y"}, {"A.B": "file.yaml"})
    assert text.splitlines() == ["A.B: [1, 2.5]  # file.yaml", "C: x y         # default"]
