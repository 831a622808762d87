import os
import unicodedata

import pytest

from det2lite.data.converters.files import (
    Tree,
    find_image,
    finite,
    image_header,
    listing,
    read_json_file,
    read_names,
    split_of,
)
from det2lite.utils.errors import BadValue, MissingFile


@pytest.mark.parametrize(
    "path, split",
    [
        ("train/a.xml", "train"), ("labels/val2017/a.txt", "val2017"), ("valid/images/a.jpg", "valid"),
        ("trains/a.xml", "all"), ("a.xml", "all"), ("training_set/x/a.xml", "training_set"), ("Test-1/a", "Test-1"),
        ("data/train.xml", "all"),
    ],
)  # fmt: skip
def test_split_of(path, split):
    assert split_of(path) == split


def test_tree(tmp_path, put):
    for name in ("b.TXT", "x/a.txt", ".hidden/c.txt", "x/.d.txt", "__MACOSX/e.txt"):
        put(name, "")
    (tmp_path / "x" / "round").symlink_to(tmp_path)
    assert Tree(tmp_path).with_extension(".txt") == ["b.TXT", "x/a.txt"]
    with pytest.raises(MissingFile, match="no such folder"):
        Tree(tmp_path / "none")
    with pytest.raises(BadValue, match="b.TXT is a file; give the folder"):
        Tree(tmp_path / "b.TXT")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match="the folder is empty"):
        Tree(tmp_path / "empty")


def test_find_image(tmp_path, put):
    listing.cache_clear()
    name = unicodedata.normalize("NFD", "\u00e9t\u00e9 1.JPG")  # as some file systems keep it
    for file in (name, "b.png", "c.jpg", "c.png", "notes.txt"):
        put(f"images/{file}", "")
    folders = [str(tmp_path), str(tmp_path / "images")]
    assert os.path.basename(find_image(unicodedata.normalize("NFC", "\u00c9t\u00e9 1.jpg"), folders)) == name
    assert find_image("C:\\data\\images\\b.png", folders) == str(tmp_path / "images" / "b.png")
    assert find_image("/home/me/b.jpg", folders) == str(tmp_path / "images" / "b.png")
    assert find_image("c.png", folders) == str(tmp_path / "images" / "c.png")
    assert find_image("c", folders) == str(tmp_path / "images" / "c.jpg")
    assert (
        find_image("1.5", folders) is None and find_image("notes", folders) is None and find_image("", folders) is None
    )


def test_image_header(put):
    assert image_header(put("a.jpg", (5, 3))) == (5, 3, 3)
    assert image_header(put("b.jpg", (5, 3), exif=6)) == (3, 5, 3)
    assert image_header(put("c.jpg", (5, 3), exif=3)) == (5, 3, 3)
    with pytest.raises(OSError):
        image_header(put("d.jpg", "text"))


def test_json(put):
    assert read_json_file(str(put("a.json", b"\xef\xbb\xbf[1]"))) == [1]
    for content, words in [("[1,\n]", "line 2 column 1: not JSON"), ("[" * 10**6, "not JSON that can be read"),
                           (b"\xff\xd8\xff", "not JSON"), ("", "line 1 column 1")]:  # fmt: skip
        with pytest.raises(BadValue, match=f"b.json: {words}"):
            read_json_file(str(put("b.json", content)))


def test_names(put):
    assert read_names(str(put("a.txt", "\ufeffcat\r\n\n hot dog \n"))) == ["cat", "hot dog"]
    with pytest.raises(BadValue, match="'cat' occurs twice"):
        read_names(str(put("b.txt", "cat\ncat")))
    with pytest.raises(BadValue, match="no class names"):
        read_names(str(put("c.txt", "\n")))
    with pytest.raises(BadValue, match="not UTF-8"):
        read_names(str(put("d.txt", b"\xff")))


def test_finite():
    assert finite(["1", 2.5], "x") == [1.0, 2.5]
    for value in ("nan", "1e999", None, True, "a", [1]):
        with pytest.raises(BadValue, match="x: .* must be a number"):
            finite([value], "x")
