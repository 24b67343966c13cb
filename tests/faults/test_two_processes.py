"""Two processes that want the same run, or the same features, at the same time."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.same_runs import assert_same_runs

from ftcli.report.progress import LineProgress
from ftcli.runs import lock as locking


def test_of_two_runs_of_one_name_one_wins_and_the_other_is_refused(launch, runs, recipe) -> None:
    launch("train", recipe, "--name", "whole")
    children = [launch.start("train", recipe, "--name", "a") for _ in range(2)]
    outcomes = sorted((child.wait() for child in children), key=lambda outcome: outcome.code)
    assert [outcome.code for outcome in outcomes] == [0, 2]
    assert "runs/a: already exists" in outcomes[1].err
    assert_same_runs(Path("runs/a"), Path("runs/whole"))
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "whole"], "the loser leaves nothing behind"


def wait_for(path: str, then: str):
    """Return a fault that reports the first epoch, and waits for permission to continue."""

    def fault() -> None:
        usual = LineProgress.epoch

        def epoch(self, record, **options) -> None:
            usual(self, record, **options)
            if record.epoch == 1:
                Path(path).open("w").close()  # a pipe: it opens once the other side does
                Path(then).open().close()

        LineProgress.epoch = epoch

    return fault


def test_a_run_that_is_being_trained_is_neither_overwritten_nor_resumed(launch, runs, recipe, monkeypatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE_SECONDS", 0.1)
    launch("train", recipe, "--name", "whole")
    for pipe in ("begun", "go"):
        os.mkfifo(pipe)
    first = launch.start("train", recipe, "--name", "a", fault=wait_for("begun", "go"))
    Path("begun").open().close()
    for arguments in (("train", recipe, "--name", "a", "--overwrite"), ("train", "--resume", "runs/a")):
        assert "runs/a: another process is training this run" in launch(*arguments, code=2).err
    Path("go").open("w").close()
    assert first.wait().code == 0
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


def test_of_two_that_overwrite_one_run_each_finishes_or_reports_that_it_was_replaced(launch, runs, recipe) -> None:
    launch("train", recipe, "--name", "whole")
    launch("train", recipe, "--name", "a", "epochs=1")
    children = [launch.start("train", recipe, "--name", "a", "--overwrite") for _ in range(2)]
    outcomes = [child.wait() for child in children]
    assert {outcome.code for outcome in outcomes} <= {0, 2}
    assert 0 in {outcome.code for outcome in outcomes}
    for outcome in outcomes:
        if outcome.code:
            assert "replaced by another process" in outcome.err or "another process is training" in outcome.err
    assert_same_runs(Path("runs/a"), Path("runs/whole"))
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "whole"]


@pytest.mark.parametrize("how", ["removed", "moved"])
@pytest.mark.parametrize("last", [1, 2], ids=["with an epoch to come", "at its end"])
def test_a_run_writes_nothing_into_a_new_run_of_its_name(launch, runs, recipe, how: str, last: int) -> None:
    """Like `rm` or `mv` of a run, then a new `train`, while the old process still runs."""
    launch("train", recipe, "--name", "whole", "seed=1")
    launch("train", recipe, "--name", "as it was")

    def let_another_have_the_name() -> None:
        usual = LineProgress.epoch

        def epoch(self, record, **options) -> None:
            usual(self, record, **options)
            if record.epoch == last:
                if how == "removed":
                    shutil.rmtree("runs/a")
                else:
                    Path("runs/a").rename("runs/b")
                shutil.copytree("runs/whole", "runs/a")

        LineProgress.epoch = epoch

    err = launch("train", recipe, "--name", "a", fault=let_another_have_the_name, code=1).err
    assert "error: runs/a: this run directory was moved, removed or replaced" in err
    assert_same_runs(Path("runs/a"), Path("runs/whole"))
    runs.assert_valid(Path("runs/a"))
    if how == "moved":
        launch("train", "--resume", "runs/b")
        assert_same_runs(Path("runs/b"), Path("runs/as it was"))


def test_seeds_whose_directory_was_moved_start_no_further_run(launch, recipe) -> None:
    def move() -> None:
        usual = LineProgress.epoch

        def epoch(self, record, **options) -> None:
            usual(self, record, **options)
            if record.epoch == 2:
                Path("runs/s").rename("runs/t")

        LineProgress.epoch = epoch

    err = launch("train", recipe, "--seeds", "0,1", "--name", "s", fault=move, code=1).err
    assert "was moved, removed or replaced" in err
    assert not Path("runs/s").exists()
    assert launch("train", "--resume", "runs/t").code == 0
    assert json.loads(Path("runs/t/seeds.json").read_text())["finished"] is True


def test_two_runs_that_fill_one_cache_both_finish_right(launch, runs, recipe, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "alone"))
    launch("train", recipe, "--name", "whole")
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "shared"))
    children = [launch.start("train", recipe, "--name", name) for name in ("a", "b")]
    assert [child.wait().code for child in children] == [0, 0]
    for name in ("a", "b"):
        assert_same_runs(Path("runs", name), Path("runs/whole"))
