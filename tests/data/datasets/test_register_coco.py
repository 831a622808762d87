import json

import pytest

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.register_coco import register_coco_files
from det2lite.utils.errors import BadValue


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 3, "name": "cell"}]}))
    yield ["register_coco_cells", str(path), str(tmp_path)]
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop("register_coco_cells", None)


def test_files_by_name(entry):
    register_coco_files([entry])
    register_coco_files((tuple(entry),))  # as a resumed run does
    assert DatasetCatalog.get(entry[0]) == []
    metadata = MetadataCatalog.get(entry[0])
    assert metadata.thing_classes == ["cell"] and metadata.json_file == entry[1] and metadata.evaluator_type == "coco"
    with pytest.raises(BadValue, match="registered with other files already"):
        register_coco_files([[entry[0], "other.json", entry[2]]])


@pytest.mark.parametrize("wrong", [["name", "json"], "name", [1, "a", "b"], ["a", None, "b"]])
def test_entries_of_another_form(wrong):
    with pytest.raises(BadValue, match=r"DATASETS\.REGISTER"):
        register_coco_files([wrong])
