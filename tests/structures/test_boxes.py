import numpy as np
import pytest
import torch

from det2lite.structures.boxes import (
    Boxes,
    BoxMode,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)


class TestBoxMode:
    @pytest.mark.parametrize("make", [list, tuple])
    def test_sequences_keep_their_type(self, make):
        box = make([5.0, 5.0, 10.0, 12.0])
        out = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        assert out == make([5.0, 5.0, 5.0, 7.0]) and type(out) is make
        assert BoxMode.convert(out, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) == box

    @pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
    def test_arrays_keep_their_dtype(self, dtype):
        box = np.array([[5, 5, 10, 12], [1, 1, 2, 3]], dtype=dtype)
        out = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, [[5, 5, 5, 7], [1, 1, 1, 2]])
        np.testing.assert_array_equal(box[0], [5, 5, 10, 12])

    @pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 3, 4)])
    def test_tensors_of_any_leading_shape(self, shape):
        box = torch.rand(shape)
        out = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        assert out.shape == shape and out.dtype == box.dtype
        torch.testing.assert_close(out[..., 2:], box[..., :2] + box[..., 2:])

    def test_plain_ints_as_modes(self):
        assert BoxMode.convert([1, 2, 3, 4], 1, 0) == [1, 2, 4, 6]

    @pytest.mark.parametrize(
        ("angle", "want"),
        [(0, [35, 40, 65, 60]), (90, [40, 35, 60, 65]), (-180, [35, 40, 65, 60])],
    )
    def test_rotated_box_gets_the_box_around_it(self, angle, want):
        box = [50.0, 50.0, 30.0, 20.0, float(angle)]
        assert BoxMode.convert(box, BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS) == pytest.approx(want)
        for dtype in (torch.float32, torch.float64):
            out = BoxMode.convert(torch.tensor([box], dtype=dtype), BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
            assert out.dtype == dtype
            torch.testing.assert_close(out, torch.tensor([want], dtype=dtype))

    def test_rotation_by_45_degrees(self):
        out = BoxMode.convert(np.array([[0, 0, 2, 2, 45.0]]), BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
        np.testing.assert_allclose(out, [[-(2**0.5), -(2**0.5), 2**0.5, 2**0.5]])

    def test_to_rotated(self):
        assert BoxMode.convert((5.0, 6.0, 4.0, 2.0), BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS) == (7.0, 7.0, 4.0, 2.0, 0.0)

    def test_what_cannot_be_converted(self):
        with pytest.raises(AssertionError, match="relative"):
            BoxMode.convert([0, 0, 1, 1], BoxMode.XYXY_REL, BoxMode.XYXY_ABS)
        with pytest.raises(NotImplementedError, match="XYXY_ABS to BoxMode.XYWHA_ABS"):
            BoxMode.convert([0, 0, 1, 1], BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS)
        with pytest.raises(AssertionError, match="4 or 5 numbers"):
            BoxMode.convert([0, 0, 1], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        with pytest.raises(AssertionError, match="have 5 numbers"):
            BoxMode.convert(np.zeros((2, 4)), BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)


class TestBoxes:
    @pytest.mark.parametrize("empty", [[], torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 5)])
    def test_empty(self, empty):
        boxes = Boxes(empty)
        assert boxes.tensor.shape == (0, 4) and boxes.tensor.dtype == torch.float32 and len(boxes) == 0
        boxes.clip((3, 3))
        assert boxes.area().shape == (0,) and boxes.nonempty().shape == (0,) and boxes.get_centers().shape == (0, 2)
        assert len(Boxes.cat([])) == 0 and len(Boxes.cat([boxes, boxes])) == 0 and list(boxes) == []

    def test_wrong_shape(self):
        with pytest.raises(AssertionError):
            Boxes(torch.zeros(4))
        with pytest.raises(AssertionError):
            Boxes(torch.zeros(2, 5))

    def test_area_clip_nonempty(self):
        boxes = Boxes([[-5, -6, 4, 5], [3, 3, 30, 40], [7, 7, 7, 9]])
        assert boxes.area().tolist() == [99, 999, 0]
        original = boxes.tensor
        boxes.clip((10, 20))
        assert boxes.tensor.tolist() == [[0, 0, 4, 5], [3, 3, 20, 10], [7, 7, 7, 9]]
        assert original[0, 0] == -5
        assert boxes.nonempty().tolist() == [True, True, False]
        assert boxes.nonempty(threshold=4.5).tolist() == [False, True, False]

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_clip_refuses_what_is_not_finite(self, bad):
        with pytest.raises(AssertionError, match="infinite or NaN"):
            Boxes([[0, 0, bad, 1]]).clip((10, 10))

    def test_indexing(self):
        boxes = Boxes(torch.arange(12.0).reshape(3, 4))
        assert boxes[1].tensor.tolist() == [[4, 5, 6, 7]]
        assert boxes[-1].tensor.tolist() == [[8, 9, 10, 11]]
        assert len(boxes[1:]) == 2 and len(boxes[torch.tensor([True, False, True])]) == 2
        assert boxes[torch.tensor([2, 0])].tensor[:, 0].tolist() == [8, 0]
        with pytest.raises(AssertionError):
            boxes[:, 0]
        assert [box.shape for box in boxes] == [(4,)] * 3

    def test_inside_centers_scale(self):
        boxes = Boxes([[0, 0, 9, 4], [-2, 0, 9, 4], [0, 0, 12, 4]])
        assert boxes.inside_box((5, 10)).tolist() == [True, False, False]
        assert boxes.inside_box((5, 10), boundary_threshold=3).tolist() == [True, True, True]
        assert boxes.get_centers().tolist() == [[4.5, 2], [3.5, 2], [6, 2]]
        boxes.scale(2, 0.5)
        assert boxes.tensor[1].tolist() == [-4, 0, 18, 2]

    def test_clone_and_cat(self):
        boxes = Boxes([[0, 0, 9, 4]])
        copy = boxes.clone()
        copy.tensor += 1
        assert Boxes.cat([boxes, copy]).tensor.tolist() == [[0, 0, 9, 4], [1, 1, 10, 5]]
        assert boxes.to(torch.device("cpu")).device == torch.device("cpu")
        for wrong in (boxes, [boxes.tensor]):
            with pytest.raises(AssertionError, match="list of Boxes"):
                Boxes.cat(wrong)

    def test_gradient_flows_through_an_empty_one(self):
        x = torch.zeros(0, 4, requires_grad=True)
        Boxes(x).area().sum().backward()
        assert x.grad.shape == (0, 4)

    def test_scripts(self):
        def use(x: torch.Tensor):
            boxes = Boxes(x)
            boxes.clip((10, 10))
            return boxes.to(torch.device("cpu")).tensor, pairwise_iou(boxes, Boxes.cat([boxes, boxes])), len(boxes)

        x = torch.tensor([[0, 0, 5, 5], [2, 2, 20, 20.0]])
        torch.testing.assert_close(torch.jit.script(use)(x), use(x))


class TestOverlaps:
    boxes1 = Boxes([[0, 0, 1, 1], [0, 0, 1, 1], [3, 3, 3, 3]])
    boxes2 = Boxes([[0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0.5, 1.5, 1.5], [3, 3, 3, 3]])

    def test_iou(self):
        want = torch.tensor([[1, 0.5, 0.25 / 1.75, 0]] * 2 + [[0, 0, 0, 0]])
        torch.testing.assert_close(pairwise_iou(self.boxes1, self.boxes2), want)

    def test_ioa(self):
        want = torch.tensor([[1, 1, 0.25, 0]] * 2 + [[0, 0, 0, 0.0]])
        torch.testing.assert_close(pairwise_ioa(self.boxes1, self.boxes2), want)

    def test_intersection(self):
        want = torch.tensor([[1, 0.5, 0.25, 0]] * 2 + [[0, 0, 0, 0.0]])
        torch.testing.assert_close(pairwise_intersection(self.boxes1, self.boxes2), want)

    @pytest.mark.parametrize("function", [pairwise_iou, pairwise_ioa, pairwise_intersection])
    @pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (2, 0)])
    def test_none(self, function, n, m):
        assert function(Boxes(torch.rand(n, 4)), Boxes(torch.rand(m, 4))).shape == (n, m)

    def test_gradient(self):
        box = torch.tensor([[0, 0, 2, 2.0]], requires_grad=True)
        pairwise_iou(Boxes(box), Boxes([[1, 0, 3, 2]])).sum().backward()
        # d(iou) / d(x1) at intersection 2 and union 6: (2 * 6 - 2 * 0) / 36
        torch.testing.assert_close(box.grad[0, 2], torch.tensor(1 / 3))

    def test_matched_is_the_diagonal(self):
        torch.manual_seed(0)
        corner1, corner2 = torch.rand(20, 2), torch.rand(20, 2)
        boxes1 = Boxes(torch.cat([corner1, corner1 + torch.rand(20, 2)], 1))
        boxes2 = Boxes(torch.cat([corner2, corner2 + torch.rand(20, 2)], 1))
        torch.testing.assert_close(matched_pairwise_iou(boxes1, boxes2), pairwise_iou(boxes1, boxes2).diagonal())
        assert matched_pairwise_iou(Boxes([]), Boxes([])).shape == (0,)
        with pytest.raises(AssertionError, match="same number"):
            matched_pairwise_iou(boxes1, boxes2[:3])

    def test_point_distances(self):
        distance = pairwise_point_box_distance(torch.tensor([[1.0, 2.0]]), Boxes([[0, 0, 4, 8], [2, 3, 4, 8]]))
        assert distance.tolist() == [[[1, 2, 3, 6], [-1, -1, 3, 6]]]
        assert pairwise_point_box_distance(torch.zeros(0, 2), Boxes([[0, 0, 4, 8]])).shape == (0, 1, 4)
