"""Everything that is known of the objects of one image."""

import itertools
from typing import Any

import torch

__all__ = ["Instances"]


class Instances:
    """The objects of one image: any number of fields, each with one entry per object.

    A field is set and read as an attribute (`instances.gt_boxes = Boxes(...)`); names that begin with an
    underscore are ordinary attributes. Indexing, `to` and `cat` work on all fields at once.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any):
        """image_size: (height, width) in pixels. kwargs: the first fields."""
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # `_fields` itself is missing while an object is being unpickled or copied
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"Cannot find field '{name}' in the given Instances!")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Adds or replaces a field; its length must be that of the fields that are there."""
        length = len(value)
        if self._fields:
            expected = len(self)
            assert length == expected, f"Adding a field of length {length} to a Instances of length {expected}"
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Takes a field away; KeyError if it is not there."""
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field; KeyError if it is not there."""
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """The fields by name. Changes of the dict change the object."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """A copy whose fields are moved by their own `to`; those without one are kept."""
        moved = Instances(self._image_size)
        for name, value in self._fields.items():
            moved.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return moved

    def __getitem__(self, item: int | slice | torch.Tensor) -> "Instances":
        """The chosen objects, each field indexed by `item`. An int gives an Instances of length 1."""
        if type(item) is int:
            if not -len(self) <= item < len(self):
                raise IndexError("Instances index out of range!")
            item = slice(item, None, len(self))
        chosen = Instances(self._image_size)
        for name, value in self._fields.items():
            chosen.set(name, _index_list(value, item) if isinstance(value, list) else value[item])
        return chosen

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Empty Instances does not support __len__!")

    def __iter__(self):
        raise NotImplementedError("`Instances` object is not iterable!")

    @staticmethod
    def cat(instance_lists: list["Instances"]) -> "Instances":
        """The objects of several Instances of one image in one. Fields are those of the first."""
        assert all(isinstance(instances, Instances) for instances in instance_lists)
        assert len(instance_lists) > 0
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        if not isinstance(first.image_size, torch.Tensor):  # it is one while tracing, and not comparable
            for other in instance_lists[1:]:
                assert other.image_size == first.image_size, f"{other.image_size} is not {first.image_size}"
        joined = Instances(first.image_size)
        for name, value in first._fields.items():
            joined.set(name, _cat_values(name, [value, *(other.get(name) for other in instance_lists[1:])]))
        return joined

    def __str__(self) -> str:
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        height, width = self._image_size
        return f"Instances(num_instances={count}, image_height={height}, image_width={width}, fields=[{fields}])"

    __repr__ = __str__


def _index_list(values: list, item: Any) -> list:
    """A plain list indexed as a tensor would be: by slice, bool mask or index sequence."""
    if isinstance(item, slice):
        return values[item]
    item = torch.as_tensor(item)
    positions = item.nonzero()[:, 0] if item.dtype in (torch.bool, torch.uint8) else item
    return [values[i] for i in positions.tolist()]


def _cat_values(name: str, values: list) -> Any:
    kind = type(values[0])
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values, dim=0)
    if isinstance(values[0], list):
        return list(itertools.chain(*values))
    if hasattr(kind, "cat"):
        return kind.cat(values)
    raise ValueError(f"Unsupported type {kind} for concatenation of field '{name}'")
