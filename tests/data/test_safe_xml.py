import pytest

from det2lite.data.safe_xml import read_xml
from det2lite.utils.errors import BadValue, MissingFile

BOMB = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>
<a>&c;</a>"""
FILE_ENTITY = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'


def write(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_plain(tmp_path):
    root = read_xml(write(tmp_path, "<a x='1'><b>caf\u00e9 &amp; t</b><b/></a>"))
    assert root.tag == "a" and root.get("x") == "1" and [b.text for b in root] == ["caf\u00e9 & t", None]


def test_encodings(tmp_path):
    text = '<?xml version="1.0" encoding="{}"?><a>\u00e9</a>'
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "iso-8859-1"):
        name = encoding.removesuffix("-sig")
        assert read_xml(write(tmp_path, text.format(name).encode(encoding))).text == "\u00e9"


@pytest.mark.parametrize(
    "content, words",
    [
        (BOMB, "line 2: entities are declared"),
        (BOMB.replace('<?xml version="1.0"?>', "").encode("utf-16"), "entities are declared"),
        (FILE_ENTITY, "entities are declared"),
        ("<a>" * 100 + "</a>" * 100, "nested more than 64 deep"),
        ("<a>\n<b></a>", "not XML .*line 2"),
        ("<a>&b;</a>", "not XML"),
        ("", "not XML"),
        (b"\x89PNG\r\n", "not XML"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not XML"),
    ],
)
def test_refused(tmp_path, content, words):
    with pytest.raises(BadValue, match=f"a.xml: .*{words}"):
        read_xml(write(tmp_path, content))


def test_missing(tmp_path):
    with pytest.raises(MissingFile, match="no such file"):
        read_xml(tmp_path / "b.xml")
    with pytest.raises(BadValue, match="cannot be read"):
        read_xml(tmp_path)
