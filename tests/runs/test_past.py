from pathlib import Path

import pytest
import torch

from ftcli.errors import CheckpointError, RunDirectoryError
from ftcli.records import EpochRecord, InputSpec
from ftcli.runs.checkpoint import CheckpointInfo, save_checkpoint
from ftcli.runs.directory import RunDirectory
from ftcli.runs.past import read_past
from ftcli.runs.resume_state import ResumeState, save_state

SPEC = InputSpec(32, 36, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def record_of(epoch: int) -> EpochRecord:
    return EpochRecord("p", 0, epoch, {"head": 0.1}, 1.0, 0.5, {"loss": 1.0}, 0.1)


@pytest.fixture
def new(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    run.predictions("val").parent.mkdir()
    return run


@pytest.fixture
def run(new: RunDirectory) -> RunDirectory:
    """A run after three epochs."""
    for epoch in (1, 2, 3):
        new.append(record_of(epoch))
    save_state(new, ResumeState(record_of(3), 4.5, ("a warning",), {"momentum": torch.ones(2)}, None))
    save_checkpoint(new.last, {"weight": torch.ones(2)}, CheckpointInfo("x", ("a", "b"), SPEC, {}, 3, {}))
    return new


def test_a_new_run_has_no_past(new: RunDirectory) -> None:
    past = read_past(new)
    assert (past.records, past.checkpoint, past.state) == ((), None, None)
    assert (dict(past.optimizer), past.seconds, past.notices) == ({}, 0.0, ())


def test_a_run_that_was_killed_in_its_first_epoch_has_no_past(new: RunDirectory) -> None:
    save_state(new, ResumeState(record_of(1), 4.5, (), {}, None))
    assert read_past(new).records == ()


def test_the_last_checkpoint_decides_which_epochs_count(run: RunDirectory) -> None:
    run.append(record_of(4))
    past = read_past(run)
    assert past.records == tuple(map(record_of, (1, 2, 3)))
    assert past.checkpoint is not None
    assert past.checkpoint.info.epoch == 3
    assert (past.seconds, past.notices, list(past.optimizer)) == (4.5, ("a warning",), ["momentum"])


def test_the_record_of_the_last_epoch_may_be_missing_from_the_metrics(run: RunDirectory) -> None:
    run.cut_back(list(map(record_of, (1, 2))))
    assert read_past(run).records == tuple(map(record_of, (1, 2, 3)))


def test_missing_earlier_epochs_are_refused(run: RunDirectory) -> None:
    run.cut_back([record_of(1)])
    with pytest.raises(RunDirectoryError) as caught:
        read_past(run)
    assert caught.value.where == str(run.metrics)


def test_a_missing_state_is_refused(run: RunDirectory) -> None:
    run.resume(3).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_past(run)
    assert caught.value.where == str(run.resume(3))


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "predictions/val.csv", "checkpoints/best.safetensors", "summary.json"]
)
def test_a_missing_last_checkpoint_of_a_run_with_epochs_is_refused(new: RunDirectory, name: str) -> None:
    (new.path / name).write_text("{}\n")
    with pytest.raises(RunDirectoryError) as caught:
        read_past(new)
    assert caught.value.where == str(new.last)
