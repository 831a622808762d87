"""One picture of the embedded data set and what is true about it: who owns which pixel, and where the corners are."""

from dataclasses import dataclass, field

import numpy as np

from det2lite.data.datasets import shapes_drawing as draw
from det2lite.data.datasets.shapes_drawing import UNITS, Dice

THING_NAMES = ("circle", "rectangle", "triangle", "star", "cross")
STUFF_NAMES = ("clouds", "stripes", "checks")
CORNER_NAMES = ("top", "right", "left")  # of the triangle, which is never turned so far that they change places
IMAGE_SIZES = ((128, 160), (160, 128), (144, 144), (128, 128), (112, 160), (160, 112), (136, 152), (152, 136))
RADII = ((14, 18), (19, 26), (22, 32), (26, 38))  # pixels; each range is as likely
LARGE_RADII = (52, 68)
TILT = 20  # degrees that a shape is turned by at most

NO_SEGMENT = -1  # a pixel that belongs to nothing: the seam between two stuff regions
MIN_VISIBLE = 75  # percent of its own pixels that an object keeps, whatever comes to lie on it
MAX_BOX_IOU = 35  # percent; two boxes closer than this would be one to any detector
SOLID = draw.FULL_COVERAGE // 2  # a pixel covered to a half is the object's


@dataclass
class Segment:
    """A thing or a stuff region of a scene. `outline` is set only for a thing that lies whole in the picture."""

    label: int  # into THING_NAMES, or into STUFF_NAMES when is_stuff
    is_stuff: bool = False
    is_crowd: bool = False
    outline: np.ndarray | None = None  # (N, 2) XY units
    corners: np.ndarray | None = None  # (3, 2) XY units
    solid: np.ndarray | None = None  # (H, W) bool, as if nothing lay on it

    @property
    def name(self) -> str:
        return STUFF_NAMES[self.label] if self.is_stuff else THING_NAMES[self.label]


@dataclass
class Scene:
    """image: (H, W, 3) uint8 RGB; owner: (H, W) index into segments, or NO_SEGMENT."""

    image: np.ndarray
    owner: np.ndarray
    segments: list[Segment] = field(default_factory=list)


def shape_outline(dice: Dice, label: int, radius: int) -> np.ndarray:
    """Polygon (N, 2) of a shape about the origin, reaching about `radius` units; a triangle starts with its corners."""
    name = THING_NAMES[label]
    if name == "circle":
        return draw.on_circle(radius, range(0, draw.TURN, 9))
    if name == "rectangle":
        half = np.array([radius * 80 // 100, radius * dice.integer(55, 80) // 100])
        return draw.turned(half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), dice.integer(-TILT, TILT))
    if name == "triangle":
        half_base, drop = radius * dice.integer(75, 95) // 100, radius * 65 // 100
        return draw.turned(np.array([(0, -radius), (half_base, drop), (-half_base, drop)]), dice.integer(-TILT, TILT))
    if name == "star":
        inner = radius * dice.integer(38, 48) // 100
        rings = draw.on_circle(radius, range(0, 360, 72)), draw.on_circle(inner, range(36, 396, 72))
        return draw.turned(np.stack(rings, axis=1).reshape(-1, 2), dice.integer(-TILT, TILT))
    arm = radius * dice.integer(24, 34) // 100
    far = radius * 92 // 100
    quarter = np.array([(arm, -arm), (arm, -far), (-arm, -far)])
    return draw.turned(np.concatenate([draw.turned(quarter, -90 * k) for k in range(4)]), dice.integer(-TILT, TILT))


def paint(dice: Dice, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """A surface (H, W, 3) of mostly one colour: plain, fading, striped or cloudy."""
    kind = dice.choose(("plain", "fading", "striped", "cloudy"))
    depth = dice.integer(6, 18)
    if kind == "fading":
        change = draw.ramp(height, width, dice.integer(0, 359)) // UNITS % (2 * 64)
        change = np.abs(change - 64) * 4
    elif kind == "striped":
        change = draw.stripes(height, width, dice.integer(0, 179), dice.integer(5, 10))
    elif kind == "cloudy":
        change = draw.clouds(dice, height, width, dice.integer(8, 20))
    else:
        change = np.full((height, width), 128)
    return colour + ((change - 128) * depth // 128)[..., None]


def far_colour(dice: Dice, ground: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """A colour that can be told from the ground's, and less clearly from other shapes': the best of a few tries."""
    tries = dice.integers(20, 235, (12, 3))
    score = 0
    for colours, enough in ((ground, 200), (others, 100)):  # far enough is enough: no need for glaring colours
        if colours:
            score += np.minimum(np.abs(tries[:, None] - np.stack(colours)).sum(axis=2).min(axis=1), enough)  # (12,)
    return tries[np.argmax(score)]


def draw_ground(dice: Dice, height: int, width: int) -> tuple[Scene, list[np.ndarray]]:
    """The textured background of one or two stuff regions, and the colours it uses."""
    first = dice.integer(0, len(STUFF_NAMES) - 1)
    labels = [first]
    side = np.zeros((height, width), dtype=np.int64)
    seam = np.zeros((height, width), dtype=bool)
    if dice.chance(55):
        labels.append((first + dice.integer(1, len(STUFF_NAMES) - 1)) % len(STUFF_NAMES))
        slope = draw.ramp(height, width, dice.integer(0, 359))
        cut = int(slope.min()) + int(slope.max() - slope.min()) * dice.integer(30, 70) // 100
        side = (slope > cut).astype(np.int64)
        seam = np.abs(slope - cut) < UNITS + UNITS // 2
    image = np.zeros((height, width, 3), dtype=np.int64)
    colours = []
    for region, label in enumerate(labels):
        light = dice.integers(50, 205, (3,))
        dark = np.clip(light + dice.choose((-1, 1)) * dice.integers(6, 26, (3,)), 10, 245)
        if STUFF_NAMES[label] == "clouds":
            texture = draw.clouds(dice, height, width, dice.integer(14, 40))
        elif STUFF_NAMES[label] == "stripes":
            texture = draw.stripes(height, width, dice.integer(0, 179), dice.integer(8, 22))
        else:
            texture = draw.checks(height, width, dice.integer(0, 89), dice.integer(14, 34))
        surface = draw.blend(light, dark, texture, full=255)
        image = np.where((side == region)[..., None], surface, image)
        colours += [light, dark]
    owner = np.where(seam, NO_SEGMENT, side)
    return Scene(image, owner, [Segment(label, is_stuff=True) for label in labels]), colours


def solid_pixels(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels (H, W) bool that the shape covers to a half or more."""
    rows, columns = draw.window(outline, height, width)
    solid = np.zeros((height, width), dtype=bool)
    solid[rows, columns] = draw.coverage_in(outline, rows, columns) >= SOLID
    return solid


def lay(scene: Scene, dice: Dice, outline: np.ndarray, colour: np.ndarray) -> None:
    """Paint one shape over the picture."""
    rows, columns = draw.window(outline, *scene.owner.shape)
    surface = paint(dice, rows.stop - rows.start, columns.stop - columns.start, colour)
    if dice.chance(30):  # a rim, darker or lighter than the shape
        centre = outline.mean(axis=0).astype(np.int64)
        core = draw.coverage_in(centre + (outline - centre) * 84 // 100, rows, columns)
        surface = draw.blend(colour + dice.choose((-45, 45)), surface, core)
    cover = draw.coverage_in(outline, rows, columns)
    scene.image[rows, columns] = draw.blend(scene.image[rows, columns], surface, cover)


def add_crowd(scene: Scene, dice: Dice, ground: list[np.ndarray]) -> None:
    """A heap of tiny shapes of one class, one segment that nobody shall count."""
    height, width = scene.owner.shape
    label = dice.integer(0, len(THING_NAMES) - 1)
    reach = dice.integer(14, 20)
    centre = np.array([dice.integer(reach + 4, width - reach - 5), dice.integer(reach + 4, height - reach - 5)])
    heap = np.zeros((height, width), dtype=bool)
    for _ in range(dice.integer(12, 20)):
        offset = dice.integers(-reach, reach, (2,))
        outline = shape_outline(dice, label, dice.integer(4 * UNITS, 6 * UNITS)) + (centre + offset) * UNITS
        lay(scene, dice, outline, far_colour(dice, ground, []))
        heap |= solid_pixels(outline, height, width)
    heap = draw.grown(heap, 1)
    scene.owner[heap] = len(scene.segments)
    scene.segments.append(Segment(label, is_crowd=True, solid=heap))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight XYWH box of a bool mask (H, W) in pixels; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def box_iou_percent(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> int:
    """IoU of two XYWH boxes in whole percent."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    return 100 * shared // max(first[2] * first[3] + second[2] * second[3] - shared, 1)


def fits(scene: Scene, outline: np.ndarray, solid: np.ndarray) -> bool:
    """Whether a shape laid here is mostly in the picture and leaves enough of everything below it to be seen."""
    if 100 * int(solid.sum()) < 70 * draw.area_of(outline):
        return False
    box = box_of(solid)
    for index, segment in enumerate(scene.segments):
        if segment.is_stuff:
            continue
        left = (scene.owner == index) & ~solid
        if 100 * int(left.sum()) < MIN_VISIBLE * int(segment.solid.sum()):
            return False
        if box_iou_percent(box, box_of(left)) > MAX_BOX_IOU:
            return False
    return True


def draw_centre(scene: Scene, dice: Dice, radius: int) -> np.ndarray:
    """Where to try a shape, (2,) XY units: well inside, at times across the border or on another shape."""
    height, width = scene.owner.shape
    below = [segment for segment in scene.segments if segment.outline is not None]
    if below and dice.chance(12):
        return dice.choose(below).outline.mean(axis=0).astype(np.int64) + dice.integers(-3 * UNITS, 3 * UNITS, (2,))
    margin = 0 if dice.chance(15) else min(radius, min(height, width) * UNITS // 2 - 1)
    return np.array([dice.integer(margin, width * UNITS - margin), dice.integer(margin, height * UNITS - margin)])


def add_thing(scene: Scene, dice: Dice, label: int, radius: int, colour: np.ndarray) -> bool:
    """Lay one object where it fits; False after some tries without luck, and the picture stays as it is."""
    height, width = scene.owner.shape
    shape = shape_outline(dice, label, radius)
    for _ in range(10):
        outline = shape + draw_centre(scene, dice, radius)
        solid = solid_pixels(outline, height, width)
        if fits(scene, outline, solid):
            break
    else:
        return False
    lay(scene, dice, outline, colour)
    inside = (outline.min(axis=0) >= 0).all() and (outline.max(axis=0) <= (width * UNITS, height * UNITS)).all()
    corners = outline[: len(CORNER_NAMES)] if THING_NAMES[label] == "triangle" else None
    scene.owner[solid] = len(scene.segments)
    scene.segments.append(Segment(label, outline=outline if inside else None, corners=corners, solid=solid))
    return True


def draw_scene(key: tuple[int, ...]) -> Scene:
    """The picture of a key such as (seed, split, index); no other picture has a part in it."""
    dice = Dice(key)
    height, width = dice.choose(IMAGE_SIZES)
    scene, ground = draw_ground(dice, height, width)
    if not dice.chance(6):  # else a picture without any object
        if dice.chance(8):
            add_crowd(scene, dice, ground)
        things = [
            (dice.integer(*dice.choose(RADII)), dice.integer(0, len(THING_NAMES) - 1))
            for _ in range(dice.choose((1, 2, 3, 4, 4, 5, 5, 6, 6, 7)))
        ]
        if dice.chance(15):
            things[0] = dice.integer(*LARGE_RADII), dice.choose((0, 1, 1, 2, 3, 4))
        used = []
        for radius, label in sorted(things, reverse=dice.chance(85)):  # large ones below, mostly
            colour = far_colour(dice, ground, used)
            if add_thing(scene, dice, label, radius * UNITS, colour):
                used.append(colour)
    grain = dice.integer(3, 10)
    scene.image = scene.image + dice.integers(-grain, grain, (height, width, 3))
    scene.image = np.clip(scene.image, 0, 255).astype(np.uint8)
    return scene
