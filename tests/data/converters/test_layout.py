import pytest

from det2lite.data.converters import convert_to_coco, recognise_layout
from det2lite.utils.errors import BadValue, MissingFile, UnknownName

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 3}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "cat"}],
}
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
XML = f"<annotation><object><name>x</name>{BOX}</object></annotation>"


@pytest.mark.parametrize(
    "json_files, images, splits",
    [
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"],
         ["train2017/a.jpg", "val2017/a.jpg"], {"train2017": "train2017", "val2017": "val2017"}),
        (["annotations/person_keypoints_val2017.json", "annotations/captions_val2017.json"], ["val2017/a.jpg"],
         {"val2017": "val2017"}),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train/a.jpg", "valid/a.jpg"],
         {"train": "train", "valid": "valid"}),
        (["train.json", "val.json"], ["images/a.jpg"], {"train": "images", "val": "images"}),
        (["annotations.json"], ["a.jpg"], {"all": ""}),
        (["annotations/instances_default.json"], ["images/default/a.jpg"], {"default": "images/default"}),
        (["result.json", "data.json"], ["images/a.jpg"], {"all": "images"}),
        (["result.json"], ["images/a.jpg"], {"all": "images"}),  # as Label Studio calls it
    ],
)  # fmt: skip
def test_coco(tmp_path, put, json_files, images, splits):
    for name in json_files:
        put(name, COCO)
    for name in images:
        put(name, (4, 3))
    layout = recognise_layout(tmp_path)
    assert layout.name == "coco" and list(layout.splits) == list(splits)
    report = convert_to_coco(layout, tmp_path / "never")
    assert {s: files.image_root for s, files in report.splits.items()} == {
        s: str(tmp_path / folder) if folder else str(tmp_path) for s, folder in splits.items()
    }
    assert report.class_names == ["cat"] and not (tmp_path / "never").exists()
    assert report.counts[layout.splits[0]].annotations == 1


def test_coco_without_its_images(tmp_path, put):
    put("annotations/instances_val.json", COCO)
    with pytest.raises(MissingFile, match="its first image 'a.jpg' is in none of"):
        recognise_layout(tmp_path)


def test_two_formats(tmp_path, put):
    put("Annotations/a.xml", XML)
    put("labels/a.txt", "0 0.5 0.5 0.1 0.1")
    put("images/a.jpg", (4, 3))
    with pytest.raises(BadValue, match=r"as Pascal VOC \(1 XML .* and as YOLO \(label .*say which: voc or yolo"):
        recognise_layout(tmp_path)
    assert recognise_layout(tmp_path, format="voc").name == "voc"
    assert recognise_layout(tmp_path, format="yolo").name == "yolo"
    with pytest.raises(UnknownName, match="no format 'yollo'; did you mean 'yolo'"):
        recognise_layout(tmp_path, format="yollo")


def test_nothing(tmp_path, put):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match="the folder is empty"):
        recognise_layout(tmp_path / "empty")
    with pytest.raises(MissingFile, match="no such folder"):
        recognise_layout(tmp_path / "none")
    put("x/a.xml", "<html></html>")
    put("x/b.json", {"a": 1})
    put("x/c.json", "[" * 10**5)
    with pytest.raises(BadValue, match="no data set recognised; it holds 2 x .json, 1 x .xml; formats: coco, voc"):
        recognise_layout(tmp_path / "x")


@pytest.mark.parametrize("format", ["coco", "voc", "yolo", "via", "labelme", "cvat", "cityscapes", "folder"])
def test_the_wrong_format(tmp_path, put, format):
    put("a.doc", "")
    with pytest.raises(MissingFile, match=str(tmp_path)):
        recognise_layout(tmp_path, format=format)


def test_hint_at_a_folder_within(tmp_path, put):
    put("VOC2007/Annotations/a.xml", "<annotations><image/></annotations>")
    put("VOC2007/JPEGImages/a.jpg", (4, 3))
    put("other/Annotations/a.xml", XML)
    with pytest.raises(BadValue, match="can be read as Pascal VOC .*CVAT"):
        recognise_layout(tmp_path)


def test_names_of_another_machine(tmp_path, put):
    put("images/a.jpg", (4, 3))
    content = {"images": [{"id": 0, "file_name": "/media/upload/1/a.jpg", "width": 4, "height": 3}]}
    put("result.json", {**content, "annotations": [], "categories": []})
    assert recognise_layout(tmp_path).plan.jobs["all"][0].image_root == str(tmp_path / "images")


def test_detections_are_no_data_set(tmp_path, put):
    put("a.jpg", (4, 3))
    put("predictions.json", {"images": [], "categories": [], "annotations": [{"bbox": [0, 0, 1, 1], "score": 0.5}]})
    with pytest.raises(BadValue, match="no data set recognised"):
        recognise_layout(tmp_path)


def test_images_alone(tmp_path, put):
    put("train/a.jpg", (4, 3))
    put("classes.txt", "cat\n")
    layout = recognise_layout(tmp_path)
    assert (layout.name, layout.splits) == ("folder", ("train",))
    put("train/b.txt", "some notes")
    with pytest.raises(BadValue, match="no data set recognised"):
        recognise_layout(tmp_path)


def test_roles(tmp_path, put):
    for split in ("test", "validation", "train2017", "trainval", "x_train"):
        put(f"{split}/a.jpg", (4, 3))
    layout = recognise_layout(tmp_path, format="folder")
    assert layout.splits == ("train2017", "trainval", "validation", "test", "all")
    assert [layout.split_for(role) for role in ("train", "val", "test")] == ["train2017", "validation", "test"]
