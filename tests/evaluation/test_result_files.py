"""Predictions are written so that torch and json read what was given."""

import gc
import io
import json
import math

import numpy as np
import pytest
import torch

from det2lite.evaluation.result_files import FileSaver, no_garbage_collection, results_as_json, save_predictions

PREDICTIONS = [
    {"image_id": 7, "instances": [{"image_id": 7, "bbox": [1.5, 2.0, 3.25, 1e-07], "score": 0.1, "category_id": 3}]},
    {"image_id": "a/ü.jpg", "instances": []},
]


@pytest.mark.parametrize("predictions", [[], PREDICTIONS, PREDICTIONS * 1000])
def test_saved_predictions_are_loaded_by_torch(predictions):
    file = io.BytesIO()
    save_predictions(predictions, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == predictions


def test_tensors_are_saved_too():
    file = io.BytesIO()
    save_predictions([{"image_id": 1, "proposals": torch.arange(3)}], file)
    file.seek(0)
    assert torch.load(file, weights_only=True)[0]["proposals"].tolist() == [0, 1, 2]


def test_numpy_numbers_are_saved_too():
    file = io.BytesIO()
    save_predictions([{"score": np.float64(0.5)}], file)
    file.seek(0)
    assert torch.load(file, weights_only=False) == [{"score": 0.5}]


def test_json_holds_the_same_numbers():
    results = PREDICTIONS[0]["instances"] * 3
    assert json.loads(results_as_json(results)) == results
    assert results_as_json([]) == b"[]"


def test_json_of_numbers_that_are_not_finite():
    read = json.loads(results_as_json([{"score": math.nan, "bbox": [math.inf, 1.0]}]))
    assert math.isnan(read[0]["score"]) and read[0]["bbox"] == [math.inf, 1.0]


def test_garbage_collection_is_back_afterwards():
    with no_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_files_are_written_beside_and_are_there_afterwards(tmp_path):
    with FileSaver() as saver:
        for number in range(3):
            saver.save(tmp_path / "new" / f"{number}.txt", lambda file, number=number: file.write(b"%d" % number))
    assert sorted(path.read_text() for path in (tmp_path / "new").iterdir()) == ["0", "1", "2"]


def test_a_file_that_cannot_be_written_is_said_at_the_end(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), FileSaver() as saver:
        saver.save(tmp_path / "file" / "results.json", lambda file: file.write(b"[]"))
    with pytest.raises(ValueError, match="first"), FileSaver() as saver:
        saver.save(tmp_path / "file" / "results.json", lambda file: file.write(b"[]"))
        raise ValueError("first")
