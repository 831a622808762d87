"""In how many training images of LVIS v1 each category occurs, under Detectron2's path.

The numbers are read from lvis/lvis_v1_train.json below the data root when the first one is asked for.
"""

from det2lite.data.datasets.lvis import get_lvis_instances_meta

LVIS_CATEGORY_IMAGE_COUNT = get_lvis_instances_meta("lvis_v1")["class_image_count"]
