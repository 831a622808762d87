import hotcoco
import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue, UnknownName

from .conftest import boxes

OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def xml(*objects, name="", size=(30, 20)):
    shapes = "".join(OBJECT.format(o[0], o[5] if len(o) > 5 else "", *o[1:5]) for o in objects)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{sides}{shapes}</annotation>"


def convert(folder, **options):
    contents, report = read_as_coco(recognise_layout(folder), **options)
    return {split: content.content for split, content in contents.items()}, report


@pytest.fixture
def voc(tmp_path, put):
    for name in ("a", "b c", "\u00e9\u4e2d"):
        put(f"JPEGImages/{name}.jpg", (30, 20))
    put("Annotations/a.xml", xml(("dog", 1, 1, 30, 20), ("cat", 5, 6, 5, 6, "<difficult>1</difficult>")))
    put("Annotations/b c.xml", xml())
    put(
        "Annotations/\u00e9\u4e2d.xml",
        xml(("cat", 2, 3, 4.5, 5, "<truncated>1</truncated><part><name>x</name></part>")),
    )
    return tmp_path


def test_boxes_are_from_pixel_edge_to_pixel_edge(voc):
    contents, report = convert(voc)
    assert boxes(contents["all"]) == [
        ["a.jpg", "dog", [0, 0, 30, 20]],
        ["a.jpg", "cat", [4, 5, 1, 1]],
        ["\u00e9\u4e2d.jpg", "cat", [1, 2, 3.5, 3]],
    ]
    first, second, third = contents["all"]["annotations"]
    assert (first["area"], second["difficult"], third["truncated"], first["iscrowd"]) == (600, 1, 1, 0)
    assert [i["file_name"] for i in contents["all"]["images"]] == ["a.jpg", "b c.jpg", "\u00e9\u4e2d.jpg"]
    assert report.class_names == ["cat", "dog"] and not report.skipped and not report.notes


def test_lists_are_splits(voc, put):
    put("ImageSets/Main/train.txt", "a\n\nb c\n")
    put("ImageSets/Main/val.txt", "\u00e9\u4e2d  1\nnone\n")
    put("ImageSets/Main/trainval.txt", "a\nb c\n\u00e9\u4e2d\n")
    put("ImageSets/Main/cat_train.txt", "a -1\nb c 1\n")
    put("Annotations/d.xml", xml())
    contents, report = convert(voc)
    assert {s: [i["file_name"] for i in c["images"]] for s, c in contents.items()} == {
        "train": ["a.jpg", "b c.jpg"], "val": ["\u00e9\u4e2d.jpg"],
    }  # fmt: skip
    assert {kind: n.examples for kind, n in report.skipped.items()} == {
        "listed image without annotation file": ["ImageSets/Main/val.txt line 2: none"],
        "annotation file in no list": ["Annotations/d.xml"],
    }
    assert list(report.notes) == ["list left out that joins others"]


def test_class_list_gives_the_order(voc, put):
    put("labels.txt", "dog\nbird\ncat\n")
    assert convert(voc)[1].class_names == ["dog", "bird", "cat"]
    with pytest.raises(UnknownName, match=r"--classes misses 1 of the classes: 'dog' \(1\); add them, or"):
        convert(voc, class_names=["cat"])
    contents, report = convert(voc, class_names=["cat"], skip_unknown=True)
    assert len(contents["all"]["annotations"]) == 2 and report.skipped["class not in the class list"].count == 1


def test_masks_of_objects(voc):
    numbers = np.zeros((20, 30), dtype=np.uint8)
    numbers[2:4, 3:6], numbers[10, 10], numbers[4, 3] = 1, 2, 255
    (voc / "SegmentationObject").mkdir()
    Image.fromarray(numbers).convert("P").save(voc / "SegmentationObject" / "a.png")
    dog, cat = convert(voc)[0]["all"]["annotations"][:2]
    assert (mask_util.decode(dog["segmentation"]) == (numbers == 1)).all()
    assert (dog["area"], cat["area"], dog["bbox"]) == (6, 1, [0, 0, 30, 20])


def test_images_are_found_by_name_then_by_what_is_written(voc, put):
    put("Annotations/e.xml", xml(("dog", 1, 1, 2, 2), name="a.png"))  # has no image of its own
    contents, report = convert(voc)
    assert len(contents["all"]["images"]) == 3
    assert report.notes["image annotated more than once, objects put together"].count == 1


def test_what_is_skipped_and_noted(voc, put):
    put("Annotations/gone.xml", xml(("dog", 1, 1, 2, 2), ("dog", 1, 1, 2, 2), name="gone.jpg"))
    put("Annotations/broken.xml", xml(("dog", 1, 1, 2, 2)))
    put("JPEGImages/broken.jpg", "no image")
    put("JPEGImages/alone.jpg", (3, 3))
    put("Annotations/f.xml", xml(("dog", 5, 5, 4, 9), ("dog", 0, 1, 31, 20), size=(20, 30)))
    put("JPEGImages/f.jpg", (20, 30), exif=6)
    put("Annotations/g.xml", "<annotation><object><name>dog</name></object></annotation>")
    put("JPEGImages/g.jpg", (3, 3))
    contents, report = convert(voc)
    assert {kind: n.count for kind, n in report.skipped.items()} == {
        "image file missing": 1, "object of an image file missing": 2, "image file cannot be read": 1,
        "object of an image file cannot be read": 1, "shape without area": 1, "object without box": 1,
        "image without annotation": 1,
    }  # fmt: skip
    assert {kind: n.count for kind, n in report.notes.items()} == {
        "size in the annotation is not that of the image": 1, "reaches beyond the image, kept so": 1,
    }  # fmt: skip
    turned = next(i for i in contents["all"]["images"] if i["file_name"] == "f.jpg")
    assert (turned["width"], turned["height"]) == (30, 20)


@pytest.mark.parametrize(
    "content, words",
    [
        ("<annotation>", "a.xml: not XML .*line 1"),
        ("<svg/>", "a.xml: not an annotation of Pascal VOC: its root is <svg>"),
        ("{}", "a.xml: not XML"),
        (xml(("dog", 1, 1, "x", 2)), "a.xml: object 1: bndbox: 'x' must be a number"),
        (xml(("dog", 1, 1, 2, 2), ("", 1, 1, 2, 2)), "a.xml: object 2: no class in <name>"),
    ],
)
def test_bad_files_are_named(voc, put, content, words):
    put("Annotations/a.xml", content)
    with pytest.raises(BadValue, match=words):
        convert(voc)
    contents, report = convert(voc, skip_broken=True)
    assert len(contents["all"]["images"]) == 2 and report.skipped["broken annotation file"].count == 1


def test_side_by_side_in_folders_of_splits(tmp_path, put):
    for split in ("train", "valid"):
        put(f"{split}/a.jpg", (9, 9))
        put(f"{split}/a.xml", xml(("dog", 1, 1, 2, 2)))
    layout = recognise_layout(tmp_path)
    assert (layout.name, layout.splits, layout.split_for("val")) == ("voc", ("train", "valid"), "valid")
    contents = read_as_coco(layout)[0]
    assert contents["valid"].image_root == str(tmp_path / "valid")
    assert boxes(contents["valid"].content) == [["a.jpg", "dog", [0, 0, 2, 2]]]


def test_boxes_are_those_that_hotcoco_reads(voc, put):
    """An independent reader of the same format."""
    for name in ("a", "b c", "\u00e9\u4e2d"):
        put(f"Annotations/{name}.xml", xml(("dog", 1, 1, 30, 20), ("cat", 5, 6, 5, 6), name=f"{name}.jpg"))
    theirs = hotcoco.COCO.from_voc(str(voc)).dataset
    assert sorted(boxes(theirs)) == sorted(boxes(convert(voc)[0]["all"]))


def test_objects_in_the_colours_of_the_palette(voc):
    """As CVAT and Datumaro write them: 1 is dark red, 2 dark green, 255 the border."""
    colours = np.zeros((20, 30, 3), dtype=np.uint8)
    colours[2:5, 3:9], colours[5, 4:6] = (128, 0, 0), (0, 128, 0)
    colours[0, 0], colours[19, 29] = (224, 224, 192), (128, 128, 0)
    (voc / "SegmentationObject").mkdir()
    Image.fromarray(colours).save(voc / "SegmentationObject" / "a.png")
    contents, report = convert(voc)
    dog, cat, other = contents["all"]["annotations"]
    for found, rows, columns in ((dog, slice(2, 5), slice(3, 9)), (cat, slice(5, 6), slice(4, 6))):
        mask = mask_util.decode(found["segmentation"])
        assert mask.sum() == found["area"] == mask[rows, columns].size and mask[rows, columns].all()
    assert "segmentation" not in other
    note = report.notes["mask in SegmentationObject without object, left out"]
    assert note.count == 1 and note.examples[0].endswith("a.png: 3")


def test_masks_far_from_their_boxes_are_left_out(voc):
    numbers = np.zeros((20, 30), dtype=np.uint8)
    numbers[10:12, 1:9] = 2
    (voc / "SegmentationObject").mkdir()
    Image.fromarray(numbers).save(voc / "SegmentationObject" / "a.png")
    contents, report = convert(voc)
    assert not any("segmentation" in annotation for annotation in contents["all"]["annotations"])
    assert report.notes["mask in SegmentationObject outside its object's box, left out"].count == 1


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((0, 4, 10, 20), "xmin or ymin is 0 1 times, 1 0 times"),
        ((2.5, 3.25, 10, 19.75), "6 of 8 coordinates are fractions"),
    ],
)
def test_boxes_counted_from_0_are_taken_as_written(tmp_path, put, box, why):
    put("JPEGImages/a.jpg", (30, 20))
    put("Annotations/a.xml", xml(("dog", *box), ("cat", *((2, 3, 4, 5) if box[0] == 0 else box))))
    contents, report = convert(tmp_path)
    assert boxes(contents["all"])[0] == ["a.jpg", "dog", [*box[:2], box[2] - box[0], box[3] - box[1]]]
    assert {kind: n.examples for kind, n in report.notes.items()} == {
        "boxes counted from 0, not 1, taken as written": [why]
    }


def test_a_stray_0_among_boxes_counted_from_1(voc, put):
    put("Annotations/b c.xml", xml(("dog", 0, 4, 10, 20)))
    contents, report = convert(voc)
    assert boxes(contents["all"])[2] == ["b c.jpg", "dog", [-1, 3, 11, 17]]
    assert list(report.notes) == ["reaches beyond the image, kept so"]


def test_the_labelme_of_mit_is_named(voc, put):
    polygon = "<object><name>dog</name><polygon><pt><x>1</x><y>2</y></pt></polygon></object>"
    put("Annotations/a.xml", f"<annotation><filename>a.jpg</filename>{polygon}</annotation>")
    with pytest.raises(BadValue, match=r"a\.xml: XML of the LabelMe of MIT, which is not read"):
        convert(voc)
