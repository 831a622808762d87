import pytest
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import build_detection_train_loader
from det2lite.data.preflight.truth import MissingTruth, stop_on_missing_truth
from det2lite.data.sample_store import StoredSamples, stored_rows
from det2lite.utils.errors import UserError

BOXES = {"file_name": "a.jpg", "height": 4, "width": 4, "image_id": 1, "annotations": []}
MAP = {"file_name": "b.jpg", "height": 4, "width": 4, "image_id": 2, "sem_seg_file_name": "b.png"}
SEGMENTS = {**MAP, "pan_seg_file_name": "c.png", "segments_info": []}
BOTH = {**BOXES, **MAP}


@pytest.mark.parametrize(
    ("architecture", "samples"),
    [
        ("GeneralizedRCNN", [BOXES, BOTH]),
        ("RetinaNet", [BOXES]),
        ("SemanticSegmentor", [MAP, SEGMENTS]),
        ("PanopticFPN", [BOTH]),
        ("SomebodysModel", [{}]),
        ("PanopticFPN", []),
    ],
)
def test_nothing_is_missing(architecture, samples):
    stop_on_missing_truth(["set"], samples, architecture)


@pytest.mark.parametrize(
    ("architecture", "samples", "message"),
    [
        ("PanopticFPN", [BOXES], "data set 'one' [+] 'two': image a.jpg has no 'sem_seg_file_name', .* load_sem_seg"),
        ("PanopticFPN", [BOTH, SEGMENTS], "image b.jpg has no 'annotations', .* datasets/panoptic_to_instances.py"),
        ("FCOS", [BOXES, MAP], "image b.jpg has no 'annotations', which FCOS learns from; give it the list"),
        ("ProposalNetwork", [MAP], "no 'annotations', which ProposalNetwork learns from"),
        ("SemanticSegmentor", [BOXES], "no 'sem_seg_file_name', which SemanticSegmentor learns from"),
    ],
)
def test_what_is_missing_is_named(architecture, samples, message):
    with pytest.raises(MissingTruth, match=message) as error:
        stop_on_missing_truth(["one", "two"], samples, architecture)
    assert isinstance(error.value, UserError) and "\n" not in str(error.value)


def test_samples_on_disk_stay_there():
    samples = StoredSamples([BOXES, BOXES])
    stop_on_missing_truth(["set"], samples, "GeneralizedRCNN")
    with pytest.raises(MissingTruth, match="image a.jpg has no 'sem_seg_file_name'"):
        stop_on_missing_truth(["set"], samples, "PanopticFPN")
    assert stored_rows(samples) is not None, "none was made into a dict of the list's"


def test_panoptic_fpn_on_segments_alone_stops_before_a_model_is_built(register, tmp_path):
    path = tmp_path / "b.png"
    Image.new("RGB", (4, 4)).save(path)
    sample = SEGMENTS | {"file_name": str(path), "sem_seg_file_name": str(path), "pan_seg_file_name": str(path)}
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.DATASETS.TRAIN = (register("det2lite_test_segments", [sample]),)
    with pytest.raises(MissingTruth, match="data set 'det2lite_test_segments': image .*b.png has no 'annotations'"):
        build_detection_train_loader(cfg)
    # a mapper of one's own may make instances of the segments
    assert build_detection_train_loader(cfg, mapper=lambda sample: sample) is not None
