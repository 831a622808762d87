"""XML that somebody else wrote: no entities, which can grow without end or name files, and no endless nesting."""

import os
from xml.etree import ElementTree
from xml.parsers import expat

from det2lite.utils.errors import BadValue, MissingFile

MAX_DEPTH = 64


def read_xml(path: str | os.PathLike) -> ElementTree.Element:
    """The root element of an XML file. Raises `MissingFile`; `BadValue`, with the line, for what is not plain XML."""
    path = os.fspath(path)
    parser, builder, depth = expat.ParserCreate(), ElementTree.TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise BadValue(f"{path}: line {parser.CurrentLineNumber}: elements are nested more than {MAX_DEPTH} deep")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_) -> None:
        raise BadValue(
            f"{path}: line {parser.CurrentLineNumber}: entities are declared, which are not read; remove them"
        )

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.EntityDeclHandler = refuse
    parser.buffer_text = True
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except FileNotFoundError:
        raise MissingFile(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise BadValue(f"{path}: cannot be read ({error.strerror})") from None
    except (expat.ExpatError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
        if isinstance(error, BadValue):
            raise
        raise BadValue(f"{path}: not XML ({error}); is it cut off, or of another format?") from None
