import pytest
from torch._utils import ExceptionWrapper

from det2lite.utils.errors import (
    BadCall,
    BadValue,
    MissingFile,
    UnknownName,
    UserError,
    WrongKind,
    WrongMode,
    close_names,
    exit_on_user_error,
    shortened,
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(UnknownName, KeyError), (BadValue, ValueError), (BadValue, AssertionError), (MissingFile, OSError)],
)
def test_errors_are_the_built_in_ones_and_show_their_line(error, builtin):
    raised = error("no 'x'; take 'y'")
    assert isinstance(raised, UserError) and isinstance(raised, builtin)
    assert str(raised) == "no 'x'; take 'y'" and str(error()) == ""


def test_mistakes_of_calling_code_keep_their_traceback():
    for error, builtin in ((BadCall, ValueError), (WrongKind, TypeError), (WrongMode, RuntimeError)):
        assert issubclass(error, builtin) and issubclass(error, AssertionError) and not issubclass(error, UserError)


@pytest.mark.parametrize("kind", [MissingFile, UnknownName, BadValue])
def test_the_traceback_of_a_worker_process_is_left_out(kind):
    try:
        raise kind("image a.jpg: broken; replace it")
    except kind:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(kind) as caught:
        wrapped.reraise()
    assert str(caught.value) == "image a.jpg: broken; replace it"
    assert str(BadValue("Caught in a net: x")) == "Caught in a net: x"


def test_close_names_are_found_whatever_their_case():
    assert close_names("resnet", ["ResNet", "VGG", "ResNest"]) == "; did you mean 'ResNet' or 'ResNest'?"
    assert close_names("xyz", ["ResNet"]) == "" and close_names("x", []) == ""


def test_tools_end_with_one_line_and_a_status(capsys):
    def main(error):
        if error:
            raise error
        return 3

    wrapped = exit_on_user_error(main)
    assert wrapped(None) == 3 and wrapped.__name__ == "main"
    for error, status, text in (
        (BadValue("too small"), 1, "error: too small\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ):
        with pytest.raises(SystemExit) as exit:
            wrapped(error)
        assert exit.value.code == status and capsys.readouterr().err == text
    with pytest.raises(ZeroDivisionError):
        wrapped(ZeroDivisionError())


LIST = str([1, 2] * 200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"width {'7' * 400} is wrong", f"width {'7' * 40}...[400 characters]...{'7' * 10} is wrong"),
        (f"class {'é' * 300} is wrong", f"class {'é' * 40}...[300 characters]...{'é' * 10} is wrong"),
        (f"bbox {LIST} must be", f"bbox {LIST[:40]}...[1200 characters]...{LIST[-10:]} must be"),
        ("/".join(["a" * 255] * 10), None),
        ("\\".join(["a" * 255] * 10), None),
        ("word " * 1000, None),
        (f"{[1, 2] * 50}", None),
    ],
)
def test_what_nobody_reads_is_cut_and_paths_stay(text, expected):
    assert shortened(text) == str(BadValue(text)) == (text if expected is None else expected)
