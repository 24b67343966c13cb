"""Runs trained by the real command line, read back with TensorBoard itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.support import Ftcli
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

RUN = Path("runs/a")


def read(run: Path = RUN) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0, "scalars": 0}).Reload()


def curve(board: EventAccumulator, tag: str) -> dict[int, float]:
    events = board.Scalars(tag)
    steps = [event.step for event in events]
    assert len(set(steps)) == len(steps), "a step was logged twice"
    return {event.step: event.value for event in events}


def records() -> list[dict]:
    return [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_reads_every_epoch_the_recipe_and_the_best_epoch(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "tracking=[tensorboard]")
    board, epochs = read(), records()
    for tag, of in {
        "train/loss": lambda record: record["train_loss"],
        "train/accuracy": lambda record: record["train_accuracy"],
        "val/macro_f1": lambda record: record["val"]["macro_f1"],
        "lr/head": lambda record: record["lr"]["head"],
        "phase": lambda record: record["phase_index"],
    }.items():
        assert curve(board, tag) == pytest.approx({record["epoch"]: of(record) for record in epochs}), tag
    assert curve(board, "frozen/features.12") == {1: 1, 2: 0, 3: 0}
    assert curve(board, "lr/features.12") == pytest.approx({2: 1e-3, 3: epochs[2]["lr"]["features.12"]})
    summary = json.loads((RUN / "summary.json").read_text())
    assert curve(board, "best/accuracy_low") == pytest.approx({3: summary["metrics"]["accuracy"]["low"]})
    assert curve(board, "best/epoch") == {3: summary["best_epoch"]}
    content = board.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["optimizer.momentum"].number_value == 0.9
    assert hparams["model.name"].string_value == "squeezenet1_1"
    (text,) = board.Tensors("recipe")
    assert (RUN / "recipe.yaml").read_bytes() in text.tensor_proto.string_val[0]


def test_a_resumed_run_has_every_epoch_once(ftcli: Ftcli, recipe: Path, after_epoch: Callable[..., None]) -> None:
    for epoch, arguments in enumerate([(recipe, "--name", "a", "tracking=[tensorboard]"), ("--resume", RUN)], start=1):
        after_epoch(epoch)
        ftcli("train", *arguments, code=130)
    after_epoch(None)
    ftcli("train", "--resume", RUN)
    assert list(curve(read(), "train/loss")) == [1, 2, 3]
    ftcli("train", "--resume", RUN, "epochs=5")
    board = read()
    assert curve(board, "val/loss") == pytest.approx({record["epoch"]: record["val"]["loss"] for record in records()})
    assert list(curve(board, "best/epoch")) == [3, 5]


def test_an_epoch_missing_from_tensorboard_is_added(
    ftcli: Ftcli, recipe: Path, after_epoch: Callable[..., None]
) -> None:
    after_epoch(2)
    ftcli("train", recipe, "--name", "a", "tracking=[tensorboard]", code=130)
    (events,) = (RUN / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-10])  # as after a power cut while epoch 2 was written
    after_epoch(None)
    ftcli("train", "--resume", RUN)
    assert curve(read(), "val/loss") == pytest.approx({record["epoch"]: record["val"]["loss"] for record in records()})


def test_event_files_that_cannot_be_written_are_one_notice(
    ftcli: Ftcli, recipe: Path, after_epoch: Callable[..., None]
) -> None:
    def take_away() -> None:
        (events,) = (RUN / "tensorboard").iterdir()
        events.unlink()
        events.mkdir()

    after_epoch(1, take_away)
    outcome = ftcli("train", recipe, "--name", "a", "tracking=[tensorboard]")
    assert outcome.err.count("tensorboard failed and was disabled") == 1
    assert len(records()) == 3
    assert (RUN / "summary.json").is_file()
