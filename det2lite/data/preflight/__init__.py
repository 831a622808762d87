"""Finding faults of a data set before they cost a training: `det2lite check`, and its quick part before every run."""

from det2lite.data.preflight.check import check_content
from det2lite.data.preflight.findings import KINDS, Finding, Report
from det2lite.data.preflight.fix import Cleaned, clean
from det2lite.data.preflight.samples import FaultyDataset, check_samples, stop_on_faults
from det2lite.data.preflight.source import Source, find_source

__all__ = [
    "KINDS",
    "Cleaned",
    "FaultyDataset",
    "Finding",
    "Report",
    "Source",
    "check_content",
    "check_samples",
    "clean",
    "find_source",
    "stop_on_faults",
]
