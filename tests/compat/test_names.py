"""Names that projects import from Detectron2 beside those of its documented interface."""

import importlib

import pytest

from det2lite import compat

NAMES = {
    "checkpoint.c2_model_loading": "convert_basic_c2_names _longest_common_prefix _longest_common_prefix_str",
    "config.compat": "upgrade_config downgrade_config guess_version",
    "config.config": "_get_args_from_config _called_with_cfg",
    "data.common": "NumpySerializedList TorchSerializedList _TorchSerializedList",
    "data.datasets.builtin": "_PREDEFINED_SPLITS_COCO _PREDEFINED_SPLITS_LVIS",
    "data.datasets.builtin_meta": "_get_coco_instances_meta _get_coco_panoptic_separated_meta _get_builtin_metadata",
    "data.datasets.lvis": "_get_lvis_instances_meta_v0_5 _get_lvis_instances_meta_v1",
    "data.datasets.lvis_v0_5_categories": "LVIS_CATEGORIES",
    "data.datasets.lvis_v1_categories": "LVIS_CATEGORIES",
    "data.datasets.lvis_v1_category_image_count": "LVIS_CATEGORY_IMAGE_COUNT",
    "data.detection_utils": "_apply_exif_orientation",
    "data.transforms.augmentation": "_transform_to_aug",
    "data.transforms.transform": "HFlip_rotated_box Resize_rotated_box",
    "engine.launch": "_find_free_port",
    "engine.defaults": "_highlight _try_get_key",
    "evaluation.coco_evaluation": (
        "_evaluate_predictions_on_coco _evaluate_box_proposals COCOeval_opt COCOevalMaxDets"
    ),
    "evaluation.panoptic_evaluation": "_print_panoptic_results",
    "evaluation.pascal_voc_evaluation": "voc_eval voc_ap parse_rec",
    "evaluation.rotated_coco_evaluation": "RotatedCOCOeval",
    "layers": "check_if_dynamo_compiling",
    "layers.deform_conv": "deform_conv modulated_deform_conv",
    "layers.mask_ops": "pad_masks scale_boxes paste_mask_in_image_old _do_paste_mask",
    "modeling.anchor_generator": "_create_grid_offsets _broadcast_params",
    "modeling.box_regression": "_DEFAULT_SCALE_CLAMP _dense_box_regression_loss",
    "modeling.poolers": "assign_boxes_to_levels convert_boxes_to_pooler_format",
    "modeling.proposal_generator.proposal_utils": "add_ground_truth_to_proposals_single_image",
    "modeling.roi_heads.rotated_fast_rcnn": "fast_rcnn_inference_single_image_rotated",
    "solver.lr_scheduler": "_get_warmup_factor_at_iter",
    "structures.boxes": "matched_boxlist_iou",
    "utils.comm": "_get_global_gloo_group",
    "utils.develop": "create_dummy_class create_dummy_func",
    "utils.logger": "_log_api_usage",
    "utils.registry": "_convert_target_to_string",
    "utils.testing": "skipIfOnCPUCI",
    "utils.visualizer": "_PanopticPrediction _create_text_labels",
}


@pytest.fixture
def alias():
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.parametrize("module", NAMES)
def test_names_of_projects(alias, module):
    theirs, ours = (importlib.import_module(f"{package}.{module}") for package in ("detectron2", "det2lite"))
    assert theirs is ours
    assert [name for name in NAMES[module].split() if not hasattr(ours, name)] == []
