import pytest
import torch

from det2lite.checkpoint import DetectionCheckpointer, read_run_info
from det2lite.checkpoint.run_info import collect
from det2lite.config import CfgNode, get_cfg
from det2lite.data import MetadataCatalog
from det2lite.utils.errors import MissingFile


def test_a_checkpoint_tells_of_its_run(tmp_path):
    ids = {5: 1, 9: 0}
    fruit = MetadataCatalog.get("run_info_fruit")
    fruit.set(thing_classes=["apple", "pear"], thing_dataset_id_to_contiguous_id=ids)
    try:
        cfg = get_cfg()
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("run_info_fruit",), ("a", "b")
        cfg.SOLVER.BASE_LR = 0.125
        checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
        checkpointer.attach_config(cfg)
        checkpointer.save("model", iteration=7)
    finally:
        MetadataCatalog.pop("run_info_fruit")
    run = read_run_info(str(tmp_path / "model.pth"))
    assert CfgNode.load_cfg(run["config"]).SOLVER.BASE_LR == 0.125
    assert run["class_names"] == ["apple", "pear"] and run["iteration"] == 7
    assert run["category_ids"] == [9, 5]
    assert run["datasets"] == {"train": ["run_info_fruit"], "test": ["a", "b"]}
    assert run["versions"].keys() >= {"det2lite", "torch", "torchvision", "python"} and run["time"][:2] == "20"
    assert checkpointer.load(str(tmp_path / "model.pth"))["run"] == run


def test_what_drawing_needs_is_carried(tmp_path):
    fruit = MetadataCatalog.get("run_info_drawn")
    fruit.set(thing_colors=[(1, 2, 3)], stuff_classes=["table"], keypoint_names=("stem", "tip"), json_file="here.json")
    fruit.keypoint_connection_rules = [("stem", "tip", (9, 9, 9))]
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("run_info_drawn",)
    try:
        checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
        checkpointer.attach_config(cfg)
        checkpointer.save("model")
    finally:
        MetadataCatalog.pop("run_info_drawn")
    assert read_run_info(str(tmp_path / "model.pth"))["metadata"] == {
        "thing_colors": [(1, 2, 3)],
        "stuff_classes": ["table"],
        "keypoint_names": ("stem", "tip"),
        "keypoint_connection_rules": [("stem", "tip", (9, 9, 9))],
    }
    assert collect(get_cfg())["metadata"] == {}


def test_unknown_data_set_has_no_class_names():
    cfg = get_cfg()
    assert collect(cfg)["class_names"] == []
    cfg.DATASETS.TRAIN = ("never_registered",)
    run = collect(cfg)
    assert run["class_names"] == run["category_ids"] == [] and run["iteration"] is None
    assert "never_registered" not in MetadataCatalog


def test_files_of_other_origin(tmp_path):
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "plain.pth")
    assert read_run_info(str(tmp_path / "plain.pth")) == {}
    with pytest.raises(MissingFile):
        read_run_info(str(tmp_path / "none.pth"))
