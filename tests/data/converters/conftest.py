import json

import pytest
from PIL import Image


@pytest.fixture
def put(tmp_path):
    """Writes a file below the test's folder: text, bytes, JSON of anything else, or an image of (width, height)."""

    def write(name, content, exif=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif isinstance(content, tuple):
            tags = Image.Exif()
            if exif:
                tags[274] = exif
            Image.new("RGB", content, (200, 30, 90)).save(path, exif=tags)
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def boxes(content):
    """[file name, class, box XYWH] of every annotation of a COCO content."""
    names = {c["id"]: c["name"] for c in content["categories"]}
    files = {i["id"]: i["file_name"] for i in content["images"]}
    return [[files[a["image_id"]], names[a["category_id"]], a["bbox"]] for a in content["annotations"]]
