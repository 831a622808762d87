import pickle
import time

import pytest
import yaml

from det2lite.config import CfgNode, get_cfg, global_cfg, set_global_cfg
from det2lite.config.yaml_reader import parse_yaml
from det2lite.utils.errors import BadValue, MissingFile, UnknownName


def write(path, text):
    path.write_text(text)
    return str(path)


def test_bases_relative_absolute_and_several(tmp_path):
    (tmp_path / "sub").mkdir()
    a = write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}\nMODEL: {MASK_ON: True}")
    write(tmp_path / "b.yaml", "SOLVER: {MAX_ITER: 2}")
    path = write(tmp_path / "sub" / "c.yaml", f"_BASE_: ['{a}', '../b.yaml']\nMODEL: {{WEIGHTS: 'x'}}")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.MODEL.MASK_ON, cfg.MODEL.WEIGHTS) == (2, 0.5, True, "x")


def test_base_that_leads_back_to_itself(tmp_path):
    write(tmp_path / "a.yaml", "_BASE_: b.yaml")
    path = write(tmp_path / "b.yaml", "_BASE_: a.yaml")
    with pytest.raises(BadValue, match="leads back"):
        get_cfg().merge_from_file(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFile, match="nowhere.yaml"):
        get_cfg().merge_from_file("nowhere.yaml")
    path = write(tmp_path / "a.yaml", "_BASE_: gone.yaml")
    with pytest.raises(MissingFile, match=r"gone\.yaml.*_BASE_ of .*a\.yaml"):
        get_cfg().merge_from_file(path)


def test_unknown_key_names_key_file_and_closest(tmp_path):
    path = write(tmp_path / "a.yaml", "SOLVER: {BASE_LRR: 0.1}")
    with pytest.raises(UnknownName, match=r"a\.yaml: unknown config key SOLVER.BASE_LRR; did you mean .SOLVER.BASE_LR"):
        get_cfg().merge_from_file(path)
    for kind in (KeyError, AssertionError):
        with pytest.raises(kind, match="SOLVER.NOTHING_LIKE_IT"):
            get_cfg().merge_from_list(["SOLVER.NOTHING_LIKE_IT", 1])


def test_wrong_type_names_key_and_both_types(tmp_path):
    path = write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: many, BASE_LR: 0.5}")
    cfg = get_cfg()
    with pytest.raises(BadValue, match=r"a\.yaml: SOLVER.MAX_ITER: expected int such as 40000, got str 'many'"):
        cfg.merge_from_file(path)
    assert cfg == get_cfg(), "a failed merge changes nothing"
    with pytest.raises(BadValue, match="MODEL.RPN is a group of keys"):
        cfg.merge_from_list(["MODEL.RPN", "3"])
    with pytest.raises(BadValue, match="KEY VALUE pairs"):
        cfg.merge_from_list(["MODEL.MASK_ON"])


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "a: b: c", "a: [1", "\t", "!!python/name:os.system {}"])
def test_files_that_hold_no_config(tmp_path, content):
    with pytest.raises((BadValue, UnknownName), match="a.yaml"):
        get_cfg().merge_from_file(write(tmp_path / "a.yaml", content))


def test_nothing_in_yaml_runs(tmp_path):
    target = tmp_path / "hacked"
    for tag in ("object/apply:os.system", "object/new:os.system", "object/apply:eval"):
        path = write(tmp_path / "a.yaml", f"OUTPUT_DIR: !!python/{tag} [\"open('{target}', 'w')\"]")
        with pytest.raises(BadValue):
            get_cfg().merge_from_file(path)
    assert not target.exists()


def test_retinanet_expression(tmp_path):
    text = '!!python/object/apply:eval ["[[x, x * 2**(1.0/3), x * 2**(2.0/3)] for x in [32, 64]]"]'
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "a.yaml", f"MODEL: {{ANCHOR_GENERATOR: {{SIZES: {text}}}}}"))
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[x, x * 2 ** (1 / 3), x * 2 ** (2 / 3)] for x in (32, 64)]


def test_aliases_cannot_multiply_without_end(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(BadValue, match="values"):
        get_cfg().merge_from_file(write(tmp_path / "a.yaml", "\n".join(lines)))
    with pytest.raises(BadValue, match="contains itself"):
        get_cfg().merge_from_file(write(tmp_path / "a.yaml", "a: &a [*a]"))


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  " + "[" * 5000,
        "a:\n  " + "[" * 5000 + "]" * 5000,
        "a:\n  " + "{a: " * 5000 + "1" + "}" * 5000,
        "a:\n  " + "- " * 5000,
    ],
    ids=lambda text: text[:7],
)
def test_deep_nesting_is_refused_at_once(tmp_path, text):
    start = time.process_time()
    with pytest.raises(BadValue, match=r"a\.yaml: cannot be read as YAML: line 2: nested deeper than 100 levels"):
        get_cfg().merge_from_file(write(tmp_path / "a.yaml", text))
    assert time.process_time() - start < 1
    assert parse_yaml("[" * 99 + "]" * 99) != []


def test_the_last_of_two_keys_counts_and_is_told_once(tmp_path, caplog):
    path = write(tmp_path / "a.yaml", "SOLVER:\n  MAX_ITER: 5\n  BASE_LR: 0.5\n  MAX_ITER: 7\nOUTPUT_DIR: x")
    for _ in range(2):
        cfg = get_cfg()
        cfg.merge_from_file(path)
        assert cfg.SOLVER.MAX_ITER == 7
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{path}: key 'MAX_ITER' of line 2 stands again in line 4, whose value counts"]
    parse_yaml("{a: 1, a: 2}", "one line")
    assert "one line: key 'a'" in caplog.text
    caplog.clear()
    assert parse_yaml("x: &x {a: 1}\nz: {<<: *x, a: 3}") == {"x": {"a": 1}, "z": {"a": 3}} and not caplog.text


def test_values_from_text_and_lists():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.STEPS", "(3, 4)", "DATASETS.TRAIN", ["a"], "SOLVER.BASE_LR", "1", "OUTPUT_DIR", "x/y"])
    assert cfg.SOLVER.STEPS == (3, 4)
    assert cfg.DATASETS.TRAIN == ("a",)
    assert cfg.SOLVER.BASE_LR == 1.0 and isinstance(cfg.SOLVER.BASE_LR, float)
    cfg.merge_from_list(["SOLVER.WEIGHT_DECAY_BIAS", "0.5"])
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS == 0.5


def test_dump_reads_back():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.MAX_ITER", 7, "MODEL.WEIGHTS", "näme with spaces"])
    other = get_cfg()
    other.merge_from_text(cfg.dump())
    assert other == cfg
    assert yaml.safe_load(cfg.dump())["SOLVER"]["MAX_ITER"] == 7
    assert "&id" not in cfg.dump(), "no anchors"


def test_user_keys_clone_freeze_pickle():
    cfg = get_cfg()
    cfg.MODEL.MINE = CfgNode({"A": 1}, new_allowed=True)
    cfg.merge_from_list(["MODEL.MINE.B", 2])
    copy = pickle.loads(pickle.dumps(cfg.clone()))
    assert copy.MODEL.MINE == {"A": 1, "B": 2}
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.OUTPUT_DIR = "x"


def test_computed_keys_are_set_once():
    cfg = get_cfg()
    cfg.COMPUTED_SIZE = 3
    cfg.COMPUTED_SIZE = 3
    with pytest.raises(KeyError, match="COMPUTED_SIZE is int '3' already"):
        cfg.COMPUTED_SIZE = 4
    assert cfg.COMPUTED_SIZE == 3


def test_attribute_errors_help():
    with pytest.raises(AttributeError, match="did you mean 'WEIGHTS'"):
        get_cfg().MODEL.WEIGTHS  # noqa: B018


def test_global_cfg():
    cfg = get_cfg()
    cfg.OUTPUT_DIR = "here"
    set_global_cfg(cfg)
    assert global_cfg.OUTPUT_DIR == "here"
    set_global_cfg(CfgNode())
    assert not global_cfg
