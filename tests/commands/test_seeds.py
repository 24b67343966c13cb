"""Several seeds of one recipe: a run for each, below one directory, as one result."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from helpers.same_runs import assert_same_runs
from helpers.support import Ftcli

from ftcli.errors import RunError, StoppedAtOnce
from ftcli.records import EpochRecord
from ftcli.report.progress import LineProgress
from ftcli.runs.directory import RunDirectory
from ftcli.runs.seeds_directory import SeedsDirectory, create_seeds


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 5, workers: 0, views: 2}}\n"
        "model: {name: timm/test_resnet, weights: none}\nepochs: 2\n"
    )
    return path


def test_each_seed_is_the_run_that_it_would_be_alone(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--seeds", "3,1", "--name", "s")
    assert outcome.out.splitlines()[-1] == "runs/s"
    for seed in (3, 1):
        ftcli("train", recipe, f"seed={seed}", "--name", f"alone-{seed}")
        assert_same_runs(Path(f"runs/alone-{seed}"), Path(f"runs/s/seed-{seed}"))


def test_the_spread_is_that_of_the_runs(ftcli: Ftcli, recipe: Path) -> None:
    result = ftcli("train", recipe, "seeds=[0, 1, 2]", "--name", "s", "--json").json
    values = [run["metrics"]["log_loss"]["value"] for run in result["runs"]]
    spread = result["metrics"]["log_loss"]
    assert spread == {
        "mean": pytest.approx(np.mean(values)), "deviation": pytest.approx(np.std(values, ddof=1)), "runs": 3,
    }  # fmt: skip
    assert spread["deviation"] > 0
    kept = json.loads(Path("runs/s/seeds.json").read_text())
    assert kept == {
        "schema": 1, "seeds": [0, 1, 2], "runs": ["seed-0", "seed-1", "seed-2"], "finished": True,
        "metrics": result["metrics"],
    }  # fmt: skip


def test_what_holds_for_all_seeds_is_said_once(ftcli: Ftcli, recipe: Path, tiny: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny, tmp_path / "images"))
    shutil.copy(root / "train/red/000.png", root / "val/red/copy.png")
    (root / "train/red/broken.png").write_bytes(b"")
    overrides = [f"data.root={root}", "data.on_bad_image=skip", "epochs=1"]
    err = ftcli("train", recipe, "--seeds", "0,1", "--name", "s", *overrides).err
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) >= 3
    assert len(set(warnings)) == len(warnings)


def test_one_seed_has_no_spread(ftcli: Ftcli, recipe: Path) -> None:
    result = ftcli("train", recipe, "--seeds", "5", "--name", "s", "--json").json
    assert result["metrics"]["accuracy"]["deviation"] is None


def test_seeds_share_the_cache(ftcli: Ftcli, recipe: Path) -> None:
    weights = ["--name", "a"]
    ftcli("train", recipe, *weights)
    start = "model.weights=runs/a/checkpoints/last.safetensors"
    outcome = ftcli("train", recipe, start, "--seeds", "0,1,2", "--name", "s")
    assert "computing the frozen part" not in outcome.err


def test_seeds_that_were_interrupted_go_on(ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ftcli("train", recipe, "--seeds", "0,1,2", "--name", "whole")
    begin, resume = ("train", recipe, "--seeds", "0,1,2", "--name", "parts"), ("train", "--resume", "runs/parts")
    for arguments, last in ((begin, 2), (resume, 1)):  # the last epoch of the first seed, the first of the second
        heard: list[Any] = []

        def stop(
            _progress: object, record: Any, *, epochs: int, best: bool, heard: list[Any] = heard, last: int = last
        ) -> None:
            heard.append(record)
            if len(heard) == last:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(LineProgress, "epoch", stop)
            err = ftcli(*arguments, code=130).err
        assert len(heard) == last, "no epoch follows"
        assert "Resume with: ftcli resume runs/parts\n" in err
        assert json.loads(Path("runs/parts/seeds.json").read_text())["finished"] is False
    resumed = ftcli("train", "--resume", "runs/parts", "--json").json
    assert (resumed["finished"], len(resumed["runs"])) == (True, 3)
    for seed in range(3):
        assert_same_runs(Path(f"runs/whole/seed-{seed}"), Path(f"runs/parts/seed-{seed}"))


def test_time_that_is_up_is_up_for_all_seeds(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "--max-minutes", 0)
    assert "the time is up in the run of seed 0. Resume with: ftcli resume runs/s" in outcome.out
    assert not Path("runs/s/seed-1").exists()
    assert ftcli("train", "--resume", "runs/s", "--json").json["finished"] is True


def test_epochs_are_raised_for_all_seeds_and_for_those_to_come(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--seeds", "0,1,2", "--name", "s", "--quiet")
    shutil.rmtree("runs/s/seed-2")
    stopped = ftcli("train", "--resume", "runs/s", "epochs=3", "--max-minutes", 0, "--json").json
    assert stopped["finished"] is False
    assert json.loads(Path("runs/s/seeds.json").read_text())["finished"] is False
    resumed = ftcli("train", "--resume", "runs/s", "--json").json
    assert [run["epochs"] for run in resumed["runs"]] == [3, 3, 3]
    assert all("\nepochs: 3\n" in path.read_text() for path in Path("runs/s").rglob("recipe.yaml"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runs/s", "strategy.lr=0.5"), "strategy.lr: cannot change in a run that has begun"),
        (("runs/s", "epochs=1"), "epochs: can only be increased (currently: 2)"),
        (("runs/s/seed-0", "epochs=3"), "Raise it for all: ftcli resume runs/s epochs=3"),
        (("link to seed 0", "epochs=3"), "/runs/s epochs=3"),
    ],
)
def test_seeds_stay_alike(ftcli: Ftcli, recipe: Path, arguments: tuple[str, ...], words: str) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "--quiet")
    shutil.rmtree("runs/s/seed-0" if len(arguments[0]) == len("runs/s") else "runs/s/seed-1")
    Path("link to seed 0").symlink_to("runs/s/seed-0")
    before = sorted(Path("runs/s").rglob("*"))
    assert words in ftcli("train", "--resume", *arguments, code=2).err
    assert sorted(Path("runs/s").rglob("*")) == before


@pytest.mark.parametrize("again", [(), ("epochs=3",)])
def test_a_seed_that_goes_on_alone_has_what_was_raised_for_all(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch, again: tuple[str, ...]
) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "--quiet")
    with monkeypatch.context() as patch:

        def stop(_progress: object, _record: EpochRecord, *, epochs: int, best: bool) -> None:
            raise StoppedAtOnce(signal.SIGINT)

        patch.setattr(LineProgress, "epoch", stop)
        ftcli("train", "--resume", "runs/s", "epochs=3", code=130)
    assert "\nepochs: 2\n" in Path("runs/s/seed-1/recipe.yaml").read_text(), "it was not reached"
    assert ftcli("train", "--resume", "runs/s/seed-1", *again, "--json").json["epochs"] == 3
    resumed = ftcli("train", "--resume", "runs/s", "--json").json
    assert [run["epochs"] for run in resumed["runs"]] == [3, 3]


def test_another_run_that_lies_among_seeds_goes_on_with_its_own_recipe(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "--quiet")
    ftcli(
        "train", recipe, "--runs", "runs/s", "--name", "mine", "epochs=1", "strategy={kind: feature-extract, lr: 2e-2}"
    )
    assert "is finished" in ftcli("train", "--resume", "runs/s/mine").out
    assert ftcli("train", "--resume", "runs/s/mine", "epochs=3", "--json").json["epochs"] == 3


def test_seeds_that_another_process_replaces_meanwhile_are_left_to_it(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_and_replaced(directory: SeedsDirectory, *arguments: Any, **options: Any) -> int:
        made = create_seeds(directory, *arguments, **options)
        create_seeds(directory, (7,), "recipe of the other", overwrite=True)
        return made

    with monkeypatch.context() as patch:
        patch.setattr("ftcli.commands.seeds.create_seeds", made_and_replaced)
        err = ftcli("train", recipe, "--seeds", "0,1", "--name", "s", code=2).err
    assert "runs/s: was replaced by another process" in err
    assert json.loads(Path("runs/s/seeds.json").read_text())["seeds"] == [7]
    assert not list(Path("runs/s").glob("seed-*"))


@pytest.mark.parametrize("trained", ["runs/s/seed-1", "runs/s"])
def test_seeds_that_are_being_trained_are_left_alone(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch, trained: str
) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "--quiet")
    monkeypatch.setattr("ftcli.runs.lock.PATIENCE_SECONDS", 0)
    with FileLock(f"{trained}/.lock"):
        for arguments in ((recipe, "--seeds", "7", "--name", "s", "--overwrite"), ("--resume", "runs/s", "epochs=3")):
            assert "another process is training this run" in ftcli("train", *arguments, code=2).err
    assert Path("runs/s/seed-1/summary.json").is_file()


def test_a_failure_in_one_seed_says_how_to_go_on_with_all(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RunDirectory.append

    def fail(run: RunDirectory, record: EpochRecord) -> None:
        if run.path.name == "seed-1":
            raise RunError("cannot write: no space left on device", where="x")
        append(run, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", fail)
        err = ftcli("train", recipe, "--seeds", "0,1", "--name", "s", code=1).err
    assert "Resume with: ftcli resume runs/s\n" in err
    assert ftcli("train", "--resume", "runs/s", "--json").json["finished"] is True


def test_compare_takes_the_directory_for_its_runs(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "a", "--quiet")
    ftcli("train", recipe, "--seeds", "0,1", "--name", "b", "strategy={kind: feature-extract, lr: 1e-3}", "--quiet")
    compared = ftcli("compare", "runs/a", "runs/b", "--json").json
    assert compared["runs"] == ["runs/a/seed-0", "runs/a/seed-1", "runs/b/seed-0", "runs/b/seed-1"]


@pytest.fixture
def half_done(ftcli: Ftcli, recipe: Path) -> Path:
    """Four seeds: one finished, one stopped after an epoch, one before its first, and one not begun."""
    ftcli("train", recipe, "--seeds", "0,1,2,3", "--name", "s", "--quiet")
    shutil.rmtree("runs/s/seed-3")
    for file in ("seed-1/summary.json", "seed-2/summary.json", "seed-2/predictions/val.csv"):
        Path("runs/s", file).unlink()
    return Path("runs/s")


def test_seeds_that_are_not_trained_yet_are_named_with_what_to_do(ftcli: Ftcli, half_done: Path) -> None:
    early = "runs/s/seed-1 has not finished: its figures are those of its epochs so far."
    none_yet = "runs/s/seed-2, runs/s/seed-3 have no figures yet and are left out."
    told = f"{early} {none_yet} Resume with: ftcli resume runs/s"
    for form in ([], ["--markdown"]):
        shown = ftcli("compare", half_done, *form).out.replace("\\", "")
        assert " ".join(shown.split()).count(told) == 1
    found = ftcli("compare", half_done, "--json").json
    assert found["runs"] == ["runs/s/seed-0", "runs/s/seed-1"]
    assert found["unfinished"] == ["runs/s/seed-1"]
    assert found["awaited"] == ["runs/s/seed-2", "runs/s/seed-3"]
    err = ftcli("compare", half_done, "--fail-if", "worse", code=3).err
    assert "seed-1, runs/s/seed-2, runs/s/seed-3 have not finished" in err
    assert err.endswith("Finish them first:\n  ftcli resume runs/s\n")


def test_too_few_seeds_to_compare_are_told_from_too_few_paths(ftcli: Ftcli, half_done: Path) -> None:
    (half_done / "seed-1/predictions/val.csv").unlink()
    err = ftcli("compare", half_done, code=2).err
    assert "compare needs at least two runs\nruns/s/seed-1, runs/s/seed-2, runs/s/seed-3 have no figures yet" in err
    shutil.rmtree(half_done / "seed-0")
    err = ftcli("compare", half_done, half_done, code=2).err
    assert "runs/s: no seed has finished an epoch yet\nResume with: ftcli resume runs/s\n" in err
    for seed in (1, 2):
        shutil.rmtree(half_done / f"seed-{seed}")
    err = ftcli("eval", half_done, code=2).err
    assert "several seeds\nNone of them has started. Resume with: ftcli resume runs/s\n" in err


def test_every_run_is_expected_to_do_as_well(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "expect={val_log_loss: '<= 1e-12'}", code=4)
    assert outcome.out.count("FAILS") == 2
    assert "seed 1: gate" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seeds", "0,0"), "seeds: each seed must be listed once"),
        (("--seeds", "0,x"), "--seeds takes whole numbers such as 0,1,2, not '0,x'"),
        (("--seeds", "-1"), "--seeds takes whole numbers"),
        (("--seeds", str(2**63)), "seeds.0: must be below"),
        (("seeds=[]",), "seeds: must not be empty"),
        (("seeds=[1]", "seed=2"), "seed: would have no effect"),
    ],
)
def test_wrong_seeds_are_refused(ftcli: Ftcli, recipe: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in ftcli("train", recipe, *arguments, code=2).err
    assert not Path("runs").exists()


def test_a_directory_of_seeds_is_no_run_and_no_place_for_one(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--seeds", "0,1", "--name", "s", "epochs=1", "--quiet")
    assert ftcli("eval", "runs/s", code=2).err == (
        "error: runs/s: holds the runs of several seeds\n"
        "Give one of them: runs/s/seed-0, runs/s/seed-1. ftcli compare and ftcli report take the directory.\n"
    )
    assert "already exists" in ftcli("train", recipe, "--seeds", "0,1", "--name", "s", code=2).err
    assert "so it is not overwritten" in ftcli("train", recipe, "--name", "s", "--overwrite", code=2).err
    ftcli("train", recipe, "--name", "a", "epochs=1", "--quiet")
    assert "is not overwritten" in ftcli("train", recipe, "--seeds", "0,1", "--name", "a", "--overwrite", code=2).err
    ftcli("train", recipe, "--seeds", "4", "--name", "s", "epochs=1", "--overwrite", "--quiet")
    assert sorted(path.name for path in Path("runs/s").iterdir()) == [".lock", "recipe.yaml", "seed-4", "seeds.json"]


def test_wrong_images_are_found_before_the_first_run(ftcli: Ftcli, recipe: Path, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "images")
    (tmp_path / "images/train/red/000.png").write_bytes(b"")
    outcome = ftcli("train", recipe, f"data.root={tmp_path / 'images'}", "--seeds", "0,1", "--name", "s", code=3)
    assert "000.png" in outcome.err
    assert not Path("runs/s").exists()


def test_a_seed_that_is_too_large_is_one_problem(ftcli: Ftcli, recipe: Path) -> None:
    err = ftcli("train", recipe, "--seeds", "9" * 23, code=2).err
    assert err == f"error: --seeds: seeds.0: must be below {2**63}, not {'9' * 23}\n"
    assert "must not be empty" in ftcli("train", recipe, "seeds=[]", code=2).err
