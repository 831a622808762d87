"""Shows versions, devices, libraries, what is missing for what, and which data sets are found: for a bug report."""

import argparse
import os

EXAMPLES = """examples:

    $ {tool}

  with the data sets of another folder:
    $ DETECTRON2_DATASETS=/data {tool}
"""
SHOWN_NAMES = 12  # of data sets that are not found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> None:
    from det2lite.utils.collect_env import environment_table, failing_libraries, optional_parts
    from det2lite.utils.import_check import reason_of

    failures = failing_libraries()
    print(environment_table(failures))
    print("\nOptional parts")
    for part in optional_parts(failures):
        state = f"not here: {', '.join(part.missing)} ({part.remedy})" if part.missing else "here"
        print(f"  {part.purpose}: {state}")
    try:
        print(data_sets())
    except Exception as error:  # a report of what is broken goes on
        print(f"\nData sets were not looked for: det2lite.data cannot be imported: {reason_of(error)}")


def data_sets() -> str:
    """The data sets that det2lite knows by name, those that are found first."""
    from det2lite.data.data_root import DEFAULT_ROOT, ROOT_VARIABLE, data_root
    from det2lite.data.datasets.presence import missing_paths

    missing = missing_paths()
    found = [name for name, paths in missing.items() if not paths]
    absent = [name for name, paths in missing.items() if paths]
    chosen = f"${ROOT_VARIABLE}" if os.environ.get(ROOT_VARIABLE) else f"${ROOT_VARIABLE} is not set"
    lines = [f"\nData sets below {os.path.abspath(data_root())} ({chosen}; default: ./{DEFAULT_ROOT})"]
    lines.append(f"  {len(found)} of {len(missing)} are found: {', '.join(found) or 'none'}")
    if absent:
        shown = ", ".join(absent[:SHOWN_NAMES]) + (", ..." if len(absent) > SHOWN_NAMES else "")
        lines.append(f"  not found: {shown} (layout: datasets/README.md)")
    lines.append("  shapes_train, shapes_val need no files: they are drawn when first used")
    return "\n".join(lines)
