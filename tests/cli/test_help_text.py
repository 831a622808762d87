import argparse
import shlex

import pytest

from det2lite.cli.help_text import HelpFormatter, wrapped_command


def test_paragraphs_are_wrapped_and_the_rest_keeps_its_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "42")  # of which argparse uses 40
    parser = argparse.ArgumentParser(
        description="One paragraph in two lines that is\nfar longer than the terminal is wide.\n\nAnother.",
        epilog="examples:\n\n  what it does:\n    $ tool --flag value\n",
        formatter_class=HelpFormatter,
    )
    text = parser.format_help()
    assert "One paragraph in two lines that is far\nlonger than the terminal is wide.\n\nAnother.\n" in text
    assert text.endswith("examples:\n\n  what it does:\n    tool --flag value\n")


@pytest.mark.parametrize("width", [12, 20, 30, 40, 200])
def test_a_wrapped_command_is_the_same_for_a_shell(width):
    command = "tool --input photos --weights \"\" --group-by '^a b' KEY value"
    lines = wrapped_command(command, width, "    ")
    assert max(len(line) for line in lines) <= max(width, len("        --group-by '^a b' \\"))
    assert len(lines) == 1 or width < 200
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)


def test_a_command_that_its_source_continues():
    text = HelpFormatter("tool")._fill_text("    $ tool --a \\\n        --b\n", 60, "")
    assert text == "    tool --a --b"
