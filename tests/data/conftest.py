"""Data sets registered for one test."""

import pytest

from det2lite.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def register():
    names = []

    def add(name, samples, **metadata):
        DatasetCatalog.register(name, (lambda: samples))
        MetadataCatalog.get(name).set(**metadata)
        names.append(name)
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
