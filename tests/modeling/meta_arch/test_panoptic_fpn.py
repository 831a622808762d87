import pytest
import torch

from det2lite.modeling import build_model
from det2lite.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.structures import Boxes, Instances, ROIMasks

PANOPTIC = (
    "MODEL.META_ARCHITECTURE",
    "PanopticFPN",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    4,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM",
    32,
)
CASCADE = ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True)


def instances(scores, classes, *columns, size=(4, 10)):
    """Instances that cover columns [start, end)."""
    masks = torch.zeros(len(scores), *size, dtype=torch.bool)
    for mask, (start, end) in zip(masks, columns, strict=True):
        mask[:, start:end] = True
    return Instances(
        size, scores=torch.tensor(scores), pred_classes=torch.tensor(classes, dtype=torch.int64), pred_masks=masks
    )


def test_instances_by_score_and_overlap():
    found = instances([0.6, 0.9, 0.8, 0.3, 0.7], [5, 6, 7, 8, 9], (3, 7), (0, 4), (2, 4), (8, 10), (5, 5))
    panoptic, segments = combine_semantic_and_instance_outputs(found, torch.zeros(4, 10, dtype=torch.long), 0.5, 1, 0.5)
    # the second is best; the third lies inside it; the first shares a quarter; the fourth scores too little; the
    # last covers nothing
    assert panoptic[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 0, 0, 0] and panoptic.dtype == torch.int32
    assert segments == [
        {"id": 1, "isthing": True, "score": pytest.approx(0.9), "category_id": 6, "instance_id": 1},
        {"id": 2, "isthing": True, "score": pytest.approx(0.6), "category_id": 5, "instance_id": 0},
    ]


def test_overlap_up_to_the_threshold_is_kept():
    found = instances([0.9, 0.8], [0, 0], (0, 4), (2, 6))
    semantic = torch.zeros(4, 10, dtype=torch.long)
    assert len(combine_semantic_and_instance_outputs(found, semantic, 0.5, 1, 0.5)[1]) == 2
    assert len(combine_semantic_and_instance_outputs(found, semantic, 0.49, 1, 0.5)[1]) == 1


def test_stuff_fills_the_rest():
    semantic = torch.zeros(4, 10, dtype=torch.long)
    semantic[:, 2:5], semantic[:, 5:9], semantic[:, 9] = 3, 1, 2
    found = instances([0.9], [4], (0, 4))
    panoptic, segments = combine_semantic_and_instance_outputs(found, semantic, 0.5, 4, 0.5)
    assert panoptic[1].tolist() == [1, 1, 1, 1, 4, 2, 2, 2, 2, 3]
    assert segments[1:] == [
        {"id": 2, "isthing": False, "category_id": 1, "area": 16},
        {"id": 3, "isthing": False, "category_id": 2, "area": 4},
        {"id": 4, "isthing": False, "category_id": 3, "area": 4},
    ]
    panoptic, segments = combine_semantic_and_instance_outputs(found, semantic, 0.5, 5, 0.5)
    assert panoptic[1].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2, 0] and len(segments) == 2


def test_covered_stuff_is_no_segment():
    semantic = torch.full((4, 10), 2)
    _, segments = combine_semantic_and_instance_outputs(instances([0.9], [4], (0, 10)), semantic, 0.5, 0, 0.5)
    assert [s["isthing"] for s in segments] == [True]


def test_nothing_at_all():
    panoptic, segments = combine_semantic_and_instance_outputs(
        instances([], [], size=(1, 1)), torch.zeros(1, 1, dtype=torch.long), 0.5, 1, 0.5
    )
    assert panoptic.tolist() == [[0]] and segments == []
    panoptic, segments = combine_semantic_and_instance_outputs(
        instances([], [], size=(1, 1)), torch.ones(1, 1, dtype=torch.long), 0.5, 1, 0.5
    )
    assert panoptic.tolist() == [[1]] and segments == [{"id": 1, "isthing": False, "category_id": 1, "area": 1}]


def test_training(tiny_config, tiny_batch):
    model = build_model(tiny_config(*PANOPTIC)).train()
    with pytest.raises(ValueError, match="needs 'sem_seg'"):
        model(tiny_batch)
    for inputs in tiny_batch:
        inputs["sem_seg"] = torch.ones(inputs["image"].shape[1:], dtype=torch.int64)
    losses = model(tiny_batch)
    assert set(losses) == {"loss_sem_seg", "loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_prediction(tiny_config, tiny_batch):
    overrides = ("MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT", 1)
    model = build_model(tiny_config(*PANOPTIC, *overrides)).eval()
    tiny_batch[0].update(height=32, width=48)
    with torch.no_grad():
        output = model(tiny_batch)[0]
        assert set(output) == {"sem_seg", "instances", "panoptic_seg"}
        assert output["sem_seg"].shape == (4, 32, 48)
        panoptic, segments = output["panoptic_seg"]
        assert panoptic.shape == (32, 48) and panoptic.max() == len(segments)
        raw, logits = model.inference(tiny_batch, do_postprocess=False)
        assert len(raw) == 2 and logits.shape == (2, 4, 96, 96)
        apart = build_model(tiny_config(*PANOPTIC, "MODEL.PANOPTIC_FPN.COMBINE.ENABLED", False)).eval()
        assert set(apart(tiny_batch)[0]) == {"sem_seg", "instances"}


@pytest.mark.parametrize("heads", [(), CASCADE])
def test_weight_of_the_instances_losses(tiny_config, heads):
    model = build_model(tiny_config(*PANOPTIC, *heads, "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT", 0.5))
    predictors = model.roi_heads.box_predictor if heads else [model.roi_heads.box_predictor]
    for predictor in predictors:
        assert predictor.loss_weight == {"loss_cls": 0.5, "loss_box_reg": 0.5}
    assert model.roi_heads.mask_head.loss_weight == 0.5


def soft_instances(count, seed=0):
    """Instances on a model's input of 60 x 80 pixels, some boxes of which reach beyond it or have no area."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 4, generator=generator) * 90 - 5
    boxes = torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])], 1)
    masks = torch.rand(count, 1, 14, 14, generator=generator)
    scores, classes = torch.rand(count, generator=generator), torch.arange(count)
    return Instances((60, 80), pred_boxes=Boxes(boxes), pred_masks=masks, scores=scores, pred_classes=classes)


@pytest.mark.parametrize("count", [0, 1, 12])
@pytest.mark.parametrize("rows_at_once", [1 << 23, 200])
def test_masks_that_are_pasted_one_by_one_make_the_same_segments(monkeypatch, count, rows_at_once):
    monkeypatch.setattr("det2lite.structures.mask_paste.PASTED_AT_ONCE", rows_at_once)
    semantic = torch.arange(200).expand(150, 200) // 50
    thresholds = (0.8, 10, 0.3)
    dense = detector_postprocess(soft_instances(count), 150, 200)
    small = detector_postprocess(soft_instances(count), 150, 200, paste_masks=False)
    assert isinstance(small.pred_masks, ROIMasks)
    expected, segments = combine_semantic_and_instance_outputs(dense, semantic, *thresholds)
    found = combine_semantic_and_instance_outputs(small, semantic, *thresholds)
    assert torch.equal(found[0], expected) and found[1] == segments
    assert count < 2 or sum(segment["isthing"] for segment in segments) > 1


def test_compact_output_says_the_same(tiny_config, tiny_batch):
    model = build_model(tiny_config(*PANOPTIC, "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT", 1)).eval()
    for inputs in tiny_batch:
        inputs.update(height=70, width=90)
    with torch.no_grad():
        outputs = model(tiny_batch)
        for output, (raw, logits) in zip(
            outputs, zip(*model.inference(tiny_batch, do_postprocess=False), strict=True), strict=True
        ):
            compact = model.compact_output(raw, logits, 70, 90)
            assert torch.equal(compact["sem_seg_labels"], output["sem_seg"].argmax(dim=0))
            assert torch.equal(compact["panoptic_seg"][0], output["panoptic_seg"][0])
            assert compact["panoptic_seg"][1] == output["panoptic_seg"][1]
            assert isinstance(compact["instances"].pred_masks, ROIMasks) and len(compact["instances"]) == len(
                output["instances"]
            )
