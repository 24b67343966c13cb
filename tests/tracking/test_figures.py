import json

from ftcli.records import EpochRecord, Interval, RunSummary
from ftcli.tracking.figures import best_figures, epoch_figures, flat_recipe


def test_a_recipe_is_flattened_to_the_keys_of_overrides() -> None:
    phases = [{"epochs": 2, "lr": {"head": 0.1}}, {"epochs": 1, "lr": {"features.12": 1e-3, "head": 0.1}}]
    values = {"seed": 0, "patience": None, "expect": {}, "strategy": {"kind": "phases", "phases": phases}}
    assert flat_recipe({**values, "optimizer": {"kind": "sgd", "nesterov": False}, "betas": [0.9, 0.99]}) == {
        "seed": 0,
        "patience": "null",
        "expect": "{}",
        "strategy.kind": "phases",
        "strategy.phases.0.epochs": 2,
        "strategy.phases.0.lr.head": 0.1,
        "strategy.phases.1.epochs": 1,
        "strategy.phases.1.lr.features.12": 1e-3,
        "strategy.phases.1.lr.head": 0.1,
        "optimizer.kind": "sgd",
        "optimizer.nesterov": False,
        "betas": "[0.9, 0.99]",
    }


def test_rates_of_globs_become_one_json_text() -> None:
    rates = {"head": 1e-2, "features.*": 1e-3, "features.?": 1e-4}
    flat = flat_recipe({"strategy": {"lr": rates}})
    assert list(flat) == ["strategy.lr"]
    assert json.loads(str(flat["strategy.lr"])) == rates


def test_a_frozen_group_has_no_rate_and_is_marked_as_frozen() -> None:
    record = EpochRecord("head", 0, 1, {"stem": None, "head": 1e-2}, 0.5, 0.75, {"accuracy": 0.8, "loss": 0.4}, 1.5)
    assert epoch_figures(record) == {
        "train/loss": 0.5,
        "train/accuracy": 0.75,
        "val/accuracy": 0.8,
        "val/loss": 0.4,
        "lr/head": 1e-2,
        "frozen/stem": 1,
        "frozen/head": 0,
        "phase": 0,
        "seconds": 1.5,
    }


def test_the_best_epochs_figures_have_intervals() -> None:
    summary = RunSummary(2, 3, "val_accuracy", {"accuracy": Interval(0.9, 0.8, 0.95)}, 12, 1.0, 36.0)
    assert best_figures(summary) == {
        "best/epoch": 2,
        "best/accuracy": 0.9,
        "best/accuracy_low": 0.8,
        "best/accuracy_high": 0.95,
    }
