import pytest

from det2lite.config.expressions import evaluate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-2 ** 2", -4),
        ("[x * y for x in [1, 2] for y in (3, 4)]", [3, 4, 6, 8]),
        ("((1, 2), [3])", ((1, 2), [3])),
        ("7 // 2 + 7 % 2 + 1 / 4", 4.25),
        ("[]", []),
    ],
)
def test_values(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "open('x')",
        "lambda: 1",
        "x",
        "[x for x in 5]",
        "[x for x in [1] if x]",
        "9 ** 9 ** 9",
        "10 ** 13",
        "1 / 0",
        "'a' * 10",
        "[1] * 10",
        "[y for x in [1,2,3,4,5,6,7,8,9,0] for y in [x for z in [x for w in [1,2,3,4,5,6,7,8,9,0]]]",
        "",
        "[" * 500 + "]" * 500,
        "1 if 1 else 2",
        "{1: 2}",
    ],
)
def test_refused(text):
    with pytest.raises(ValueError):
        evaluate(text)


def test_size_is_bounded():
    digits = "[0,1,2,3,4,5,6,7,8,9]"
    text = "[a " + " ".join(f"for {name} in {digits}" for name in "abcdefgh") + "]"
    with pytest.raises(ValueError, match="items"):
        evaluate(text)
