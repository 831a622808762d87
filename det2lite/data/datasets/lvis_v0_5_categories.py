"""The categories of LVIS v0.5, under Detectron2's path; definitions and further synonyms are not kept here."""

from det2lite.data.datasets.lvis_meta import lvis_category_dicts

LVIS_CATEGORIES = lvis_category_dicts("v0.5")
