"""Which classes a converted data set has, in which order, and what happens to objects of others."""

from collections import Counter

from det2lite.data.converters.records import Event, Plan, SourceImage
from det2lite.data.converters.report import ConversionReport, tally
from det2lite.utils.errors import BadValue, UnknownName

UNKNOWN_CLASS = "class not in the class list"


def settle_classes(
    plan: Plan, images: list[SourceImage], asked: list[str] | None, skip_unknown: bool, report: ConversionReport
) -> list[str]:
    """The classes in their order: as asked for, as the source lists them, or by name.

    Objects get names for numbers, and the one class asked for where the source names none. Objects of a class outside
    the list are an `UnknownName`, or are skipped if allowed.
    """
    objects = [found for image in images for found in image.objects]
    for found in objects:
        if isinstance(found.class_name, int):
            found.class_name = _name_of_number(found.class_name, plan.class_names or asked)
        elif plan.nameless and asked and len(asked) == 1:
            found.class_name = asked[0]
    used = Counter(found.class_name for found in objects)
    names = asked or plan.class_names or sorted(used)
    unknown = {name: count for name, count in used.items() if name not in set(names)}
    if unknown and not skip_unknown:
        listed = ", ".join(f"{name!r} ({count})" for name, count in sorted(unknown.items())[:20])
        what = "--classes" if asked else "the data set's own class list"
        raise UnknownName(f"{what} misses {len(unknown)} of the classes: {listed}; add them, or give --skip-unknown")
    for image in images:
        outside = [found for found in image.objects if found.class_name in unknown]
        tally(report.skipped, [Event(UNKNOWN_CLASS, f"{found.class_name} in {image.path}") for found in outside])
        image.objects = [found for found in image.objects if found.class_name not in unknown]
    return list(names)


def _name_of_number(number: int, names: list[str] | None) -> str:
    if names is None:
        raise BadValue("the classes have numbers and no names (no data.yaml, no classes.txt); give --classes names.txt")
    return names[number] if number < len(names) else f"number {number}"
