"""Augmentations: policies that look at an input and choose the deterministic `Transform` to apply to it."""

import inspect
import pprint
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = [
    "Augmentation",
    "AugmentationList",
    "AugInput",
    "TransformGen",
    "apply_transform_gens",
    "StandardAugInput",
    "apply_augmentations",
]


class Augmentation:
    """A policy that chooses a `Transform` by its `get_transform`, usually at random with numpy's global generator.

    Called with an `AugInput` it applies the chosen transform to it in place and returns the transform, so that the
    same one can be applied to whatever else belongs to the image. The parameters of `get_transform` name the
    attributes of the input that it is given; a single parameter always means `image`.

    Attributes:
        input_args: names of those attributes; None until the first call finds them out.
    """

    input_args: tuple[str, ...] | None = None

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keeps the arguments of a constructor, passed as `locals()`, as attributes."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args) -> Transform:
        """The transform for the given attributes of an input. Subclasses name the attributes as parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_transform")

    def __call__(self, aug_input: "AugInput") -> Transform:
        transform = self.get_transform(*_wanted_attributes(self, aug_input))
        assert isinstance(transform, Transform), (
            f"{type(self).__name__}.get_transform must return a Transform, not {type(transform).__name__}"
        )
        aug_input.transform(transform)
        return transform

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        """Uniform in [low, high), or in [0, low) if only one bound is given."""
        low, high = (0, low) if high is None else (low, high)
        return np.random.uniform(low, high, [] if size is None else size)

    def __repr__(self) -> str:
        """`Name(argument=value, ...)` with the arguments that are not at their defaults."""
        arguments = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if variadic or not hasattr(self, name):
                return super().__repr__()
            value = getattr(self, name)
            if value is not parameter.default:
                text = pprint.pformat(value)
                arguments.append(f"{name}={'...' if chr(10) in text else text}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    __str__ = __repr__


def _wanted_attributes(augmentation: Augmentation, aug_input: Any) -> list:
    """What `augmentation.get_transform` is to be called with."""
    if augmentation.input_args is None:
        augmentation.input_args = _argument_names(augmentation)
    values = []
    for name in augmentation.input_args:
        try:
            values.append(getattr(aug_input, name))
        except AttributeError as error:
            raise AttributeError(
                f"{type(augmentation).__name__}.get_transform needs {name!r}, which "
                f"{type(aug_input).__name__} does not have; give the input that attribute"
            ) from error
    return values


def _argument_names(augmentation: Augmentation) -> tuple[str, ...]:
    parameters = inspect.signature(augmentation.get_transform).parameters
    if len(parameters) == 1:
        return ("image",)
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{type(augmentation).__name__}.get_transform takes *args or **kwargs, which name no attributes; "
                "name them, or define __call__"
            )
    return tuple(parameters)


class _Always(Augmentation):
    """The augmentation that chooses the same transform for every input."""

    def __init__(self, tfm: Transform):
        self.tfm = tfm

    def get_transform(self, *args) -> Transform:
        return self.tfm

    def __call__(self, aug_input: "AugInput") -> Transform:
        aug_input.transform(self.tfm)
        return self.tfm

    def __repr__(self) -> str:
        return repr(self.tfm)

    __str__ = __repr__


def as_augmentation(tfm_or_aug: Transform | Augmentation) -> Augmentation:
    """An augmentation as it is; a transform as the augmentation that always chooses it."""
    if isinstance(tfm_or_aug, Transform):
        return _Always(tfm_or_aug)
    assert isinstance(tfm_or_aug, Augmentation), (
        f"expected a Transform or an Augmentation, got {type(tfm_or_aug).__name__}"
    )
    return tfm_or_aug


_transform_to_aug = as_augmentation  # its name in Detectron2, which augmentations of projects import


class AugmentationList(Augmentation):
    """Augmentations and transforms applied one after the other, each seeing what those before it made."""

    def __init__(self, augs: list[Augmentation | Transform]):
        super().__init__()
        self.augs = [as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: "AugInput") -> TransformList:
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"

    __str__ = __repr__


class AugInput:
    """What augmentations look at and change in place: an image and, where known, its boxes and segmentation.

    Subclasses add attributes for augmentations that need them and transform them in `transform`.

    Attributes:
        image: (H, W) or (H, W, C), uint8 in [0, 255] or floating point in [0, 1] or [0, 255].
        boxes: (N, 4) XYXY in pixels, or None.
        sem_seg: (H, W) class of each pixel, or None.
    """

    def __init__(self, image: np.ndarray, *, boxes: np.ndarray | None = None, sem_seg: np.ndarray | None = None):
        assert isinstance(image, np.ndarray), f"an image is a numpy array here, not {type(image).__name__}"
        assert image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating), (
            f"an image is uint8 or floating point, not {image.dtype}"
        )
        assert image.ndim in (2, 3), f"an image is (H, W) or (H, W, C), not of shape {image.shape}"
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Applies `tfm` to all attributes in place."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(self, augmentations: list[Augmentation | Transform]) -> TransformList:
        """Applies the augmentations in place, in order; returns the transforms that they chose."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(augmentations: list[Augmentation | Transform], inputs: AugInput | np.ndarray):
    """`inputs` (an image or an `AugInput`) augmented, and the `TransformList` that was applied to it."""
    if isinstance(inputs, np.ndarray):
        image_input = AugInput(inputs)
        transforms = image_input.apply_augmentations(augmentations)
        return image_input.image, transforms
    transforms = inputs.apply_augmentations(augmentations)
    return inputs, transforms


# names of earlier versions of the interface
TransformGen = Augmentation
StandardAugInput = AugInput
apply_transform_gens = apply_augmentations
