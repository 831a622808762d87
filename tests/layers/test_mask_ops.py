import torch

from det2lite import layers
from det2lite.structures import mask_paste


def test_is_the_function_of_the_structures():
    assert layers.paste_masks_in_image is mask_paste.paste_masks_in_image
    masks = layers.paste_masks_in_image(torch.ones(1, 4, 4), torch.tensor([[0, 0, 2, 1.0]]), (2, 3))
    assert masks.tolist() == [[[True, True, False], [False, False, False]]]
