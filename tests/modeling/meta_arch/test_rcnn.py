import copy

import pytest
import torch

from det2lite.modeling import build_model
from det2lite.structures import Boxes, Instances
from det2lite.utils.events import EventStorage

ALL_SCORES = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 5]


def build(tiny_config, *overrides):
    torch.manual_seed(0)
    return build_model(tiny_config(*overrides))


def without_ground_truth(batch):
    return [{"image": x["image"], "height": 2 * x["image"].shape[1], "width": 2 * x["image"].shape[2]} for x in batch]


def test_a_step_of_training_reaches_every_parameter(tiny_config, tiny_batch):
    model = build(tiny_config)
    losses = model(tiny_batch)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_few_steps_learn(tiny_config, tiny_batch):
    channels = ["MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32]
    model = build(tiny_config, "MODEL.RESNETS.NORM", "GN", *channels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for _ in range(8):
        loss = sum(model(tiny_batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.7 * totals[0]


def test_inference_gives_the_wanted_size(tiny_config, tiny_batch):
    model = build(tiny_config, *ALL_SCORES).eval()
    with torch.no_grad():
        outputs = model(without_ground_truth(tiny_batch))
    for output, inputs in zip(outputs, tiny_batch, strict=True):
        found = output["instances"]
        size = tuple(2 * side for side in inputs["image"].shape[1:])
        assert found.image_size == size
        assert 0 < len(found) <= 5
        assert found.pred_masks.shape == (len(found), *size)
        assert (found.pred_boxes.tensor.amax(dim=0) <= torch.tensor([*size[::-1], *size[::-1]])).all()


def test_batch_equals_single_images(tiny_config, tiny_batch):
    # one size, as padding would change what convolutions see at the edge
    model = build(tiny_config, *ALL_SCORES).eval()
    first = {"image": tiny_batch[0]["image"][:, :64, :64]}
    second = {"image": tiny_batch[1]["image"][:, :64, :64]}
    with torch.no_grad():
        batch = [output["instances"] for output in model([first, second])]
        singles = [model([inputs])[0]["instances"] for inputs in (first, second)]
    for found, single in zip(batch, singles, strict=True):
        torch.testing.assert_close(found.pred_boxes.tensor, single.pred_boxes.tensor, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-3, atol=1e-4)
        assert found.pred_classes.tolist() == single.pred_classes.tolist()


def test_no_ground_truth_in_the_whole_batch(tiny_config, tiny_batch):
    model = build(tiny_config)
    for inputs in tiny_batch:
        inputs["instances"] = inputs["instances"][torch.zeros(0, dtype=torch.int64)]
    losses = model(tiny_batch)
    assert losses["loss_box_reg"].item() == losses["loss_mask"].item() == losses["loss_rpn_loc"].item() == 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_some_images_have_no_ground_truth(tiny_config, tiny_batch):
    tiny_batch[1]["instances"] = tiny_batch[1]["instances"][:0]
    losses = build(tiny_config)(tiny_batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_mask"].item() > 0


def test_bfloat16(tiny_config, tiny_batch):
    model = build(tiny_config, *ALL_SCORES)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(tiny_batch)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    exact = build(tiny_config, *ALL_SCORES)
    for name, loss in exact(tiny_batch).items():
        if name.startswith("loss_rpn"):  # the sample of the others is drawn among different proposals
            assert losses[name].item() == pytest.approx(loss.item(), rel=0.1)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for found in model.eval().inference(without_ground_truth(tiny_batch), do_postprocess=False):
            assert (found.pred_boxes.tensor.dtype, found.scores.dtype) == (torch.float32, torch.float32)
            assert len(found) > 0
        assert model(without_ground_truth(tiny_batch))[0]["instances"].pred_masks.dtype == torch.bool


def test_inference_without_postprocessing(tiny_config, tiny_batch):
    model = build(tiny_config, *ALL_SCORES).eval()
    with torch.no_grad():
        found = model.inference(without_ground_truth(tiny_batch), do_postprocess=False)
    assert [f.image_size for f in found] == [(64, 96), (80, 64)]
    assert found[0].pred_masks.shape == (len(found[0]), 1, 28, 28)
    with pytest.raises(RuntimeError, match="eval"):
        model.train().inference(tiny_batch)


def test_detected_instances_get_masks(tiny_config, tiny_batch):
    model = build(tiny_config).eval()
    given = Instances((64, 96), pred_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40]])), pred_classes=torch.tensor([1]))
    nothing = Instances((80, 64), pred_boxes=Boxes(torch.zeros(0, 4)), pred_classes=torch.zeros(0).long())
    with torch.no_grad():
        first, second = model.inference(without_ground_truth(tiny_batch), detected_instances=[given, nothing])
    assert first["instances"].pred_boxes.tensor.tolist() == [[16, 16, 80, 80]]
    assert first["instances"].pred_masks.shape == (1, 128, 192)
    assert second["instances"].pred_masks.shape == (0, 160, 128)


def test_an_image_of_one_pixel(tiny_config):
    model = build(tiny_config).eval()
    with torch.no_grad():
        (output,) = model([{"image": torch.zeros(3, 1, 1), "height": 1, "width": 1}])
    assert output["instances"].image_size == (1, 1)


def test_maps_that_are_not_finite_give_no_detections(tiny_config):
    model = build(tiny_config, *ALL_SCORES).eval()
    images = model.preprocess_image([{"image": torch.zeros(3, 64, 64)}])
    proposal = Instances((64, 64), proposal_boxes=Boxes(torch.tensor([[10.0, 10, 20, 20]])))
    proposal.objectness_logits = torch.ones(1)
    for value in (float("inf"), float("nan")):
        features = {name: torch.full_like(x, value) for name, x in model.backbone(images.tensor).items()}
        with torch.no_grad():
            assert len(model.proposal_generator(images, features)[0][0]) == 0
            assert len(model.roi_heads(images, features, [proposal])[0][0]) == 0


def test_precomputed_proposals(tiny_config, tiny_batch):
    overrides = ["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", *ALL_SCORES]
    model = build(tiny_config, *overrides)
    assert model.proposal_generator is None
    with pytest.raises(ValueError, match="LOAD_PROPOSALS"):
        model(tiny_batch)
    for inputs in tiny_batch:
        boxes = inputs["instances"].gt_boxes
        proposals = Instances(inputs["instances"].image_size, proposal_boxes=boxes)
        proposals.objectness_logits = torch.zeros(len(boxes))
        inputs["proposals"] = proposals
    assert set(model(tiny_batch)) == {"loss_cls", "loss_box_reg", "loss_mask"}
    assert len(model.eval()(tiny_batch)[0]["instances"]) > 0


def test_proposal_network(tiny_config, tiny_batch):
    model = build(tiny_config, "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    losses = model(tiny_batch)
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    outputs = model.eval()(without_ground_truth(tiny_batch))
    assert [output["proposals"].image_size for output in outputs] == [(128, 192), (160, 128)]
    assert all(0 < len(output["proposals"]) <= 20 for output in outputs)


@pytest.mark.parametrize("period", [0, 2])
def test_pictures_every_few_iterations(tiny_config, tiny_batch, period):
    model = build(tiny_config, "VIS_PERIOD", period)
    names = []
    for iteration in range(2):
        with EventStorage(iteration) as storage:
            model(tiny_batch)
            names.append([name for name, _, _ in storage._vis_data])
            if storage._vis_data:
                picture = storage._vis_data[-1][1]
                assert picture.shape == (3, 64, 2 * 96)
    proposals, masks = "Left: GT bounding boxes;  Right: Predicted proposals", "Left: mask prediction;   Right: mask GT"
    assert names == ([[masks, proposals], []] if period else [[], []])


def test_pixels_are_normalised_and_no_state(tiny_config):
    cfg = tiny_config("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], "MODEL.PIXEL_STD", [1.0, 2.0, 4.0])
    model = build_model(cfg)
    images = model.preprocess_image([{"image": torch.full((3, 40, 33), 5, dtype=torch.uint8)}])
    assert images.tensor.shape == (1, 3, 64, 64)
    assert images.tensor[0, :, 39, 32].tolist() == [4, 1.5, 0.5]
    assert images.tensor[0, :, 40:].count_nonzero() == 0
    assert images.image_sizes == [(40, 33)]
    assert not any(name.startswith("pixel") for name in model.state_dict())
    assert model.device == torch.device("cpu")


def test_copies_are_independent(tiny_config, tiny_batch):
    model = build(tiny_config, *ALL_SCORES).eval()
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    inputs = without_ground_truth(tiny_batch)
    with torch.no_grad():
        assert other.backbone(torch.rand(1, 3, 64, 64))["p2"].count_nonzero() == 0
        assert model(inputs)[0]["instances"].scores.std() > other(inputs)[0]["instances"].scores.std()
