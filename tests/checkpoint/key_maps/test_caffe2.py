import numpy as np
import pytest
import torch

from det2lite.checkpoint.key_maps import caffe2

BLOBS = {
    "conv1_w": "stem.conv1.weight",
    "conv1_b": "stem.conv1.bias",
    "res_conv1_bn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_b": "stem.conv1.norm.bias",
    "conv1_gn_s": "stem.conv1.norm.weight",
    "res2_0_branch1_w": "res2.0.shortcut.weight",
    "res2_0_branch1_bn_b": "res2.0.shortcut.norm.bias",
    "res4_22_branch2a_w": "res4.22.conv1.weight",
    "res4_22_branch2b_bn_s": "res4.22.conv2.norm.weight",
    "res5_2_branch2c_gn_b": "res5.2.conv3.norm.bias",
    "res5_2_branch2c_bn_rm": "res5.2.conv3.norm.running_mean",
    "res5_2_branch2c_bn_riv": "res5.2.conv3.norm.running_var",
    "fc1000_w": "linear.weight",
    "fpn_inner_res5_2_sum_w": "fpn_lateral5.weight",
    "fpn_inner_res4_5_sum_lateral_b": "fpn_lateral4.bias",
    "fpn_inner_res3_3_sum_lateral_gn_s": "fpn_lateral3.norm.weight",
    "fpn_res2_2_sum_w": "fpn_output2.weight",
    "fpn_7_b": "top_block.p7.bias",
    "conv_rpn_w": "proposal_generator.rpn_head.conv.weight",
    "conv_rpn_fpn2_b": "proposal_generator.rpn_head.conv.bias",
    "rpn_cls_logits_fpn2_w": "proposal_generator.rpn_head.objectness_logits.weight",
    "rpn_bbox_pred_w": "proposal_generator.rpn_head.anchor_deltas.weight",
    "retnet_cls_conv_n0_fpn3_w": "head.cls_subnet.0.weight",
    "retnet_bbox_conv_n3_fpn3_b": "head.bbox_subnet.6.bias",
    "retnet_cls_pred_fpn3_w": "head.cls_score.weight",
    "retnet_bbox_pred_fpn3_b": "head.bbox_pred.bias",
    "head_conv4_gn_s": "roi_heads.box_head.conv4.norm.weight",
    "fc6_w": "roi_heads.box_head.fc1.weight",
    "fc7_b": "roi_heads.box_head.fc2.bias",
    "cls_score_w": "roi_heads.box_predictor.cls_score.weight",
    "_[mask]_fcn3_w": "roi_heads.mask_head.mask_fcn3.weight",
    "_mask_fcn4_gn_b": "roi_heads.mask_head.mask_fcn4.norm.bias",
    "conv5_mask_b": "roi_heads.mask_head.deconv.bias",
    "mask_fcn_logits_w": "roi_heads.mask_head.predictor.weight",
    "conv_fcn8_w": "roi_heads.keypoint_head.conv_fcn8.weight",
    "kps_score_lowres_w": "roi_heads.keypoint_head.score_lowres.weight",
    "lr": "lr",
    "some_other_w": "some_other_w",
}


@pytest.mark.parametrize("blob, name", BLOBS.items())
def test_names(blob, name):
    assert caffe2.convert_name(blob) == name


@pytest.mark.parametrize("as_type", [np.asarray, torch.as_tensor])
def test_background_comes_last_or_goes(as_type):
    weights, origins = caffe2.convert_weights(
        {
            "cls_score_b": as_type([9.0, 1.0, 2.0]),
            "bbox_pred_b": as_type([9.0] * 4 + [1.0] * 4 + [2.0] * 4),
            "mask_fcn_logits_b": as_type([9.0, 1.0, 2.0]),
            "rpn_cls_logits_b": as_type([5.0, 6.0]),
        }
    )
    assert weights["roi_heads.box_predictor.cls_score.bias"].tolist() == [1, 2, 9]
    assert weights["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [1] * 4 + [2] * 4
    assert weights["roi_heads.mask_head.predictor.bias"].tolist() == [1, 2]
    assert weights["proposal_generator.rpn_head.objectness_logits.bias"].tolist() == [5, 6]
    assert origins["roi_heads.mask_head.predictor.bias"] == "mask_fcn_logits_b"


def test_one_box_and_one_mask_for_all_classes_stay():
    weights, _ = caffe2.convert_weights({"bbox_pred_b": np.arange(4), "mask_fcn_logits_b": np.arange(1)})
    assert weights["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [0, 1, 2, 3]
    assert weights["roi_heads.mask_head.predictor.bias"].tolist() == [0]


def test_two_blobs_of_one_name_and_a_number():
    weights, _ = caffe2.convert_weights({"fc1000_w": np.zeros(1), "pred_w": np.ones(1), "cls_score_w": np.float32(1)})
    assert weights["linear.weight"].tolist() == [0] and weights["pred_w"].tolist() == [1]
    assert caffe2.convert_weights({}) == ({}, {})
