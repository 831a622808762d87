import pytest
import torch

from det2lite.structures.image_list import ImageList, move_device_like, shapes_to_tensor


def test_pads_to_the_largest():
    images = [torch.ones(3, 5, 6), torch.full((3, 7, 2), 2.0)]
    batch = ImageList.from_tensors(images, size_divisibility=4, pad_value=-1)
    assert batch.tensor.shape == (2, 3, 8, 8) and batch.image_sizes == [(5, 6), (7, 2)] and len(batch) == 2
    for i in range(2):
        assert torch.equal(batch[i], images[i])
    assert batch.tensor.eq(-1).sum() == 2 * 3 * 64 - images[0].numel() - images[1].numel()


def test_one_image_one_pixel():
    batch = ImageList.from_tensors([torch.ones(3, 1, 1)], size_divisibility=32)
    assert batch.tensor.shape == (1, 3, 32, 32) and batch.tensor.sum() == 3 and batch[0].shape == (3, 1, 1)
    assert ImageList.from_tensors([torch.ones(3, 4, 5)]).tensor.shape == (1, 3, 4, 5)


def test_without_channels():
    labels = ImageList.from_tensors([torch.zeros(4, 4, dtype=torch.long), torch.ones(2, 3, dtype=torch.long)], 0, 255)
    assert labels.tensor.shape == (2, 4, 4) and labels.tensor.dtype == torch.long and labels.tensor[1, 3, 3] == 255


@pytest.mark.parametrize(
    ("constraints", "side"),
    [({"size_divisibility": 5}, 10), ({"square_size": 20}, 20), ({"square_size": 20, "size_divisibility": 16}, 32)],
)
def test_padding_constraints(constraints, side):
    images = [torch.ones(1, 6, 7), torch.ones(1, 7, 6)]
    assert ImageList.from_tensors(images, 4, padding_constraints=constraints).tensor.shape == (2, 1, side, side)


def test_wrong_input():
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])
    with pytest.raises(AssertionError):
        ImageList.from_tensors([torch.ones(3, 2, 2), torch.ones(1, 2, 2)])
    with pytest.raises(AssertionError, match="list"):
        ImageList.from_tensors(torch.ones(2, 3, 2, 2))
    with pytest.raises(AssertionError, match="tensors"):
        ImageList.from_tensors([torch.ones(3, 2, 2).numpy()])


def test_to_and_device():
    batch = ImageList.from_tensors([torch.ones(1, 2, 2)]).to(torch.float64)
    assert batch.tensor.dtype == torch.float64 and batch.device == torch.device("cpu")


def test_scripts():
    def use(a: torch.Tensor, b: torch.Tensor):
        images = ImageList.from_tensors([a, b], 4)
        return images.tensor, images[1], images.image_sizes

    inputs = torch.rand(3, 5, 6), torch.rand(3, 7, 2)
    torch.testing.assert_close(torch.jit.script(use)(*inputs), use(*inputs))


class _Batch(torch.nn.Module):
    def forward(self, a, b):
        images = ImageList.from_tensors([a, b], 4)
        return images.tensor, images.image_sizes[1], images[1]


def test_trace_follows_the_sizes():
    traced = torch.jit.trace(_Batch(), (torch.rand(3, 5, 6), torch.rand(3, 7, 2)))
    image = torch.rand(3, 7, 20)
    tensor, size, unpadded = traced(torch.rand(3, 15, 6), image)
    assert tensor.shape == (2, 3, 16, 20) and size.tolist() == [7, 20] and torch.equal(unpadded, image)


def test_helpers():
    assert torch.equal(shapes_to_tensor([3, 4]), torch.tensor([3, 4]))
    assert move_device_like(torch.ones(1), torch.zeros(2)).device == torch.device("cpu")
