"""Masks of boxes in the image; the function lives with the structures, which need it too."""

from det2lite.structures.mask_paste import paste_masks_in_image

__all__ = ["paste_masks_in_image"]
