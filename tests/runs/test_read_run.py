import json
from pathlib import Path

import pytest
from helpers.support import MakeRun

from ftcli.errors import RunDirectoryError
from ftcli.runs.read_run import read_run


def test_a_run_reads_back_whole(make_run: MakeRun) -> None:
    run = read_run(make_run("a", phases=3, epochs=7, wrong=4))
    assert (run.name, run.plan.strategy, len(run.records)) == ("a", "gradual", 7)
    assert [phase.epochs for phase in run.plan.phases] == [2, 2, 3]
    assert run.plan.phases[0].trainable == ("head",)
    assert run.parameters == dict.fromkeys(("stem", "layer3", "layer4", "head"), 1000)
    assert run.summary is not None
    assert run.summary.epochs == 7
    assert int(run.predictions.correct.sum()) == 36


def test_the_best_epoch_of_an_unfinished_run_is_known(make_run: MakeRun) -> None:
    run = read_run(make_run("a", finished=False))
    assert run.summary is None
    assert run.best_epoch == 6


def test_a_relative_root_is_searched_here_and_then_where_training_was_started(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run("a", finished=False)
    for name, key, value in (("dataset", "root", "images"), ("environment", "directory", str(tmp_path))):
        file = path / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert read_run(path).image_root == tmp_path / "images"
    monkeypatch.chdir(tmp_path)
    assert read_run(path).image_root == Path("images")


@pytest.mark.parametrize("name", ["plan.json", "dataset.json", "metrics.jsonl", "predictions/val.csv"])
def test_a_missing_file_is_named(make_run: MakeRun, name: str) -> None:
    path = make_run("a", finished=False)
    (path / name).unlink()
    with pytest.raises(RunDirectoryError) as caught:
        read_run(path)
    assert caught.value.where == str(path / name)


def test_a_run_without_an_epoch_is_refused(make_run: MakeRun) -> None:
    path = make_run("a", finished=False)
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(RunDirectoryError) as caught:
        read_run(path)
    assert caught.value.where == str(path / "metrics.jsonl")


@pytest.mark.parametrize("plan", [{"groups": [{}]}, {"groups": 3}, {"strategy": "x", "groups": [], "phases": [{}]}])
def test_an_invalid_plan_is_refused(make_run: MakeRun, plan: object) -> None:
    path = make_run("a", finished=False)
    (path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RunDirectoryError) as caught:
        read_run(path)
    assert caught.value.where == str(path / "plan.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("findings", 3),
        ("findings", ["leak"]),
        ("findings", [{"level": "fatal", "code": "x", "message": "x", "advice": "x", "cases": []}]),
        ("findings", [{"level": "error", "code": "x", "message": 3, "advice": "x", "cases": []}]),
        ("findings", [{"level": "error", "code": "x", "message": "x", "advice": "x", "cases": [{"files": [1]}]}]),
        ("skipped", [{"path": "a.png"}]),
    ],
)
def test_invalid_findings_are_refused(make_run: MakeRun, name: str, value: object) -> None:
    path = make_run("a", dataset={name: value}, finished=False)
    with pytest.raises(RunDirectoryError, match=name) as caught:
        read_run(path)
    assert caught.value.where == str(path / "dataset.json")


def test_epochs_of_another_plan_are_refused(make_run: MakeRun) -> None:
    path = make_run("a", finished=False)
    other = make_run("b", groups=("stem", "head"), finished=False)
    (path / "metrics.jsonl").write_bytes((other / "metrics.jsonl").read_bytes())
    with pytest.raises(RunDirectoryError, match=r"plan\.json") as caught:
        read_run(path)
    assert caught.value.where == str(path / "metrics.jsonl")
