from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ftcli.errors import CheckpointError
from ftcli.records import EpochRecord
from ftcli.runs.checkpoint import load_tensors, save_tensors
from ftcli.runs.directory import RunDirectory
from ftcli.runs.resume_state import ResumeState, load_state, remove_states, save_state


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    return run


def state_of(epoch: int, *, best: bool = True) -> ResumeState:
    record = EpochRecord("p", 0, epoch, {"stem": None, "head": 0.1}, 1.0, 0.5, {"loss": 1.0}, 0.1)
    probabilities = np.array([[0.25, 0.75], [1 / 3, 2 / 3]]) if best else None
    return ResumeState(record, 12.5, ("a warning",), {"head.weight/momentum": torch.arange(3.0)}, probabilities)


@pytest.mark.parametrize("best", [True, False])
def test_a_state_reads_back_unchanged(run: RunDirectory, *, best: bool) -> None:
    state = state_of(3, best=best)
    save_state(run, state)
    back = load_state(run, 3)
    assert (back.record, back.seconds, back.notices) == (state.record, state.seconds, state.notices)
    assert back.optimizer.keys() == state.optimizer.keys()
    assert torch.equal(back.optimizer["head.weight/momentum"], torch.arange(3.0))
    if best:
        assert np.array_equal(back.val_probabilities, state.val_probabilities)
        assert back.val_probabilities.dtype == np.float64
    else:
        assert back.val_probabilities is None


def test_probabilities_that_single_precision_holds_take_half_the_space_and_come_back_exactly(run: RunDirectory) -> None:
    sizes, states = {}, {}
    for dtype in (np.float32, np.float64):
        probabilities = np.random.default_rng(0).dirichlet(np.ones(8), size=500).astype(dtype).astype(np.float64)
        save_state(run, replace(state_of(3), val_probabilities=probabilities))
        sizes[dtype] = run.resume(3).stat().st_size
        states[dtype] = load_state(run, 3).val_probabilities
        assert np.array_equal(states[dtype], probabilities)
    # The descriptions, with their checksums, may differ by a few bytes.
    assert sizes[np.float64] - sizes[np.float32] == pytest.approx(500 * 8 * 4, abs=16)


def test_a_missing_state_is_named(run: RunDirectory) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_state(run, 2)
    assert caught.value.where == str(run.resume(2))


def test_a_state_of_another_epoch_is_refused(run: RunDirectory) -> None:
    save_state(run, state_of(2))
    run.resume(2).rename(run.resume(3))
    with pytest.raises(CheckpointError, match="epoch 2") as caught:
        load_state(run, 3)
    assert caught.value.where == str(run.resume(3))


def test_an_incomplete_description_is_refused(run: RunDirectory) -> None:
    save_state(run, state_of(2))
    written, tensors = load_tensors(run.resume(2))
    description = {key: value for key, value in written.items() if key != "seconds"}
    save_tensors(run.resume(2), tensors, description)
    with pytest.raises(CheckpointError, match="seconds") as caught:
        load_state(run, 2)
    assert caught.value.where == str(run.resume(2))


@pytest.mark.parametrize(("kept", "left"), [(2, ["resume.2.safetensors"]), (0, [])])
def test_all_states_but_one_are_removed(run: RunDirectory, kept: int, left: list[str]) -> None:
    for epoch in (1, 2, 12):
        save_state(run, state_of(epoch))
    remove_states(run, but=kept)
    assert [path.name for path in run.checkpoints.iterdir()] == left
