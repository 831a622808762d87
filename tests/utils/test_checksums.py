import hashlib

import pytest

from det2lite.utils.checksums import check_name, expected_digest
from det2lite.utils.errors import BadValue

TORCH = "https://download.pytorch.org/models/"


@pytest.mark.parametrize(
    "name, source, wanted",
    [
        ("model_final_b275ba.pkl", "", ("md5", "b275ba")),
        ("model_0039999_e76410.pkl", "", ("md5", "e76410")),
        (
            "model_final_c18079783c55a94968edc28b7101c5f0.pkl",
            "",
            ("md5", "c18079783c55a94968edc28b7101c5f0"),
        ),
        ("model_final.pkl", "", None),
        ("model_final_123456.pth", "", None),  # may be an iteration
        ("R-50.pkl", "", None),
        ("resnet50-0676ba61.pth", f"{TORCH}resnet50-0676ba61.pth", ("sha256", "0676ba61")),
        ("run-20240131.pth", "https://example.org/run-20240131.pth", None),  # a date
        ("resnet50-0676ba61.pth", "", None),
    ],
)
def test_which_names_promise_a_checksum(name, source, wanted):
    assert expected_digest(name, source) == wanted


def test_content_is_compared(tmp_path):
    good = tmp_path / f"model_final_{hashlib.md5(b'abc').hexdigest()[:6]}.pkl"
    good.write_bytes(b"abc")
    check_name(str(good))
    bad = tmp_path / "model_final_900150.pkl"
    bad.write_bytes(b"abd")
    with pytest.raises(
        BadValue, match=r"model_final_900150.pkl: wrong checksum, its MD5 is 4911e5 and not 900150"
    ) as e:
        check_name(str(bad))
    assert "\n" not in str(e.value)
    name = tmp_path / "resnet50-0676ba61.pth"
    name.write_bytes(b"")
    with pytest.raises(BadValue, match="its SHA256 is e3b0c442 and not 0676ba61"):
        check_name(str(name), f"{TORCH}resnet50-0676ba61.pth")


def test_comparison_can_be_left_out(tmp_path, monkeypatch):
    own = tmp_path / "model_final_900150.pkl"
    own.write_bytes(b"own weights")
    monkeypatch.setenv("DET2LITE_SKIP_CHECKSUMS", "1")
    check_name(str(own))
    monkeypatch.setenv("DET2LITE_SKIP_CHECKSUMS", "0")
    with pytest.raises(BadValue, match="DET2LITE_SKIP_CHECKSUMS=1"):
        check_name(str(own))
