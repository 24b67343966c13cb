"""A run that is asked to stop: by Ctrl-C, by SIGTERM, and by a user who cannot wait for the batch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.support import Ftcli
from torch import Tensor

from ftcli.errors import StoppedAtOnce
from ftcli.report.progress import LineProgress
from ftcli.runs import checkpoint
from ftcli.runs.checkpoint import CheckpointInfo, load_checkpoint
from ftcli.runs.predictions_file import read_predictions

SECONDS = 300
"""What a process may take that starts, trains and stops within five seconds where nothing else runs."""


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 5, workers: 0}}\n"
        "model: {name: squeezenet1_1, weights: none}\n"
        "strategy: {kind: feature-extract, lr: 1e-2}\nepochs: 4\n"
    )
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_its_processes_ends_the_program_and_keeps_what_is_done(
    recipe: Path, number: signal.Signals, code: int
) -> None:
    with_a_worker = ["epochs=5000", "data.workers=1", "data.cache=off", "data.views=fresh"]
    command = [sys.executable, "-m", "ftcli", "train", recipe, "--name", "a", *with_a_worker]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_epochs(Path("runs/a/metrics.jsonl"), process)
    os.killpg(process.pid, number)  # as Ctrl-C, `timeout` and systemd do
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code
    assert "are kept\nResume with: ftcli resume runs/a" in err
    assert "Traceback" not in err
    epochs = len(Path("runs/a/metrics.jsonl").read_text().splitlines())
    assert load_checkpoint(Path("runs/a/checkpoints/last.safetensors")).info.epoch == epochs


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_batch_and_says_what_is_kept(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    batches = []

    def signalled(_progress: object, what: str, done: int, _total: int) -> None:
        batches.append((what, done))
        if (what, done) == ("epoch 2", 2):
            signal.raise_signal(number)

    monkeypatch.setattr(LineProgress, "step", signalled)
    err = ftcli("train", recipe, "--name", "a", code=code).err
    assert batches[-2:] == [("epoch 2", 1), ("epoch 2", 2)]
    assert f"stopped by {number.name}; epochs 1 to 1 are kept\nResume with: ftcli resume runs/a\n" in err
    assert len(Path("runs/a/metrics.jsonl").read_text().splitlines()) == 1
    assert load_checkpoint(Path("runs/a/checkpoints/last.safetensors")).info.epoch == 1
    assert len(read_predictions(Path("runs/a/predictions/val.csv"))) == 12


def test_a_second_interrupt_stops_at_once_and_leaves_the_checkpoint_whole(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def interrupted_twice(_progress: object, what: str, done: int, _total: int) -> None:
        for number in range(2 if (what, done) == ("epoch 2", 1) else 0):
            heard.append(number)
            signal.raise_signal(signal.SIGINT)  # in this thread, and at once

    with monkeypatch.context() as patch:
        patch.setattr(LineProgress, "step", interrupted_twice)
        err = ftcli("train", recipe, "--name", "a", code=130).err
    assert heard == [0, 1], "the first is remembered"
    assert "stopped at once by SIGINT; epochs 1 to 1 are kept\nResume with: ftcli resume runs/a\n" in err
    assert load_checkpoint(Path("runs/a/checkpoints/last.safetensors")).info.epoch == 1
    assert ftcli("train", "--resume", "runs/a", "--json").json["epochs"] == 4


def test_an_epoch_that_was_not_written_is_not_said_to_be_kept(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint.save_checkpoint

    def stopped_while_writing(path: Path, tensors: Mapping[str, Tensor], info: CheckpointInfo) -> None:
        if info.epoch == 2:
            raise StoppedAtOnce(signal.SIGINT)
        save(path, tensors, info)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", stopped_while_writing)
        err = ftcli("train", recipe, "--name", "a", code=130).err
    assert "stopped at once by SIGINT; epochs 1 to 1 are kept\n" in err
    assert load_checkpoint(Path("runs/a/checkpoints/last.safetensors")).info.epoch == 1


def test_an_epoch_whose_weights_are_written_is_said_to_be_kept(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise StoppedAtOnce(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("ftcli.commands.training_run.TrainingRun.write_best", stopped)
        err = ftcli("train", recipe, "--name", "a", code=130).err
    assert "stopped at once by SIGINT; epochs 1 to 1 are kept\n" in err
    resumed = ftcli("train", "--resume", "runs/a")
    assert "resuming after epoch 1\n" in resumed.err


def test_a_signal_while_features_are_computed_stops_after_the_batch(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def signalled(_progress: object, what: str, done: int, _total: int) -> None:
        if what != "features":
            return
        computed.append(done)
        if done:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(LineProgress, "step", signalled)
        err = ftcli("train", recipe, "--name", "a", "data.views=64", "epochs=64", code=130).err
    assert computed[0] == 0
    assert len(computed) == 2, "1,152 views take many batches"
    assert "no epoch was finished\nResume with: ftcli resume runs/a" in err


def wait_for_epochs(metrics: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not metrics.exists() or not metrics.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
