import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.support import Ftcli, MakeRun, write_images
from safetensors.torch import save_file
from torch import zeros

from ftcli.runs.predictions_file import read_predictions

NOT_KNOWN = {"trained_on": None, "chose_epoch": None}


@pytest.fixture
def run(ftcli: Ftcli, tiny: Path) -> Path:
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, workers: 0}}\nmodel: {{name: timm/test_resnet, weights: none}}\n"
        "strategy: {kind: from-scratch, lr: 1e-2}\nepochs: 2\n"
    )
    ftcli("train", "recipe.yaml", "--name", "a")
    return Path("runs/a")


def test_eval_reproduces_the_run_s_own_predictions_from_a_copy_of_the_checkpoint_alone(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone/model.safetensors"
    alone.parent.mkdir()
    shutil.copy(run / "checkpoints/best.safetensors", alone)
    trained = read_predictions(run / "predictions/val.csv")
    shutil.rmtree(run)
    result = ftcli("eval", alone, "--data", tiny / "val", "--predictions", "out/again.csv", "--json").json
    again = read_predictions(Path("out/again.csv"))
    assert again.sha256 == trained.sha256
    np.testing.assert_allclose(again.probabilities, trained.probabilities, atol=1e-5)
    assert result["images"] == 12
    assert result["classes"] == ["blue", "red"]
    assert sum(map(sum, result["confusion"])) == 12
    assert [entry["name"] for entry in result["per_class"]] == ["blue", "red"]


@pytest.mark.parametrize(
    ("precision", "model", "strategy"),
    [
        ("bf16", "timm/test_efficientnet", "{kind: gradual, lr: 1e-2, unfreeze: 1, epochs_per_phase: 1}"),
        ("fp16", "timm/test_resnet", "{kind: from-scratch}"),
    ],
)
def test_eval_agrees_with_a_training_in_half_precision(
    ftcli: Ftcli, tiny: Path, precision: str, model: str, strategy: str
) -> None:
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 4, workers: 0, views: 2}}\n"
        f"model: {{name: {model}, weights: none}}\nstrategy: {strategy}\nepochs: 2\nprecision: {precision}"
    )
    ftcli("train", "recipe.yaml", "--name", "half")
    ftcli("eval", "runs/half", "--predictions", "again.csv")
    a, b = (read_predictions(Path(file)) for file in ("runs/half/predictions/val.csv", "again.csv"))
    np.testing.assert_allclose(a.probabilities, b.probabilities, rtol=0, atol=1e-5)


def test_eval_of_a_run_scores_its_own_split_and_agrees_with_its_summary(ftcli: Ftcli, run: Path) -> None:
    result = ftcli("eval", run, "--json").json
    summary = json.loads((run / "summary.json").read_text())
    for name in ("accuracy", "macro_f1", "log_loss", "ece"):
        assert result["metrics"][name]["value"] == pytest.approx(summary["metrics"][name]["value"], abs=1e-5)
    assert ftcli("eval", run, "--split", "train", "--json").json["images"] == 18


def test_eval_shows_intervals_classes_and_the_warning_about_val(ftcli: Ftcli, run: Path) -> None:
    shown = ftcli("eval", run).out
    for words in ("95 % interval", "accuracy", "log loss", "precision", "recall", "blue", "flatters"):
        assert words in shown
    for form in ((), ("--markdown",)):
        shown = " ".join(ftcli("eval", run, "--split", "train", *form).out.split())
        assert "The network was trained on these images, which flatters it" in shown
        assert "best epoch was chosen" not in shown
    assert ftcli("eval", run, "--split", "train", "--json").json["seen"] == {"trained_on": 18, "chose_epoch": 0}


@pytest.mark.parametrize("given", ["", "checkpoints/best.safetensors"], ids=["run", "checkpoint"])
def test_images_that_the_run_was_trained_on_are_counted_by_content(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path, given: str
) -> None:
    write_images(tmp_path / "mixed/red", count=4, colour=(180, 90, 70), side=30)
    for split, name in (("train", "0"), ("train", "1"), ("val", "2")):
        shutil.copy(tiny / split / f"red/00{name}.png", tmp_path / f"mixed/red/{split}-{name}.png")
    arguments = ("eval", run / given, "--data", tmp_path / "mixed")
    assert ftcli(*arguments, "--json").json["seen"] == {"trained_on": 2, "chose_epoch": 1}
    shown = " ".join(ftcli(*arguments).out.split())
    assert "The network was trained on 2 of these 7 images, which flatters it" in shown
    assert "The best epoch was chosen on 1 of these 7 images, which flatters it" in shown


def test_what_a_run_was_trained_on_is_known_even_if_its_images_change(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path
) -> None:
    here = tmp_path / "moved"
    shutil.copytree(tiny, here)
    text = (run / "recipe.yaml").read_text()
    assert str(tiny) in text
    Path("other.yaml").write_text(text.replace(str(tiny), str(here)))
    ftcli("train", "other.yaml", "--name", "b", "epochs=2")
    # Dealt anew, one image each way, so that every split has as many as before.
    for one, other in (("train", "val"), ("val", "train")):
        (here / one / "red/000.png").rename(here / other / "red/dealt.png")
    assert ftcli("eval", "runs/b", "--json").json["seen"] == {"trained_on": 1, "chose_epoch": 11}
    assert ftcli("eval", "runs/b", "--split", "train", "--json").json["seen"] == {"trained_on": 17, "chose_epoch": 1}
    here.rename(tmp_path / "away")
    arguments = ("--data", tmp_path / "away/train", "--json")
    for given in ("runs/b", "runs/b/checkpoints/best.safetensors"):
        assert ftcli("eval", given, *arguments).json["seen"] == {"trained_on": 17, "chose_epoch": 1}


def test_a_checkpoint_is_known_by_where_it_really_is(
    ftcli: Ftcli, run: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--data", tiny / "train", "--json")
    shutil.copytree(run, "runs/other")
    Path("runs/other/train.sha256").write_text(f"{'0' * 64}  another.png\n")
    Path("runs/other/mine").mkdir()
    foreign = shutil.copy(run / "checkpoints/best.safetensors", "runs/other/mine")
    assert ftcli("eval", foreign, *arguments).json["seen"] == NOT_KNOWN
    Path("link.safetensors").symlink_to(run / "checkpoints/best.safetensors")
    assert ftcli("eval", "link.safetensors", *arguments).json["seen"] == {"trained_on": 18, "chose_epoch": 0}
    monkeypatch.chdir(run / "checkpoints")
    assert ftcli("eval", "best.safetensors", *arguments).json["seen"] == {"trained_on": 18, "chose_epoch": 0}


def test_a_run_of_an_older_version_is_known_by_the_name_of_its_split(ftcli: Ftcli, run: Path, tiny: Path) -> None:
    (run / "summary.json").unlink()
    (run / "train.sha256").unlink()
    for given in (run, run / "checkpoints/best.safetensors"):
        seen = [
            ftcli("eval", given, *arguments, "--json").json["seen"]
            for arguments in (("--split", "train"), (), ("--data", tiny / "val"))
        ]
        assert [each["trained_on"] for each in seen] == [18, None, None]
        assert [each["chose_epoch"] for each in seen] == [0, 12, 12]


def test_a_damaged_list_of_images_stops_the_eval_of_a_run_before_it_begins_and_not_that_of_a_checkpoint(
    ftcli: Ftcli, run: Path
) -> None:
    with (run / "train.sha256").open("a") as file:
        file.write("x\n")
    err = ftcli("eval", run, "--predictions", "out.csv", code=2).err
    assert "train.sha256: is damaged or was edited" in err
    assert not Path("out.csv").exists()
    alone = ftcli("eval", run / "checkpoints/best.safetensors", "--json").json
    assert alone["seen"] == {**NOT_KNOWN, "chose_epoch": 12}


def test_for_a_checkpoint_outside_its_run_only_the_name_of_the_split_is_known(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path
) -> None:
    alone = shutil.copy(run / "checkpoints/best.safetensors", tmp_path)
    assert ftcli("eval", alone, "--data", tiny / "train", "--json").json["seen"] == NOT_KNOWN
    assert ftcli("eval", alone, "--split", "train", "--json").json["seen"] == {**NOT_KNOWN, "trained_on": 18}
    assert ftcli("eval", alone, "--json").json["seen"] == {**NOT_KNOWN, "chose_epoch": 12}


def test_eval_of_a_run_that_has_not_finished_says_so(ftcli: Ftcli, run: Path) -> None:
    assert ftcli("eval", run, "--json").json["unfinished"] == []
    assert "has not finished" not in ftcli("eval", run).out
    (run / "summary.json").unlink()
    for form in ((), ("--markdown",)):
        shown = " ".join(ftcli("eval", run, *form).out.split())
        assert f"{run} has not finished: its figures are those of its epochs so far. Resume with:" in shown
    assert ftcli("eval", run, "--json").json["unfinished"] == [str(run)]
    assert ftcli("eval", run / "checkpoints/best.safetensors", "--json").json["unfinished"] == []


def test_classes_are_matched_by_name_and_not_by_order(ftcli: Ftcli, run: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "only/red", count=4, colour=(180, 90, 70))
    result = ftcli("eval", run, "--data", tmp_path / "only", "--json").json
    assert [entry["images"] for entry in result["per_class"]] == [0, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--data", "missing"), 3, "missing"),
        (("--split", "test"), 3, "has no test split"),
        (("--split", "vla"), 3, "vla"),
        (("--device", "gpu"), 2, "gpu"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    ftcli: Ftcli, run: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in ftcli("eval", run, *arguments, code=code).err


def test_a_class_that_the_checkpoint_does_not_know_is_refused(ftcli: Ftcli, run: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "more/rde", count=1, colour=(180, 90, 70))
    outcome = ftcli("eval", run, "--data", tmp_path / "more", code=3)
    assert "rde" in outcome.err


def test_where_the_run_began_in_another_directory_it_is_named(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = Path.cwd()
    shutil.copytree(tiny, "photos")
    ftcli("train", "recipe.yaml", "data.root=photos", "epochs=1", "--name", "b")
    monkeypatch.chdir(tmp_path)
    for subject in (began / "runs/b", began / "runs/b/checkpoints/best.safetensors"):
        err = ftcli("eval", subject, code=3).err
        assert "photos: does not exist in the current directory" in err
        assert f"Change to that directory first: cd {began}" in err
    assert "Change to that directory" not in ftcli("eval", began / "runs/b", "--data", "missing", code=3).err
    (began / "runs/b/environment.json").write_text("{")
    err = ftcli("eval", began / "runs/b", code=3).err
    assert "photos: " in err
    assert "Change to that directory" not in err


def test_files_that_are_not_checkpoints_are_refused(ftcli: Ftcli, run: Path) -> None:
    best = run / "checkpoints/best.safetensors"
    whole = best.read_bytes()
    Path("short.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "short.safetensors: is not a readable checkpoint" in ftcli("eval", "short.safetensors", code=2).err
    Path("evil.pth").write_bytes(b"PK\x03\x04" + bytes(60))
    Path("empty.safetensors").touch()
    for other in ("evil.pth", "empty.safetensors", "recipe.yaml"):
        assert f"{other}: is not a checkpoint of ftcli" in ftcli("eval", other, code=2).err
    save_file({"a": zeros(1)}, "plain.safetensors")
    assert "without a description by ftcli" in ftcli("eval", "plain.safetensors", code=2).err
    best.unlink()
    assert "no finished epoch" in ftcli("eval", run, code=2).err


def test_eval_of_a_copied_checkpoint_reproduces_the_predictions_of_real_photographs(
    ftcli: Ftcli, hymenoptera: Path, tmp_path: Path
) -> None:
    for split, count in (("train", 4), ("val", 12)):
        for name in ("ants", "bees"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for photo in sorted((hymenoptera / split / name).glob("*.jpg"))[:count]:
                shutil.copy(photo, tmp_path / "photos" / split / name)
    Path("recipe.yaml").write_text(f"data: {{root: {tmp_path}/photos, views: 1}}\nepochs: 1\n")
    ftcli("train", "recipe.yaml", "--name", "a")
    trained = read_predictions(Path("runs/a/predictions/val.csv"))
    alone = tmp_path / "elsewhere/best.safetensors"
    alone.parent.mkdir()
    shutil.move("runs/a/checkpoints/best.safetensors", alone)
    shutil.rmtree("runs")
    val = (tmp_path / "photos/val").rename(tmp_path / "validation")
    shutil.rmtree(tmp_path / "photos")
    assert ftcli("eval", alone, "--data", val, "--predictions", "again.csv", "--json").json["images"] == 24
    again = read_predictions(Path("again.csv"))
    assert again.sha256 == trained.sha256
    np.testing.assert_allclose(again.probabilities, trained.probabilities, atol=1e-5)


def test_a_ranking_that_takes_long_is_computed_on_request(
    ftcli: Ftcli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "roc_auc" in ftcli("eval", run, "--json").json["metrics"]
    for module in ("ftcli.evaluation.ranking", "ftcli.report.format"):
        monkeypatch.setattr(f"{module}.QUICK_CELLS", 1)
    assert "--ranking" in ftcli("eval", run).out
    assert "roc_auc" not in ftcli("eval", run, "--json").json["metrics"]
    assert "roc_auc" in ftcli("eval", run, "--ranking", "--json").json["metrics"]


def test_a_temperature_is_fitted_on_one_split_and_judged_on_another(ftcli: Ftcli, run: Path, tiny: Path) -> None:
    found = ftcli("eval", run, "--calibrate", "train", "--json").json["temperature"]
    assert (found["images"], found["folds"], found["trained_on"]) == (18, 0, True)
    assert found["metrics"].keys() == {"log_loss", "ece"}
    shown = " ".join(ftcli("eval", run, "--calibrate", "val").out.split())
    assert "the figures are cross-fitted" in shown
    elsewhere = ftcli("eval", run, "--data", tiny, "--split", "train", "--calibrate", "val", "--json").json
    assert (elsewhere["images"], elsewhere["temperature"]["source"]) == (18, f"val of {tiny}")
    assert "has no test split" in ftcli("eval", run, "--calibrate", "test", code=3).err


def test_a_threshold_is_suggested_for_a_target_precision(ftcli: Ftcli, run: Path) -> None:
    found = ftcli("eval", run, "--target-precision", "0.3", "--json").json["abstention"]
    assert found["target"] == 0.3
    assert found["curve"][-1]["coverage"] == 1.0
    shown = " ".join(ftcli("eval", run, "--target-precision", "0.999").out.split())
    assert "No threshold reaches 99.9 % precision" in shown


@pytest.fixture
def demanding(ftcli: Ftcli, tiny: Path) -> Path:
    """A finished run that expects more than it can."""
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, workers: 0}}\nmodel: {{name: timm/test_resnet, weights: none}}\n"
        'epochs: 1\nexpect: {val_log_loss: "< 1e-6", test_accuracy: ">= 0.1", worst_class_recall: ">= 0"}\n'
    )
    outcome = ftcli("train", "recipe.yaml", "--name", "a", code=4)
    assert "gate expect >= 0 holds: worst_class_recall is" in outcome.out
    assert "gate expect < 1e-6 FAILS: val_log_loss is" in outcome.out
    assert "1 of 2 gates failed" in outcome.err
    assert outcome.out.splitlines()[-1] == "runs/a"
    assert "Not checked, since these images are another split: test_accuracy." in outcome.out
    return Path("runs/a")


def test_what_a_recipe_expects_is_in_the_summary_on_the_page_and_after_a_resume(ftcli: Ftcli, demanding: Path) -> None:
    summary = json.loads((demanding / "summary.json").read_text())
    outcomes = {gate["metric"]: gate["holds"] for gate in summary["gates"]}
    assert outcomes == {"val_log_loss": False, "worst_class_recall": True}
    assert summary["unchecked"] == ["test_accuracy"]
    page = (demanding / "report.html").read_text()
    assert all(html.escape(gate["sentence"]) in page for gate in summary["gates"])
    for raised in ([], ["epochs=2"]):
        resumed = ftcli("train", "--resume", demanding, *raised, "--json", code=4).json
        assert {gate["metric"]: gate["holds"] for gate in resumed["gates"]} == outcomes
        assert resumed["unchecked"] == ["test_accuracy"]
    assert json.loads((demanding / "summary.json").read_text())["gates"] == resumed["gates"]


def test_a_run_that_misses_what_is_expected_is_complete_and_exits_4_as_does_eval(
    ftcli: Ftcli, demanding: Path, tiny: Path
) -> None:
    assert (demanding / "summary.json").is_file()
    outcome = ftcli("eval", demanding, "--json", "--junit", "gates.xml", code=4)
    assert [gate["metric"] for gate in outcome.json["gates"]] == ["val_log_loss", "worst_class_recall"]
    assert outcome.json["unchecked"] == ["test_accuracy"]
    assert json.loads(outcome.err)["error"]["kind"] == "gate"
    assert 'failures="1"' in Path("gates.xml").read_text()
    assert "FAILS: val_log_loss" in ftcli("eval", demanding, "--data", tiny / "val", code=4).out
    assert "Not checked, since these images are another split" in ftcli("eval", demanding, "--split", "train").out


def test_markdown_has_gates_metrics_and_folded_classes(ftcli: Ftcli, demanding: Path) -> None:
    shown = ftcli("eval", demanding, "--markdown", code=4).out
    assert shown.startswith("## runs/a/checkpoints/best.safetensors on val of")
    assert "* **fails** `expect < 1e-6`" in shown
    assert "| metric | value | 95 % interval |" in shown
    assert "<details><summary>Classes</summary>" in shown
    assert "exclude each other" in ftcli("eval", demanding, "--markdown", "--json", code=2).err


@pytest.mark.parametrize("option", ["--predictions", "--junit"])
def test_nothing_is_written_over_a_run_and_nothing_scored_before(ftcli: Ftcli, make_run: MakeRun, option: str) -> None:
    run = make_run()  # without weights, which would be missed later
    file = run / "predictions/val.csv"
    before = file.read_bytes()
    assert f"{file}: is a file of the run {run}" in ftcli("eval", run, option, file, code=2).err
    assert file.read_bytes() == before


@pytest.mark.parametrize("given", ["", "checkpoints/best.safetensors"], ids=["run", "checkpoint"])
def test_images_that_earlier_runs_were_trained_on_are_counted_though_these_are_gone(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path, given: str
) -> None:
    other = tmp_path / "other"
    for split, number in (("train", 5), ("val", 4)):
        for name, colour in (("blue", (60, 80, 190)), ("red", (190, 80, 60))):
            write_images(other / split / name, count=number, colour=colour)
    arguments = ("train", "recipe.yaml", f"data.root={other}", "epochs=1", "strategy={kind: fine-tune, lr: 1e-3}")
    ftcli(*arguments, "--name", "b", f"model.weights={run / given}")
    ftcli(*arguments, "--name", "c", "model.weights=runs/b")
    for each in (run, Path("runs/b")):
        shutil.rmtree(each)
    ftcli("resume", "runs/c", "epochs=2")
    for target in ("runs/c", "runs/c/checkpoints/last.safetensors"):
        scored = ftcli("eval", target, "--data", tiny / "train", "--json").json
        assert (scored["seen"]["trained_on"], scored["weights"]) == (18, {"earlier": 18, "unlisted": None})
        own = ftcli("eval", target, "--data", other / "train", "--json").json
        assert (own["seen"]["trained_on"], own["weights"]["earlier"]) == (10, 10)
    assert "Earlier runs, whose weights it began with, were trained on these images." in " ".join(
        ftcli("eval", "runs/c", "--data", tiny / "train").out.split()
    )


def test_val_images_that_the_weights_were_trained_on_are_an_error_of_train_and_check(
    ftcli: Ftcli, run: Path, tiny: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned"
    shutil.copytree(tiny / "train", turned / "val")
    shutil.copytree(tiny / "val", turned / "train")
    keys = f"data: {{root: {turned}, image_size: 32, workers: 0}}\nmodel: {{name: timm/test_resnet, weights: {run}}}\n"
    Path("turned.yaml").write_text(keys + "strategy: {kind: fine-tune, lr: 1e-3}\nepochs: 1\n")
    assert "were trained on 18 images of val" in ftcli("train", "turned.yaml", "--name", "b").err
    recorded = json.loads(Path("runs/b/dataset.json").read_text())
    assert recorded["weights"] == {"from": str(run), "images": 18, "unlisted": None}
    assert [finding["code"] for finding in recorded["findings"] if finding["level"] == "error"] == ["seen-before"]
    found = ftcli("check", "turned.yaml", "--json", code=3).json["findings"]
    (seen,) = [finding for finding in found if finding["level"] == "error"]
    assert len(seen["cases"]) == 18
    assert {"files": ["val/blue/000.png"], "note": "there train/blue/000.png", "splits": []} in seen["cases"]


def test_what_a_copied_checkpoint_was_trained_on_is_not_known_in_what_begins_with_it(ftcli: Ftcli, run: Path) -> None:
    shutil.copy(run / "checkpoints/best.safetensors", "copied.safetensors")
    arguments = ("train", "recipe.yaml", "epochs=1", "strategy={kind: fine-tune, lr: 1e-3}")
    ftcli(*arguments, "--name", "b", "model.weights=copied.safetensors")
    ftcli(*arguments, "--name", "c", "model.weights=runs/b")
    for target in ("runs/b", "runs/c"):
        assert ftcli("eval", target, "--json").json["weights"]["unlisted"] == "copied.safetensors"
        assert "It began with copied.safetensors, whose training images are not known." in " ".join(
            ftcli("eval", target).out.split()
        )
    found = json.loads(Path("runs/c/dataset.json").read_text())["findings"]
    assert "weights-unlisted" in [finding["code"] for finding in found]
