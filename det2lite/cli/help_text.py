"""Help texts as wide as the terminal, with examples that can be pasted."""

import argparse
import re
import textwrap

# what belongs together in a command line: what stands in quotes, and a flag with its first value
_WORD = r"""(?:[^\s"']|"[^"]*"|'[^']*')+"""
_PART = re.compile(rf"--?[a-z][\w-]*\s+(?!-){_WORD}|{_WORD}")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps description and epilog at the width of the terminal.

    Lines without indentation form paragraphs; an indented one stays by itself; one that begins with `$ ` is a command,
    which is printed without the `$` and, where it is too long, continued by `\\`, so that it can be pasted.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)  # --confidence-threshold S: one line rather than two

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for block in _blocks(text.strip("\n")):
            lead = block[: len(block) - len(block.lstrip())]
            if block.lstrip().startswith("$ "):
                lines += wrapped_command(block.strip()[2:], width, lead)
            else:
                lines += textwrap.wrap(block, width, subsequent_indent=lead, break_on_hyphens=False) or [""]
        return "\n".join(indent + line for line in lines)


def wrapped_command(command: str, width: int, indent: str) -> list[str]:
    """A command as lines of at most `width`, as far as its parts allow, the later ones indented further."""
    lines, line = [], indent
    for part in _PART.findall(command):
        longer = f"{line} {part}" if line.strip() else line + part
        if len(longer) > width - 2 and line.strip():  # space for the " \"
            lines.append(line + " \\")
            longer = f"{indent}    {part}"
        line = longer
    return [*lines, line]


def _blocks(text: str) -> list[str]:
    """Paragraphs, indented lines and empty lines of a text, one by one; lines continued by a backslash are joined."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    blocks: list[str] = []
    is_open = False
    for line in text.splitlines():
        is_plain = bool(line) and not line[0].isspace()
        if is_plain and is_open:
            blocks[-1] += " " + line
        else:
            blocks.append(line.rstrip())
        is_open = is_plain
    return blocks
