"""The whole of `det2lite check`: reads, checks, prints, and writes what was asked for."""

import json
import os
from pathlib import Path

from det2lite.data.converters.output import require_writable
from det2lite.data.preflight.check import check_content
from det2lite.data.preflight.findings import Report
from det2lite.data.preflight.fix import clean
from det2lite.data.preflight.source import Source, find_source
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.file_io import atomic_write


class FileThere(UserError, FileExistsError):
    """A file that would be replaced, and was not asked to be."""


class UnwritableFile(UserError, OSError):
    """A file that cannot be written."""


def check_sources(
    data: str,
    images: str | None = None,
    *,
    quick: bool = False,
    nproc: int = 0,
    per_kind: int = 3,
    json_file: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> int:
    """Checks the data sets that `data` names and prints what was found; returns 1 if there are errors, else 0.

    nproc: processes that decode images, 0 for one a core. json_file: where all findings go. output: folder of cleaned
    copies; then errors are those that the copies still have. See `find_source` for `data` and `images`.
    """
    sources = find_source(data, images, need_images=not quick)
    if not any(source.content.images for source in sources):
        raise BadValue(f"{data}: no images in it, so there is nothing to check; is it the right file?")
    targets = {} if output is None else _copy_paths(sources, output)
    _refuse_what_is_there(sources, [*targets.values(), json_file], overwrite)
    nproc = nproc or _cores()
    reports, left = [], []
    for source in sources:
        report = check_content(source.content, source.image_root, name=source.name, quick=quick, nproc=nproc)
        report.add(source.found)
        _show(report, per_kind)
        reports.append(report)
        if output is None:
            left.append(report)
        else:
            left.append(_write_clean(source, report, targets[source.name]))
    if json_file:
        _write_json(json_file, [report.as_dict() for report in reports])
        print(f"all findings: {json_file}")
    return int(any(report.of("error") for report in left))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _copy_paths(sources: list[Source], output: str) -> dict[str, str]:
    """Where the copy of each source goes, by its name."""
    names = [Path(source.json_file or source.name).with_suffix(".json").name for source in sources]
    if len({*names}) < len(names):
        raise BadValue("two of the files to check have one name; check them one by one")
    return {source.name: os.path.join(output, name) for source, name in zip(sources, names, strict=True)}


def _refuse_what_is_there(sources: list[Source], paths: list[str | None], overwrite: bool) -> None:
    originals = [source.json_file for source in sources if source.json_file]
    for path in filter(None, paths):
        require_writable(path, "another place")
        if any(os.path.exists(path) and os.path.samefile(path, original) for original in originals):
            raise BadValue(f"{path} is the original, which is never changed; choose another place")
        if os.path.exists(path) and not overwrite:
            raise FileThere(f"{path} is there already; choose another place, or replace it: --overwrite")


def _show(report: Report, per_kind: int) -> None:
    for line in report.lines(per_kind):
        print(line)
    if report.findings:
        print(f"\n{report.table()}\n")
    print(report.summary())


def _write_clean(source: Source, report: Report, path: str) -> Report:
    """Writes the cleaned copy and its list of changes; returns what a check of the copy, no image opened, finds."""
    cleaned = clean(source.content, report, source.image_root)
    again = check_content(cleaned.content, source.image_root, name=path, quick=True)
    changes = os.path.splitext(path)[0] + "_changes.json"
    _write_json(path, cleaned.content.as_dict())
    _write_json(changes, cleaned.changes)
    print(f"\ncleaned copy: {path}, {len(cleaned.changes)} changes: {changes}")
    left = [*again.of("error"), *again.of("warning")]
    left += [one for one in report.findings if one.kind == "duplicate-image"]
    if left:
        print("left for you to decide:")
        for one in left[:10]:
            print(f"  {one.severity}: {one.kind}: {one}")
        if len(left) > 10:
            print(f"  ... and {len(left) - 10} more")
    return again


def _write_json(path: str, content: object) -> None:
    try:
        with atomic_write(path) as file:
            json.dump(content, file, ensure_ascii=False, indent=None if isinstance(content, dict) else 1, default=str)
    except OSError as error:
        raise UnwritableFile(f"cannot write {path}: {error.strerror or error}") from error
