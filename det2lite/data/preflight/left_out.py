"""What a converter left out of a data set of another format, as findings."""

import os
from collections.abc import Iterator

from det2lite.data.converters.classes import UNKNOWN_CLASS
from det2lite.data.converters.conversion import BROKEN_ANNOTATION, BROKEN_IMAGE, MISSING_IMAGE
from det2lite.data.converters.records import NO_AREA
from det2lite.data.converters.report import ConversionReport, Tally
from det2lite.data.preflight.findings import Finding, finding

_KINDS = {
    MISSING_IMAGE: "missing-image",
    BROKEN_IMAGE: "unreadable-image",
    BROKEN_ANNOTATION: "broken-annotation-file",
    UNKNOWN_CLASS: "unknown-category",
    NO_AREA: "empty-box",
}


def findings_of(report: ConversionReport) -> Iterator[Finding]:
    """A finding for each place that a conversion left out as faulty, and one for each kind of other events."""
    for event, tally in [*report.skipped.items(), *report.notes.items()]:
        if event in _KINDS:
            yield from _each(event, tally, report.folder)
        else:
            yield finding("conversion", f"{event}: {tally.count} x, the first: {tally.examples[0]}")


def _each(event: str, tally: Tally, folder: str) -> Iterator[Finding]:
    kind = _KINDS[event]
    for place in tally.examples:
        within = place.replace(f"{folder}{os.sep}", "")
        if event in (MISSING_IMAGE, BROKEN_IMAGE):
            yield finding(kind, event, file_name=within)
        else:
            yield finding(kind, within if event == BROKEN_ANNOTATION else f"{within}: {event}")
    if tally.count > len(tally.examples):
        yield finding(kind, f"{event}: {tally.count} in all, of which those above are the first places")
