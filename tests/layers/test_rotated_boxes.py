import torch

from det2lite.layers.rotated_boxes import pairwise_iou_rotated


def test_the_familiar_path():
    boxes = torch.tensor([[2.0, 2, 4, 2, 0], [2, 2, 4, 2, 90], [9, 9, 1, 1, 0]])
    # a cross of two 4 x 2 boxes shares 2 x 2 of 12
    torch.testing.assert_close(pairwise_iou_rotated(boxes[:1], boxes), torch.tensor([[1.0, 1 / 3, 0]]))
