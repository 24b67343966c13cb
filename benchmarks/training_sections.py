"""The page's sections `head`, `finetune`, `full` and `growth`."""

from __future__ import annotations

from typing import Any

from figures import cost_of, percent, ratio, section, table
from growth import MOST_WORK
from loop_costs import cost
from settings import WEIGHTS

Rows = list[dict[str, Any]]

_RANDOM = "Resnet18 has random weights here, which changes no time; its accuracy would say nothing."
_SIDES = ("loop, BatchNorm ", "ratio, ")


def head(rows: Rows) -> str:
    """Show the training of a head."""
    body = []
    for row in rows:
        loops = {mode: cost([(row["epochs"], loop)]) for mode, loop in row["loops"].items()}
        for start in ("cold", "warm"):
            ours = cost_of(row[start])
            sides = [cell for loop in loops.values() for cell in (loop, ratio(loop, ours))]
            body.append([row["model"], row["epochs"], start, ours, *sides, _accuracy(row)])
    header = ["network", "epochs", "start", "ftcli", *(f"{side}{mode}" for mode in rows[0]["loops"] for side in _SIDES)]
    return section(
        "Training a head (`feature-extract`)",
        f"Wall time of the whole process `ftcli train`, {_repeats(rows)}, against the loop's with BatchNorm of the "
        f"frozen part in eval mode (corrected) and in train mode (as tutorials leave it). {_constant(_loops(rows))}"
        f" {_RANDOM}",
        table([*header, "val accuracy, ftcli"], body),
        _loop_accuracies(rows),
    )


def finetune(rows: Rows) -> str:
    """Show fine-tuning with frozen groups."""
    names = {"finetune": "fine-tune, `unfreeze: 2`", "gradual": "gradual, `unfreeze: 2`"}
    body = []
    for row in rows:
        stages = row["stages"]
        theirs = cost([(stage["epochs"], stage["loop"]) for stage in stages])
        epochs = " + ".join(str(stage["epochs"]) for stage in stages)
        for start in ("cold", "warm"):
            ours = cost_of(row[start])
            name = names[row["strategy"]]
            body.append([row["model"], name, epochs, start, ours, theirs, ratio(theirs, ours), _accuracy(row)])
    loops = [stage["loop"] for row in rows for stage in row["stages"]]
    header = ["network", "strategy", "epochs", "start", "ftcli", "loop", "ratio", "val accuracy, ftcli"]
    return section(
        "Fine-tuning two groups and the head",
        f"Wall time of the whole process `ftcli train`, {_repeats(rows)}, against the loop with the same groups "
        "trainable and the frozen BatchNorm in eval mode; gradual unfreezes none, one and two groups besides the head, "
        f"and the loop's epochs are timed for each of the three. {_constant(loops)} {_RANDOM}",
        table(header, body),
    )


def full(rows: Rows) -> str:
    """Show fine-tuning of everything."""
    body = []
    for row in rows:
        ours, theirs = cost_of(row["epoch_seconds"]), cost_of(row["loop"]["epoch_seconds"])
        body.append([row["model"], ours, theirs, ratio(theirs, ours)])
    return section(
        "Fine-tuning everything",
        f"Seconds of an epoch, training and validation, of {_range([len(row['epoch_seconds']) for row in rows])} "
        "epochs after one to warm up; nothing is frozen, so nothing can be cached, and every epoch draws new views.",
        table(["network", "ftcli, an epoch", "loop, an epoch", "ratio"], body),
    )


def growth(rows: Rows) -> str:
    """Show the cost of more photographs and epochs."""
    body = []
    base = rows[0]["images"] / rows[0]["factor"]
    for row in rows:
        loop, scale = row["loop"], row["images"] / base
        scaled = {**loop, "epoch_seconds": [scale * seconds for seconds in loop["epoch_seconds"]]}
        theirs = cost([(row["epochs"], scaled)])
        cold, warm = cost_of(row["cold"]), cost_of(row["warm"])
        body.append([row["images"], row["epochs"], cold, warm, theirs, ratio(theirs, cold), ratio(theirs, warm)])
    header = ["photographs", "epochs", "ftcli, cold", "ftcli, warm", "loop, extrapolated", "ratio, cold", "ratio, warm"]
    return section(
        "More photographs, more epochs",
        f"Wall time of `ftcli train`, a head on efficientnet_lite0, {_repeats(rows)}, on copies of the photographs "
        "whose bytes and hashes differ; the loop's figures are not measured at each size but extrapolated from its "
        "epochs on the photographs themselves. "
        f"Unless `--grid` asks for them, cells with factor x epochs above {MOST_WORK} are not run.",
        table(header, body),
    )


def _accuracy(row: dict[str, Any]) -> str:
    if WEIGHTS[row["model"]] == "none":
        return ""
    found: list[float] = row["accuracies"]
    return percent(found[0]) if len(found) == 1 else f"{percent(found[0])} to {percent(found[-1])}"


def _loop_accuracies(rows: Rows) -> str:
    """Return a note on the loop's own accuracy in its few timed epochs."""
    sentences = []
    for model in dict.fromkeys(row["model"] for row in rows if WEIGHTS[row["model"]] != "none"):
        loops = next(row["loops"] for row in rows if row["model"] == model)
        figures = " and ".join(
            f"{percent(loop['accuracy'])} with BatchNorm in {mode} mode" for mode, loop in loops.items()
        )
        epochs = next(iter(loops.values()))["accuracy_epochs"]
        sentences.append(
            f"The loop's best val accuracy on {model} in the {epochs} epochs that were timed, one seed, was {figures}; "
            "`accuracy` compares the two ways over equal epochs and many seeds."
        )
    return "\n".join(sentences)


def _constant(loops: Rows) -> str:
    timed = _range([len(loop["epoch_seconds"]) for loop in loops])
    return (
        "The loop's cost per epoch is constant, so its total is computed, not measured: set-up, and the epochs times "
        f"the median of {timed} epochs that were timed after one to warm up."
    )


def _loops(rows: Rows) -> Rows:
    return [loop for row in rows for loop in row["loops"].values()]


def _repeats(rows: Rows) -> str:
    counts = [len(row["cold"]) for row in rows]
    return "measured once" if counts and max(counts) == 1 else f"{_range(counts)} repeats"


def _range(counts: list[int]) -> str:
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
