import pytest

from det2lite.data.converters import convert, recognise_layout
from det2lite.utils.errors import BadValue


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("yolo", "7" * 400 + " 0.5 0.5 0.2 0.2"),
        ("yolo", "0 0.5 0.5 0.2 " + "7" * 400),
        ("voc", f"<size><width>{'7' * 300}</width><height>8</height></size>"),
        ("voc", f"<object><name>{'x' * 5000}</name><bndbox><xmin>0</xmin></bndbox></object>"),
        ("cvat", f'<image id="0" name="{"x" * 5000}.jpg" width="8" height="8"></image>'),
        ("cvat", f'<image id="0" name="a.jpg" width="8" height="8" subset="{"x" * 300}"></image>'),
        ("cvat", f'<image id="0" name="a.jpg"><mask label="c" rle="1" left="0" top="0" width="{"7" * 200}" height="9"/>'
         "</image>"),
        ("labelme", {"shapes": [{"label": "c", "points": [[0, 0]], "shape_type": "7" * 400}], "imagePath": "a.jpg"}),
        ("via", {"a": {"filename": "x" * 5000, "size": 1, "regions": []}}),
    ],
)  # fmt: skip
def test_values_that_nobody_reads_are_not_shown_whole(tmp_path, put, name, text):
    put("in/images/a.jpg", (8, 8))
    put("in/data.yaml", "train: images\nnames: [c]")
    end = {"yolo": "txt", "labelme": "json", "via": "json"}.get(name, "xml")
    root = {"voc": "annotation", "cvat": "annotations"}.get(name)
    put(f"in/{'labels' if name == 'yolo' else 'images'}/a.{end}", f"<{root}>{text}</{root}>" if root else text)
    try:
        shown = convert(recognise_layout(tmp_path / "in", format=name), tmp_path / "out").table()
    except BadValue as error:
        shown = str(error)
    assert max(map(len, shown.splitlines())) < 400 + len(str(tmp_path))
