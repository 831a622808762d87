"""Data sets by name, their samples in one standard format, and loaders that turn them into batches."""

from det2lite.data import transforms  # isort: skip  everything below stands on it
from det2lite.data.build import (
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from det2lite.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from det2lite.data.common import DatasetFromList, MapDataset, ToIterableDataset
from det2lite.data.dataset_mapper import DatasetMapper

from det2lite.data import datasets, samplers  # isort: skip  registers the built-in data sets

__all__ = [
    "DatasetCatalog",
    "DatasetFromList",
    "DatasetMapper",
    "MapDataset",
    "Metadata",
    "MetadataCatalog",
    "ToIterableDataset",
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "datasets",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "samplers",
    "transforms",
]
