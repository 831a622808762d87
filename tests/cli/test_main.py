"""The command itself: its list, its errors, and help texts that answer at once."""

import os
import subprocess
import sys

import pytest

from det2lite.cli import main as cli

LONGEST_HELP = 50  # lines that a screen holds
WIDEST_HELP = 80  # columns


def test_list_of_commands(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in cli.COMMANDS.items():
        assert f"{name} " in text and summary in text
    assert max(map(len, text.splitlines())) <= WIDEST_HELP
    assert cli.main([]) == 2


def test_order_of_commands():
    expected = ["train", "eval", "predict", "convert", "check", "split", "browse", "export", "config", "env"]
    assert [name for name in cli.COMMANDS if name in expected] == expected  # from data to a model, to what it is for


def test_unknown_command(capsys, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "train", "train a model")
    assert cli.main(["trian"]) == 2
    assert "no command 'trian'; did you mean 'train'?" in capsys.readouterr().err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("det2lite ")


def test_a_reader_that_has_seen_enough():
    script = "import sys; from det2lite.cli.main import main; sys.exit(main(['config']))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert ended.stderr == b""
    assert ended.returncode == cli.BROKEN_PIPE


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_fits_a_screen_and_imports_no_torch(command):
    script = (
        "import sys; from det2lite.cli.main import build_parser; "
        f"print(build_parser({command!r}).format_help()); print('torch' in sys.modules, file=sys.stderr)"
    )
    environment = os.environ | {"COLUMNS": str(WIDEST_HELP)}
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert shown.stderr.strip() == "False"
    lines = shown.stdout.splitlines()
    examples = lines[[line.startswith("examples:") for line in lines].index(True) :]
    assert any(line.lstrip().startswith(f"det2lite {command}") for line in examples)
    assert len(lines) <= LONGEST_HELP
    assert max(map(len, lines)) <= WIDEST_HELP
