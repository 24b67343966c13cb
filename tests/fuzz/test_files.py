"""Damaged files of a run are read correctly or refused by name, without traceback or guess."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fuzzing import attempt, cases, damaged
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from ftcli.errors import CheckpointError, FtcliError, ModelError, RunDirectoryError
from ftcli.evaluation.predictions import Predictions
from ftcli.model.weights import read_weights
from ftcli.records import EpochRecord, InputSpec, ProbeRecord, StrengthTrial
from ftcli.runs.checkpoint import (
    Checkpoint,
    CheckpointInfo,
    is_checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_tensors,
)
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import read_json
from ftcli.runs.predictions_file import read_predictions, write_predictions
from ftcli.runs.resume_state import ResumeState, load_state, save_state

SEEDS = st.integers(0, 2**32)
SPEC = InputSpec(32, 36, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
INFO = CheckpointInfo("resnet18", ("ants", "bees"), SPEC, {"data": {"root": "x"}}, 3, {"loss": 0.5})
TENSORS = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3, dtype=torch.float16)}
RECORD = EpochRecord("head", 0, 1, {"stem": None, "head": 0.1}, 0.7, 0.5, {"loss": 0.6}, 0.1)
PROBE = ProbeRecord(0.1, 5, (StrengthTrial(0.1, 0.7),), 9, 1e-8)
FITTED = replace(RECORD, epoch=2, cached=True, probe=PROBE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> bytes:
    save_checkpoint(folder / "whole.safetensors", TENSORS, INFO)
    return (folder / "whole.safetensors").read_bytes()


@given(seed=SEEDS)
@cases(quick=300, stress=10_000)
def test_a_damaged_checkpoint_is_refused(folder: Path, checkpoint: bytes, seed: int) -> None:
    file = folder / "damaged.safetensors"
    file.write_bytes(damaged(checkpoint, seed))
    is_checkpoint(file)
    read = attempt(lambda: load_checkpoint(file))
    if isinstance(read, FtcliError):
        assert isinstance(read, CheckpointError)
        assert str(file) in str(read)
        return
    assert read.info == INFO
    assert all(torch.equal(read.state_dict[name], tensor) for name, tensor in TENSORS.items())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from([*asdict(INFO), *asdict(SPEC)]), JSON, min_size=1, max_size=3))
@cases(quick=150, stress=4000)
def test_an_invented_description_is_refused_or_valid(folder: Path, monkeypatch, changes: dict[str, object]) -> None:
    """The checksum is right, as in a forged file."""
    value = asdict(INFO)
    value |= {key: given for key, given in changes.items() if key in value}
    if isinstance(value["spec"], dict):
        value["spec"] |= {key: given for key, given in changes.items() if key in asdict(SPEC)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "dumps", lambda given, **_: _DUMPS(given))
        save_tensors(folder / "made_up.safetensors", TENSORS, value)
    read = attempt(lambda: load_checkpoint(folder / "made_up.safetensors"))
    if isinstance(read, Checkpoint):
        assert isinstance(read.info.model, str)
        assert isinstance(read.info.epoch, int)
        assert len(set(read.info.classes)) == len(read.info.classes) >= 2
        assert 0 < read.info.spec.image_size <= 10_000
        assert 0 not in read.info.spec.std
    else:
        assert isinstance(read, CheckpointError)


_DUMPS = json.dumps


@given(seed=SEEDS, suffix=st.sampled_from([".safetensors", ".pth", ".bin"]))
@cases(quick=150, stress=3000)
def test_damaged_weights_are_tensors_or_refused(folder: Path, seed: int, suffix: str) -> None:
    file = folder / f"weights{suffix}"
    if not (whole := folder / f"whole_weights{suffix}").exists():
        if suffix == ".safetensors":
            save_file(TENSORS, whole)
        else:
            torch.save(TENSORS, whole, _use_new_zipfile_serialization=suffix == ".pth")
    file.write_bytes(damaged(whole.read_bytes(), seed))
    read = attempt(lambda: read_weights(file))
    if isinstance(read, FtcliError):
        assert isinstance(read, ModelError)
        assert str(file) in str(read)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


@given(seed=SEEDS)
@cases(quick=150, stress=4000)
def test_a_damaged_resume_state_is_refused(folder: Path, seed: int) -> None:
    run = RunDirectory(folder / "run")
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    state = ResumeState(RECORD, 1.5, ("notice",), {"0.step": torch.tensor(3.0)}, np.array([[0.25, 0.75]]))
    save_state(run, state)
    whole = run.resume(1).read_bytes()
    run.resume(1).write_bytes(damaged(whole, seed))
    read = attempt(lambda: load_state(run, 1))
    if isinstance(read, FtcliError):
        assert isinstance(read, CheckpointError)
        assert str(run.resume(1)) in str(read)
    else:
        assert (read.record, read.seconds, read.notices) == (RECORD, 1.5, ("notice",))
        assert torch.equal(read.optimizer["0.step"], torch.tensor(3.0))


@pytest.fixture(scope="module")
def predictions(folder: Path) -> bytes:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    names = tuple(f"val/{number},{chr(228)}.jpg" for number in range(20))
    hashes = tuple(f"{number:064x}" for number in range(20))
    labels = np.arange(20, dtype=np.int64) % 3
    write_predictions(folder / "whole.csv", Predictions(("a", "b", "c"), names, hashes, labels, probabilities))
    return (folder / "whole.csv").read_bytes()


@given(seed=SEEDS)
@cases(quick=300, stress=8000)
def test_damaged_predictions_are_predictions_or_refused_with_the_line(
    folder: Path, predictions: bytes, seed: int
) -> None:
    file = folder / "damaged.csv"
    file.write_bytes(damaged(predictions, seed))
    read = attempt(lambda: read_predictions(file))
    if isinstance(read, FtcliError):
        assert isinstance(read, RunDirectoryError)
        assert str(file) in str(read)
    else:
        assert 0 < len(read) <= 200
        assert np.isfinite(read.probabilities).all()
        write_predictions(file, read)
        assert np.array_equal(read_predictions(file).predicted, read.predicted)


@given(seed=SEEDS)
@cases(quick=200, stress=6000)
def test_damaged_records_are_records_or_refused_with_the_line(folder: Path, seed: int) -> None:
    run = RunDirectory(folder)
    lines = "".join(json.dumps(record.to_json()) + "\n" for record in (RECORD, FITTED))
    run.metrics.write_bytes(damaged(lines.encode(), seed))
    read = attempt(lambda: list(run.records()))
    if isinstance(read, FtcliError):
        assert isinstance(read, RunDirectoryError)
        assert str(run.metrics) in str(read)
    else:
        assert [record.epoch for record in read] == list(range(1, len(read) + 1))


@given(seed=SEEDS)
@cases(quick=150, stress=4000)
def test_damaged_json_is_an_object_or_refused(folder: Path, seed: int) -> None:
    file = folder / "some.json"
    value = {"schema": 1, "format": 1, "files": {"a": "b" * 64}, "images": ["ä.jpg", "b.jpg"], "n": 1.5}
    file.write_bytes(damaged(json.dumps(value, indent=2, ensure_ascii=False).encode(), seed))
    read = attempt(lambda: read_json(file))
    if isinstance(read, FtcliError):
        assert isinstance(read, RunDirectoryError)
        assert str(file) in str(read)
    else:
        assert read.get("schema", 1) == 1


def test_the_damage_changes_the_content(checkpoint: bytes) -> None:
    assert sum(damaged(checkpoint, seed) != checkpoint for seed in range(200)) > 190
    assert save(TENSORS) not in {damaged(save(TENSORS), seed) for seed in range(20)}
