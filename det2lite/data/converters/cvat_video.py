"""Reads "CVAT for video 1.1": tracks, each with a shape for every frame, become the images of "CVAT for images"."""

import os
import re
from xml.etree import ElementTree

from det2lite.data.converters.files import IMAGE_EXTENSIONS, finite
from det2lite.data.converters.records import Event, Plan
from det2lite.utils.errors import BadValue

_FRAME = re.compile(r"frame_(\d+)", re.IGNORECASE)
_BOX = ("xtl", "ytl", "xbr", "ybr")
_REMEDY = (
    "export it with its images, or take them from the video: ffmpeg -i VIDEO -start_number 0 images/frame_%06d.png; "
    "or export it as 'CVAT for images 1.1'"
)


def images_of_tracks(root: ElementTree.Element, path: str, folders: list[str], plan: Plan) -> list[ElementTree.Element]:
    """The frames as <image> elements, with the shapes that are seen in them.

    root, path: the XML. folders: where the frames may be. Frames without shapes are images without objects; frames
    with shapes whose files are missing are images too, of which the reader says that. plan: gets notes.
    """
    if len({track.get("task_id") for track in root.findall("track")}) > 1:
        raise BadValue(
            f"{path}: tracks of several videos, whose frames cannot be told apart; export each task by itself"
        )
    size = root.find("meta//original_size")
    sides = {} if size is None else {side: (size.findtext(side) or "").strip() for side in ("width", "height")}
    file_of = _frame_files(root, path, folders)
    images = {
        frame: ElementTree.Element("image", {"name": name, **{k: v for k, v in sides.items() if v}})
        for frame, name in file_of.items()
    }
    for number, track in enumerate(root.findall("track"), 1):
        where = f"{path}: track {track.get('id') or number}"
        for frame, shape in _shapes(track, where, set(file_of), plan):
            if frame not in images:
                images[frame] = ElementTree.Element("image", {"name": f"frame_{frame:06d}", **sides})
            images[frame].append(shape)
    return [images[frame] for frame in sorted(images)]


def _shapes(
    track: ElementTree.Element, where: str, frames: set[int], plan: Plan
) -> list[tuple[int, ElementTree.Element]]:
    """(frame, shape) of the frames in which a track is seen; the shapes have its label and number."""
    found: dict[int, ElementTree.Element] = {}
    for shape in track:
        (frame,) = finite([shape.get("frame")], f"{where}: frame")
        found[int(frame)] = shape
    common = {"label": track.get("label") or "", "track_id": track.get("id") or ""}
    seen = []
    numbers = sorted(found)
    for frame, following in zip(numbers, [*numbers[1:], None], strict=True):
        shape = found[frame]
        if shape.get("outside") == "1":
            continue
        shape.attrib.update(common)
        seen.append((frame, shape))
        between = [f for f in range(frame + 1, following or 0) if f in frames]
        if between:
            seen += _between(shape, found[following], frame, following, between, where, plan)
    return seen


def _between(
    first: ElementTree.Element, last: ElementTree.Element, start: int, end: int, frames: list[int], where: str,
    plan: Plan,
) -> list[tuple[int, ElementTree.Element]]:  # fmt: skip
    """Boxes of frames that the file leaves out, moved evenly from one to the next as CVAT does."""
    is_box = first.tag == last.tag == "box" and not float(first.get("rotation") or 0)
    if not is_box:
        kind = "frames of a track are missing in the file, objects left out there"
        plan.skipped += [Event(kind, f"{where}: frame {frame}") for frame in frames]
        return []
    ends = last if last.get("outside") != "1" else first  # until it goes, it stays
    here, there = (finite([node.get(key) for key in _BOX], where) for node in (first, ends))
    made = []
    for frame in frames:
        share = (frame - start) / (end - start)
        node = ElementTree.Element("box", dict(first.attrib))
        node.attrib.update({k: repr(a + (b - a) * share) for k, a, b in zip(_BOX, here, there, strict=True)})
        node.extend(first)
        plan.notes.append(Event("box between two frames of a track, interpolated", f"{where}: frame {frame}"))
        made.append((frame, node))
    return made


def _frame_files(root: ElementTree.Element, path: str, folders: list[str]) -> dict[int, str]:
    """File names by frame: `frame_000012.png`; or the images in the order of their names, one for each frame."""
    for folder in folders:
        names = sorted(n for n in _listed(folder) if n.lower().endswith(IMAGE_EXTENSIONS))
        if not names:
            continue
        numbers = [_FRAME.fullmatch(os.path.splitext(name)[0]) for name in names]
        if all(numbers):
            return {int(match[1]): name for match, name in zip(numbers, names, strict=True)}
        count = (root.findtext("meta//size") or "").strip()
        if count == str(len(names)) and names == sorted(names, key=_natural):
            return dict(enumerate(names))
        raise BadValue(f"{path}: which of {folder} is which frame cannot be told; {_REMEDY}")
    raise BadValue(f"{path}: of the format 'CVAT for video', and its frames are not there; {_REMEDY}")


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _natural(name: str) -> list:
    """A key that sorts numbers by their size."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
