"""The command line of the tools that write a page of the documentation from data."""

import argparse
import os
from pathlib import Path

from det2lite.utils.file_io import atomic_write


def write_or_check(page: Path, text: str, doc: str) -> int:
    """Writes `text` to `page`, or with --check only tells whether it is there already. Returns the exit status."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where the page is stale")
    if parser.parse_args().check:
        fresh = page.is_file() and page.read_text(encoding="utf-8") == text
        print(f"{os.path.relpath(page)} is {'up to date' if fresh else 'stale'}")
        return int(not fresh)
    with atomic_write(page) as file:
        file.write(text)
    print(f"written: {os.path.relpath(page)}")
    return 0
