"""Interrupted and resumed equals uninterrupted, bitwise, through the real command line."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from helpers.same_runs import assert_same_runs
from helpers.support import Ftcli

from ftcli.errors import StoppedAtOnce
from ftcli.interrupt import Deadline
from ftcli.report.progress import LineProgress
from ftcli.runs.checkpoint import load_checkpoint

STRATEGIES = {
    "feature-extract": "{kind: feature-extract, lr: 1e-2}",
    "fine-tune": "{kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}, head_epochs: 1}",
    "gradual": "{kind: gradual, lr: 1e-2, epochs_per_phase: 1, unfreeze: 2}",
    "phases": "{kind: phases, phases: [{epochs: 2, lr: {head: 1e-2}}, {epochs: 2, lr: {features.12: 1e-3}}]}",
}
MODEL = "squeezenet1_1"  # small, with dropout in its head


@dataclass(frozen=True)
class Interruption:
    """Makes the process stop, as by Ctrl-C, once an epoch is written down."""

    monkeypatch: pytest.MonkeyPatch

    def after(self, epoch: int | None) -> None:
        def stop(_progress: object, record: Any, *, epochs: int, best: bool) -> None:
            if record.epoch == epoch:
                raise StoppedAtOnce(signal.SIGINT)

        self.monkeypatch.setattr(LineProgress, "epoch", stop)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interruption:
    return Interruption(monkeypatch)


def write_recipe(tiny: Path, strategy: str, *extra: str) -> Path:
    lines = [
        f"data: {{root: {tiny}, image_size: 32, batch_size: 4, workers: 0, views: 2}}",
        f"model: {{name: {MODEL}, weights: none}}",
        f"strategy: {STRATEGIES[strategy]}",
        *([] if strategy == "phases" else ["epochs: 4"]),
        "optimizer: {kind: adam}",
        *extra,
    ]
    path = Path("recipe.yaml")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("cache", ["cold", "warm", "off"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_interrupted_after_every_epoch_is_bitwise_the_uninterrupted_one(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, strategy: str, cache: str
) -> None:
    recipe = write_recipe(tiny, strategy)
    if cache == "off":
        recipe.write_text(recipe.read_text().replace("views: 2", "views: 2, cache: off"))
    ftcli("train", recipe, "--name", "whole")
    if cache == "cold":
        interrupt.monkeypatch.setenv("FTCLI_CACHE", str(Path("another cache").absolute()))
    interrupt.after(1)
    ftcli("train", recipe, "--name", "parts", code=130)
    for epoch in (2, 3, 4):
        interrupt.after(epoch)
        ftcli("train", "--resume", "runs/parts", code=130)
    assert not Path("runs/parts/summary.json").exists()
    outcome = ftcli("train", "--resume", "runs/parts")
    assert outcome.out.splitlines()[-1] == "runs/parts"
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))


@pytest.mark.parametrize(
    "override",
    [
        "optimizer={kind: sgd, momentum: 0.9}",
        "data.views=fresh",
        "precision=fp16",
        "strategy={kind: from-scratch}",
        "schedule={kind: step, step_epochs: 2}",
    ],
)
def test_whatever_moves_between_epochs_is_as_it_was(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, override: str
) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "--name", "whole", override)
    interrupt.after(2)
    ftcli("train", recipe, "--name", "parts", override, code=130)
    ftcli("train", "--resume", "runs/parts")
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))


def test_another_number_of_threads_is_noticed(ftcli: Ftcli, tiny: Path, interrupt: Interruption) -> None:
    recipe = write_recipe(tiny, "feature-extract")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "parts", code=130)
    threads = torch.get_num_threads()
    interrupt.monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    interrupt.after(None)
    assert f"threads {threads} is now {threads + 1}" in ftcli("resume", "runs/parts").err


def test_a_fitted_head_is_not_fitted_again(ftcli: Ftcli, tiny: Path, interrupt: Interruption) -> None:
    recipe = write_recipe(tiny, "feature-extract")
    text = "\n".join(line for line in recipe.read_text().splitlines() if not line.startswith(("epochs", "optimizer")))
    recipe.write_text(text.replace("lr: 1e-2", "solver: lbfgs").replace(MODEL, "timm/test_resnet"))
    ftcli("train", recipe, "--name", "whole")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "parts", code=130)
    assert "epoch 1" not in ftcli("train", "--resume", "runs/parts").err.replace("after epoch 1", "")
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))


@pytest.mark.parametrize(("schedule", "annealing"), [("constant", 0), ("cosine", 2)])
def test_patience_counts_on(ftcli: Ftcli, tiny: Path, interrupt: Interruption, schedule: str, annealing: int) -> None:
    recipe = write_recipe(tiny, "feature-extract", "patience: 3", "monitor: val_accuracy")
    overrides = ["epochs=9", "strategy.lr=1e-30", f"schedule.kind={schedule}", "optimizer={kind: sgd, momentum: 0}"]
    whole = ftcli("train", recipe, "--name", "whole", *overrides, "--json").json
    assert whole["epochs"] == 4 + annealing, "nothing moves, so no epoch is better than the first"
    interrupt.after(whole["epochs"] - 1)
    ftcli("train", recipe, "--name", "parts", *overrides, code=130)
    ftcli("train", "--resume", "runs/parts")
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))
    further = ftcli("train", "--resume", "runs/parts", "patience=5", "--json").json
    assert further["epochs"] == 6 + annealing


def test_a_finished_run_says_so_and_stays_as_it_is(ftcli: Ftcli, tiny: Path) -> None:
    trained = ftcli("train", write_recipe(tiny, "gradual"), "--name", "a", "--json")
    before = {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}
    again = ftcli("train", "--resume", "runs/a")
    assert again.out.startswith("runs/a is finished")
    assert again.out.splitlines()[-1] == "runs/a"
    assert ftcli("train", "--resume", "runs/a", "--json").json == trained.json
    assert before == {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}


def test_a_run_that_was_killed_before_its_page_was_made_gets_it_when_it_is_resumed(ftcli: Ftcli, tiny: Path) -> None:
    ftcli("train", write_recipe(tiny, "gradual"), "--name", "a")
    page = Path("runs/a/report.html").read_bytes()
    Path("runs/a/report.html").unlink()
    ftcli("train", "--resume", "runs/a")
    assert Path("runs/a/report.html").read_bytes() == page


def test_epochs_may_be_raised_and_the_run_says_that_they_were(ftcli: Ftcli, tiny: Path) -> None:
    ftcli("train", write_recipe(tiny, "gradual"), "--name", "a")
    result = ftcli("train", "--resume", "runs/a", "epochs=6", "--json").json
    assert (result["epochs"], result["finished"]) == (6, True)
    run = Path("runs/a")
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [*range(1, 7)]
    assert "epochs: 6\n" in (run / "recipe.yaml").read_text()
    assert [phase["epochs"] for phase in json.loads((run / "plan.json").read_text())["phases"]] == [1, 1, 4]
    (resumed,) = json.loads((run / "environment.json").read_text())["resumed"]
    assert resumed["after_epoch"] == 4
    assert resumed["changes"] == {"epochs": {"a": 4, "b": 6}}
    assert ftcli("eval", run, "--json").json["metrics"]["accuracy"] == result["metrics"]["accuracy"]


def test_a_run_whose_epochs_were_raised_says_that_it_is_not_the_one_its_recipe_trains(ftcli: Ftcli, tiny: Path) -> None:
    same = "it trains the same run again"
    ftcli("train", write_recipe(tiny, "fine-tune"), "--name", "a")
    ftcli("train", "recipe.yaml", "epochs=6", "--name", "whole")
    page = Path("runs/a/report.html")
    assert same in page.read_text()
    told = "raised after epoch 4: epochs from 4 to 6. The following epochs use the rates of the new recipe"
    assert told in " ".join(ftcli("train", "--resume", "runs/a", "epochs=6").err.split())
    notices = json.loads(Path("runs/a/summary.json").read_text())["notices"]
    assert [told in notice for notice in notices].count(True) == 1
    assert same not in page.read_text()
    assert "epochs from 4 to 6 after epoch 4" in page.read_text()
    rates = [json.loads(line)["lr"]["head"] for line in Path("runs/a/metrics.jsonl").read_text().splitlines()]
    assert rates[4] > rates[3], "it rises again, which it never does in one go"
    with pytest.raises(AssertionError, match=r"metrics\.jsonl"):
        assert_same_runs(Path("runs/whole"), Path("runs/a"))


def test_epochs_that_are_raised_before_the_first_one_make_the_run_that_had_them_from_the_start(
    ftcli: Ftcli, tiny: Path
) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "epochs=6", "--name", "whole")
    ftcli("train", recipe, "--name", "a", "--max-minutes", 0)
    assert "raised" not in ftcli("train", "--resume", "runs/a", "epochs=6").err
    assert_same_runs(Path("runs/whole"), Path("runs/a"))
    assert "it trains the same run again" in Path("runs/a/report.html").read_text()


@pytest.mark.parametrize("write", ["ensure_json", "write_json"])
def test_epochs_that_were_being_raised_when_the_process_died_are_written_down_by_the_next_one(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, write: str
) -> None:
    ftcli("train", write_recipe(tiny, "gradual"), "--name", "a")

    def die(*_: object) -> None:
        raise StoppedAtOnce(signal.SIGTERM)

    with interrupt.monkeypatch.context() as patch:
        patch.setattr(f"ftcli.commands.resume.{write}", die)
        ftcli("train", "--resume", "runs/a", "epochs=6", code=143)
    assert ftcli("train", "--resume", "runs/a", "--json").json["epochs"] == 6
    run = Path("runs/a")
    assert [phase["epochs"] for phase in json.loads((run / "plan.json").read_text())["phases"]] == [1, 1, 4]
    (resumed,) = json.loads((run / "environment.json").read_text())["resumed"]
    assert resumed["changes"] == {"epochs": {"a": 4, "b": 6}}


def test_what_is_damaged_in_an_unfinished_run_and_follows_from_the_rest_is_written_anew(
    ftcli: Ftcli, tiny: Path
) -> None:
    recipe = write_recipe(tiny, "gradual")
    ftcli("train", recipe, "--name", "whole")
    ftcli("train", recipe, "--name", "a", "--max-minutes", 0)
    names = ["plan.json", "train.sha256"]
    for name in names:
        (Path("runs/a") / name).write_text("{}")
    ftcli("train", "--resume", "runs/a")
    assert [Path(f"runs/a/{name}").read_bytes() == Path(f"runs/whole/{name}").read_bytes() for name in names] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("strategy", "override", "words"),
    [
        ("gradual", "seed=1", "seed: cannot change in a run that has begun; it is 0"),
        ("gradual", "strategy.lr=1", "strategy.lr: cannot change in a run that has begun; it is 0.01"),
        ("gradual", "epochs=3", "epochs: can only be increased (currently: 4)"),
        ("gradual", "patience=3", "patience: can only be increased (currently: never stop early)"),
        ("gradual", "epoch=5", "did you mean 'epochs'?"),
        ("phases", "strategy.phases.0.epochs=5", "phase 'phase 1' ended after 2 epochs"),
        ("phases", "strategy.phases=[{epochs: 9, lr: {head: 1}}]", "strategy.phases.0.lr.head: cannot change"),
    ],
)
def test_any_other_change_is_refused_by_name(
    ftcli: Ftcli, tiny: Path, strategy: str, override: str, words: str
) -> None:
    ftcli("train", write_recipe(tiny, strategy), "--name", "a")
    before = {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}
    assert words in ftcli("train", "--resume", "runs/a", override, code=2).err
    assert before == {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}


def test_the_epochs_of_the_last_phase_may_be_raised(ftcli: Ftcli, tiny: Path) -> None:
    ftcli("train", write_recipe(tiny, "phases"), "--name", "a")
    assert ftcli("train", "--resume", "runs/a", "strategy.phases.1.epochs=3", "--json").json["epochs"] == 5


def test_a_run_without_an_epoch_starts_over(ftcli: Ftcli, tiny: Path) -> None:
    recipe = write_recipe(tiny, "gradual")
    ftcli("train", recipe, "--name", "whole")
    stopped = ftcli("train", recipe, "--name", "parts", "--max-minutes", 0)
    assert "the time is up; no epoch was finished. Resume with: ftcli resume runs/parts" in stopped.out
    assert stopped.out.splitlines()[-1] == "runs/parts"
    resumed = ftcli("train", "--resume", "runs/parts")
    assert "no epoch was finished, so the run starts over" in resumed.err
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))


def test_a_run_with_many_probabilities_is_resumed_exactly_and_read_by_every_command(
    ftcli: Ftcli, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftcli.runs.predictions_file.MANY_CELLS", 1)
    recipe, whole, parts = (
        write_recipe(tiny, "feature-extract", "report: false"),
        Path("runs/whole"),
        Path("runs/parts"),
    )
    ftcli("train", recipe, "epochs=2", "--name", "whole")
    with monkeypatch.context() as patch:

        def stop(*_arguments: object) -> None:
            raise StoppedAtOnce(signal.SIGINT)

        patch.setattr("ftcli.commands.training_run.write_predictions", stop)
        ftcli("train", recipe, "epochs=2", "--name", "parts", code=130)
    assert not (parts / "predictions/val.csv").exists()
    ftcli("resume", parts)
    assert_same_runs(whole, parts)
    (one,), (other,) = (list((run / "predictions").glob("*.safetensors")) for run in (whole, parts))
    assert one.read_bytes() == other.read_bytes()
    again = ftcli("eval", parts, "--predictions", "again.csv", "--json").json["metrics"]
    summary = json.loads((parts / "summary.json").read_text())["metrics"]
    assert again["log_loss"]["value"] == pytest.approx(summary["log_loss"]["value"], rel=1e-4)
    assert len(list(Path().glob("again.csv.*.safetensors"))) == 1
    assert ftcli("compare", whole, parts, "--json").json["metrics"]["log_loss"]["difference"] == 0
    assert "Mistakes" in Path(ftcli("report", parts, "--json").json["page"]).read_text()


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_whose_last_checkpoint_is_gone_is_refused_and_not_begun_anew(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption
) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "--name", "finished")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "stopped", code=130)
    for run, override, epochs in (("finished", ["epochs=6"], "4 epochs"), ("stopped", [], "1 epoch")):
        Path("runs", run, "checkpoints/last.safetensors").unlink()
        before = contents(Path("runs", run))
        err = ftcli("train", "--resume", f"runs/{run}", *override, code=2).err
        assert f"runs/{run}/checkpoints/last.safetensors: is missing, although metrics.jsonl has {epochs}" in err
        assert "Restore the file from a copy, or train a new run" in err
        assert contents(Path("runs", run)) == before
    for gone in ("metrics.jsonl", "checkpoints/best.safetensors"):  # what else tells of an epoch
        Path("runs/stopped", gone).unlink()
        assert "last.safetensors: is missing, although" in ftcli("train", "--resume", "runs/stopped", code=2).err


@pytest.mark.parametrize("override", [[], ["epochs=6"]])
@pytest.mark.parametrize("damage", ["gone", "cut", "exchanged"])
def test_a_finished_run_of_which_a_file_is_damaged_is_refused_and_stays_as_it_is(
    ftcli: Ftcli, tiny: Path, damage: str, override: list[str]
) -> None:
    ftcli("train", write_recipe(tiny, "fine-tune"), "--name", "a")
    run = Path("runs/a")
    (run / "checkpoints/.last.safetensors.0.tmp").write_text("half")
    for name in ("checkpoints/best.safetensors", "checkpoints/last.safetensors", "predictions/val.csv"):
        whole = (run / name).read_bytes()
        (run / name).unlink()
        if damage != "gone":
            (run / name).write_bytes(whole[:-9] if damage == "cut" else (run / "plan.json").read_bytes())
        before = contents(run)
        assert f"runs/a/{name}: " in ftcli("train", "--resume", run, *override, code=2).err
        assert contents(run) == before
        (run / name).write_bytes(whole)
    ftcli("train", "--resume", run, *override)


def test_an_unfinished_run_without_the_files_of_its_best_epoch_is_refused_and_stays_as_it_is(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption
) -> None:
    interrupt.after(3)
    ftcli("train", write_recipe(tiny, "fine-tune"), "monitor=val_loss", "--name", "a", code=130)
    run = Path("runs/a")
    assert load_checkpoint(run / "checkpoints/best.safetensors").info.epoch < 3, (
        "the best epoch is not the last one, whose files are written anew"
    )
    for name in ("checkpoints/best.safetensors", "predictions/val.csv"):
        whole = (run / name).read_bytes()
        (run / name).unlink()
        before = contents(run)
        assert f"runs/a/{name}: " in ftcli("train", "--resume", run, code=2).err
        assert contents(run) == before
        (run / name).write_bytes(whole)


def test_a_run_that_was_killed_just_before_its_first_epoch_counted_starts_over(
    ftcli: Ftcli, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "--name", "whole")

    def die(*_: object) -> None:
        raise StoppedAtOnce(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("ftcli.runs.checkpoint.save_checkpoint", die)
        ftcli("train", recipe, "--name", "a", code=130)
        assert Path("runs/a/checkpoints/resume.1.safetensors").is_file()
        ftcli("train", "--resume", "runs/a", code=130)
        assert Path("runs/a/metrics.jsonl").read_text() == ""
    assert "no epoch was finished, so the run starts over" in ftcli("train", "--resume", "runs/a").err
    assert_same_runs(Path("runs/whole"), Path("runs/a"))


def test_time_that_is_up_keeps_the_epochs_and_exits_0(
    ftcli: Ftcli, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tiny, "gradual")
    ftcli("train", recipe, "--name", "whole")
    passed = iter([0.0] * 14 + [3600.0] * 99)  # five batches in each of the first two epochs
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "seconds", property(lambda _deadline: next(passed)))
        result = ftcli("train", recipe, "--name", "parts", "--max-minutes", 30, "--json").json
    assert result["finished"] is False
    assert 1 <= result["epochs"] <= 3
    assert result["metrics"]["accuracy"]["value"] > 0
    assert not Path("runs/parts/summary.json").exists()
    ftcli("train", "--resume", "runs/parts")
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))


def test_a_line_that_was_being_written_is_written_anew(ftcli: Ftcli, tiny: Path, interrupt: Interruption) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "--name", "whole")
    for number, cut in enumerate((1, 40, 10_000)):
        interrupt.after(2)
        ftcli("train", recipe, "--name", f"parts{number}", code=130)
        metrics = Path(f"runs/parts{number}/metrics.jsonl")
        first, second = metrics.read_text().splitlines(keepends=True)
        metrics.write_text(first + second[:-cut] if cut < 10_000 else first + second + second[:30])
        interrupt.after(None)
        ftcli("train", "--resume", metrics.parent)
        assert_same_runs(Path("runs/whole"), metrics.parent)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("metrics.jsonl", "does not hold epochs 1 to 2"),
        ("checkpoints/resume.3.safetensors", "is missing, but last.safetensors has epoch 3"),
        ("checkpoints/best.safetensors", "does not exist"),
        ("environment.json", "has no environment.json"),
        ("dataset.json", "is missing"),
        ("recipe.yaml", "has no recipe.yaml"),
    ],
)
def test_a_file_that_is_gone_is_named(ftcli: Ftcli, tiny: Path, interrupt: Interruption, file: str, words: str) -> None:
    interrupt.after(3)
    ftcli("train", write_recipe(tiny, "fine-tune"), "monitor=val_loss", "--name", "a", code=130)
    Path("runs/a", file).write_text("") if file == "metrics.jsonl" else Path("runs/a", file).unlink()
    err = ftcli("train", "--resume", "runs/a", code=None).err
    assert words in err
    assert "runs/a" in err


def test_other_images_are_refused(ftcli: Ftcli, tiny: Path, tmp_path: Path, interrupt: Interruption) -> None:
    shutil.copytree(tiny, tmp_path / "images")
    recipe = write_recipe(tmp_path / "images", "fine-tune")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "a", code=130)
    shutil.copy(tiny / "val/red/000.png", tmp_path / "images/train/red/000.png")
    assert "the images of train have changed" in ftcli("train", "--resume", "runs/a", code=3).err


def test_a_run_that_is_being_trained_is_left_alone(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt.after(1)
    recipe = write_recipe(tiny, "fine-tune")
    ftcli("train", recipe, "--name", "a", code=130)
    monkeypatch.setattr("ftcli.runs.lock.PATIENCE_SECONDS", 0)
    with FileLock("runs/a/.lock"):
        for arguments in (("--resume", "runs/a"), (recipe, "--name", "a", "--overwrite")):
            assert "another process is training this run" in ftcli("train", *arguments, code=2).err
    ftcli("train", "--resume", "runs/a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recipe.yaml", "--resume", "runs/a"], "a resumed run uses its own recipe"),
        (["--resume", "runs/a", "--name", "b"], "--name cannot be combined with --resume"),
        (["--resume", "runs/nothing"], "runs/nothing: does not exist"),
    ],
)
def test_what_cannot_stand_beside_resume_is_refused(ftcli: Ftcli, arguments: list[str], words: str) -> None:
    assert words in ftcli("train", *arguments, code=2).err


def test_a_run_that_began_elsewhere_says_where(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, "images")
    recipe = write_recipe(Path("images"), "fine-tune")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "a", code=130)
    began = Path.cwd()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    err = ftcli("train", "--resume", "../runs/a", code=3).err
    assert f"Change to that directory first: cd {began}" in err


def test_train_with_resume_is_the_same_as_resume(ftcli: Ftcli, tiny: Path, interrupt: Interruption) -> None:
    recipe = write_recipe(tiny, "fine-tune")
    for name in ("a", "b"):
        with interrupt.monkeypatch.context():
            interrupt.after(1)
            ftcli("train", recipe, "--name", name, code=130)
            interrupt.after(None)
    assert ftcli("resume", "runs/a", "epochs=4", "--json").json["epochs"] == 4
    assert ftcli("train", "--resume", "runs/b", "epochs=4", "--json").json["epochs"] == 4
    assert_same_runs(Path("runs/a"), Path("runs/b"))


def test_resume_takes_overrides_and_nothing_else(ftcli: Ftcli) -> None:
    assert "a resumed run uses its own recipe" in ftcli("resume", "runs/a", "recipe.yaml", code=2).err
    assert "runs/a: does not exist" in ftcli("resume", "runs/a", code=2).err
