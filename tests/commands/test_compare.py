import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from helpers.support import Ftcli

from ftcli.commands.compare import compare_runs
from ftcli.errors import ComparisonError, RunDirectoryError, UsageError
from ftcli.evaluation.predictions import Predictions
from ftcli.records import RunSummary
from ftcli.runs.create import create
from ftcli.runs.directory import RunDirectory
from ftcli.runs.predictions_file import write_predictions


@pytest.fixture
def make_run(tmp_path):
    def build(name, wrong, *, rate="1e-2", images=153, first=0, seed=0, epochs=5, finished=True, facts=None):
        labels = np.arange(images, dtype=np.int64) % 2
        predicted = np.where(np.isin(np.arange(images), list(wrong)), 1 - labels, labels)
        names = tuple(f"val/{image}.jpg" for image in range(images))
        hashes = tuple(f"{first + image:064x}" for image in range(images))
        run = tmp_path / name
        files = {
            "recipe.yaml": f"strategy: {{kind: fine-tune, lr: {{head: {rate}}}}}\nseed: {seed}\n",
            "plan.json": {"phases": [{"epochs": epochs}]},
            "environment.json": {"format": 1, **(facts or {})},
        }
        create(RunDirectory(run), files, overwrite=False)
        scores = np.eye(2)[predicted] * 0.8 + 0.1
        write_predictions(run / "predictions" / "val.csv", Predictions(("no", "007"), names, hashes, labels, scores))
        if finished:
            RunDirectory(run).finish(RunSummary(epochs, epochs, "val_accuracy", {}, images, 1.0, 1.0))
        return run

    return build


def test_two_runs_give_the_promised_json(make_run):
    a, b = make_run("a", range(11)), make_run("b", [7, 8, 9, 10, 100, 101, 102], rate="0.02")
    value = json.loads(json.dumps(compare_runs([a, b]).to_json(), allow_nan=False))
    assert value["schema"] == 1
    assert value["images"] == 153
    assert value["runs"] == [str(a), str(b)]
    assert value["mcnemar"] == {"b_better": 7, "a_better": 3, "p_value": pytest.approx(0.34375)}
    assert value["metrics"]["accuracy"].keys() == {"a", "b", "difference", "low", "high"}
    assert value["metrics"]["accuracy"]["difference"] == pytest.approx(4 / 153)
    assert value["recipe_changes"] == {"strategy.lr.head": {"a": 0.01, "b": 0.02}}
    assert value["gates"] == []
    assert [len(value["flips"][way]) for way in ("b_better", "a_better")] == [7, 3]
    assert value["unmatched"] == {"a": 0, "b": 0}
    assert "comparisons" not in value


def test_of_several_runs_the_first_is_the_baseline_of_every_other(make_run):
    runs = [make_run("a", range(10)), make_run("b", range(5)), make_run("c", [])]
    value = compare_runs(runs).to_json()
    assert value["runs"] == [str(run) for run in runs]
    assert [each["runs"] for each in value["comparisons"]] == [[str(runs[0]), str(run)] for run in runs[1:]]
    assert [each["mcnemar"]["b_better"] for each in value["comparisons"]] == [5, 10]
    assert value["mcnemar"]["b_better"] == 5


def test_a_run_compared_with_itself_differs_in_nothing(make_run):
    run = make_run("a", range(3))
    value = compare_runs([run, run]).to_json()
    assert value["recipe_changes"] == {}
    assert value["mcnemar"] == {"b_better": 0, "a_better": 0, "p_value": 1.0}
    assert all(each["difference"] == 0 for each in value["metrics"].values())


@pytest.mark.parametrize("finished", [True, False])
def test_one_run_is_a_usage_error_that_shows_how_to_give_two(make_run, finished):
    with pytest.raises(UsageError) as caught:
        compare_runs([make_run("a", [], finished=finished)])
    assert "ftcli compare RUN_A RUN_B" in caught.value.hint


def test_one_run_that_does_not_exist_is_named_rather_than_unfinished(tmp_path):
    with pytest.raises(RunDirectoryError) as caught:
        compare_runs([tmp_path / "a"])
    assert caught.value.where == str(tmp_path / "a")
    assert "finished" not in str(caught.value)


def test_a_missing_run_is_named(make_run, tmp_path):
    with pytest.raises(RunDirectoryError) as caught:
        compare_runs([make_run("a", []), tmp_path / "nowhere"])
    assert caught.value.where == str(tmp_path / "nowhere")
    assert "ftcli train" in str(caught.value)


@pytest.mark.parametrize("name", ["recipe.yaml", "predictions/val.csv"])
def test_a_run_without_one_of_its_files_says_which(make_run, name):
    run = make_run("a", [], finished=False)
    (run / name).unlink()
    with pytest.raises(RunDirectoryError, match=name) as caught:
        compare_runs([run, make_run("b", [])])
    assert "ftcli train" in str(caught.value)


def test_a_run_whose_predictions_lost_every_label_is_damaged_not_unlabelled(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", range(4), finished=False)
    file = b / "predictions" / "val.csv"
    file.write_text(re.sub(",(no|007),(?=no|007)", ",,", file.read_text()))
    assert f"{file}:2: " in ftcli("compare", a, b, code=2).err


def test_runs_on_other_images_are_refused_by_name(make_run):
    a, b = make_run("a", []), make_run("b", [], images=20, first=1000)
    with pytest.raises(ComparisonError) as caught:
        compare_runs([a, b])
    assert str(a) in caught.value.message
    assert str(b) in caught.value.message


def test_comparing_never_imports_torch(make_run):
    a, b = make_run("a", range(11)), make_run("b", [])
    script = (
        "import sys; from ftcli.cli import main\n"
        "sys.argv = ['ftcli', 'compare', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: assert not {'torch', 'torchvision', 'timm', 'sklearn', 'scipy.stats'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, a, b], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "B is right on 11 images that A gets wrong" in done.stdout


def test_a_missing_run_is_reported_without_loading_statistics(tmp_path):
    script = (
        "import sys; from pathlib import Path; from ftcli.commands.compare import compare_runs\n"
        "try: compare_runs([Path(sys.argv[1])] * 2)\n"
        "except Exception as error: print(error.kind, {'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "nowhere"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "run-directory set()"


def test_a_gate_that_holds_exits_0_and_says_why(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(11)), make_run("b", range(7, 18), seed=1)
    shown = ftcli("compare", a, b, "--fail-if", "worse").out
    assert f"gate worse holds: {b} is not significantly worse than {a}" in " ".join(shown.split())


def test_a_gate_that_fails_exits_4_after_the_result_is_shown(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", range(60))
    outcome = ftcli("compare", a, b, "--fail-if", "worse", "--fail-if", "drop:0.9", "--json", code=4)
    assert [gate["holds"] for gate in outcome.json["gates"]] == [False, True]
    assert outcome.json["gates"][0].keys() == {"rule", "metric", "run", "holds", "sentence", "p_value"}
    error = json.loads(outcome.err)["error"]
    assert error["kind"] == "gate"
    assert error["message"] == f"1 of 2 gates failed: worse (accuracy of {b})"


def test_a_gate_that_fails_is_explained_once(ftcli: Ftcli, make_run):
    outcome = ftcli("compare", make_run("a", range(3)), make_run("b", range(60)), "--fail-if", "worse", code=4)
    assert " ".join(outcome.out.split()).count("is significantly worse than") == 1
    assert outcome.err.splitlines()[0].endswith(f"1 of 1 gate failed: worse (accuracy of {outcome.err.split()[-1]}")
    assert "significantly" not in outcome.err


def test_runs_without_a_shared_image_exit_3_whatever_the_gate(ftcli: Ftcli, make_run):
    a, b = make_run("a", []), make_run("b", [], images=20, first=1000)
    assert str(b) in ftcli("compare", a, b, "--fail-if", "worse", code=3).err


def test_an_unfinished_run_is_named_in_every_comparison(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", [], finished=False)
    assert ftcli("compare", a, b, "--json").json["unfinished"] == [str(b)]
    assert ftcli("compare", a, a, "--json").json["unfinished"] == []
    for arguments in ((a, b), (b, a), (a, a, b), (a, b, "--markdown")):
        shown = " ".join(ftcli("compare", *arguments).out.replace("\\", "").split())
        assert shown.count(f"{b} has not finished") == 1
        assert f"ftcli resume {b}" in shown
    assert "has not finished" not in ftcli("compare", a, a).out


def test_gates_refuse_a_run_that_has_not_finished(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", [], finished=False)
    for runs in ((a, b), (b, a)):
        outcome = ftcli("compare", *runs, "--fail-if", "drop:0.5", "--junit", "gates.xml", code=3)
        assert outcome.err.startswith(f"error: {b} ")
        assert f"ftcli resume {b}" in outcome.err
        assert (outcome.out, Path("gates.xml").exists()) == ("", False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fail-if", "wors"), "worse"),
        (("--fail-if", "drop:2"), "drop:0.02"),
        (("--fail-if", "drop:1", "--metric", "macro_f1"), "drop:0.01"),
        (("--fail-if", "not-equivalent:2", "--metric", "log_loss", "--metric", "ece"), "not-equivalent:0.02"),
        (("--fail-if", "drop:500"), "0.01"),
        (("--metric", "acuracy"), "accuracy"),
        (("--metric", "top5_accuracy"), "6 classes"),
        (("--alpha", "0.7"), "--alpha"),
        (("--json", "--markdown"), "--markdown"),
    ],
)
def test_wrong_options_exit_2(ftcli: Ftcli, make_run, arguments, words):
    assert words in ftcli("compare", make_run("a", []), make_run("b", []), *arguments, code=2).err


def test_gates_are_written_as_junit_also_when_they_fail(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", range(60))
    ftcli("compare", a, b, "--fail-if", "worse", "--fail-if", "drop:0.9", "--junit", "out/gates.xml", code=4)
    suite = ET.parse("out/gates.xml").getroot().find("testsuite")  # noqa: S314 - our own file
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    first, second = suite.findall("testcase")
    assert "significantly worse" in str(first.find("failure").text)
    assert second.find("failure") is None


def test_gates_are_not_written_over_a_run(ftcli: Ftcli, make_run):
    a, b = make_run("a", []), make_run("b", [])
    outcome = ftcli("compare", a, b, "--junit", b / "summary.json", code=2)
    assert f"{b / 'summary.json'}: is a file of the run {b}" in outcome.err
    assert ftcli("compare", a, b).code == 0, "both runs are whole"


def test_markdown_has_tables_gates_and_folded_flips(ftcli: Ftcli, make_run):
    a, b = make_run("a", range(3)), make_run("b", range(1, 6), rate="0.02")
    shown = ftcli("compare", a, b, "--fail-if", "drop:0.5", "--markdown").out
    assert "* **holds** `drop:0.5`" in shown
    assert "| accuracy | 98.0 % | 96.7 % | -1.3 |" in shown
    assert "<details><summary>A was right, B is wrong: 3 images</summary>" in shown
    assert "| strategy.lr.head | 0.01 | 0.02 |" in shown


def test_environments_are_compared_but_not_their_times(make_run):
    again = [{"started": "later", "device": "cpu"}]
    a = make_run("a", [], facts={"started": "now", "versions": {"torch": "1"}, "argv": ["now"]})
    b = make_run("b", [], facts={"started": "then", "versions": {"torch": "2"}, "argv": ["then"], "resumed": again})
    value = compare_runs([a, b]).to_json()
    assert value["environment_changes"] == {"versions.torch": {"a": "1", "b": "2"}}


def test_only_runs_that_had_epochs_to_choose_from_are_said_to_be_flattered(ftcli: Ftcli, make_run):
    many, one = make_run("many", []), make_run("one", [1], epochs=1)
    assert "holds for both runs" in ftcli("compare", many, many).out
    assert "holds for B; A had one epoch" in " ".join(ftcli("compare", one, many).out.split())
    assert "flatters" not in ftcli("compare", one, one).out


def test_seeds_of_one_recipe_are_one_result_with_a_spread(make_run):
    runs = [make_run(f"s{seed}", range(seed * 2, seed * 2 + 5 + seed), seed=seed) for seed in range(3)]
    value = compare_runs(runs).to_json()
    (group,) = value["groups"]
    assert (group["runs"], group["seeds"]) == ([str(run) for run in runs], [0, 1, 2])
    accuracies = [1 - (5 + seed) / 153 for seed in range(3)]
    assert group["metrics"]["accuracy"] == {
        "mean": pytest.approx(np.mean(accuracies)),
        "deviation": pytest.approx(np.std(accuracies, ddof=1)),
        "runs": 3,
    }
    assert [contrast["b_name"] for contrast in value["contrasts"]] == [str(run) for run in runs[1:]]


def test_groups_of_seeds_are_compared_as_groups(ftcli: Ftcli, make_run):
    ours = [make_run(f"a{seed}", range(seed, seed + 5), seed=seed) for seed in range(3)]
    theirs = [make_run(f"b{seed}", range(seed, seed + 60), seed=seed, rate="0.5") for seed in range(2)]
    outcome = ftcli("compare", *ours, *theirs, "--fail-if", "worse", "--json", code=4)
    (contrast,) = outcome.json["contrasts"]
    assert contrast["a_name"] == f"{ours[0]} and 2 more seeds"
    assert contrast["b_name"] == f"{theirs[0]} and 1 more seed"
    assert contrast["difference"] == pytest.approx(-55 / 153)
    (gate,) = outcome.json["gates"]
    assert gate["run"] == contrast["b_name"]
    assert len(outcome.json["comparisons"]) == 4
    shown = ftcli("compare", *ours, *theirs).out
    for words in ("3 seeds of one recipe", "2 seeds of one recipe", "standard deviation", "Holm p"):
        assert words in shown


def test_directories_of_seeds_are_called_by_their_names(ftcli: Ftcli, make_run, tmp_path):
    for name, wrong in (("ours", 5), ("theirs", 60)):
        for seed in range(2):
            make_run(f"{name}/seed-{seed}", range(seed, seed + wrong), seed=seed, rate=f"{wrong}")
        (tmp_path / name / "seeds.json").write_text('{"schema": 1, "seeds": [0, 1]}')
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    outcome = ftcli("compare", ours, theirs, "--fail-if", "worse", code=4)
    shown = " ".join(outcome.out.split())
    assert f"baseline {ours}, the mean of 2 seeds {theirs}, the mean of 2 seeds" in shown
    assert f"{theirs} is significantly worse than {ours} in accuracy: 0.6078 against 0.9673" in shown
    assert f"{theirs}/seed-0 (B) against {ours}/seed-0 (A)" in shown
    assert "more seed" not in outcome.out + outcome.err
    (contrast,) = ftcli("compare", ours, theirs, "--json").json["contrasts"]
    assert (contrast["a_name"], contrast["b_name"]) == (str(ours), str(theirs))
    assert f"## {theirs}, the mean of 2 seeds against" in ftcli("compare", ours, theirs, "--markdown").out.replace(
        "\\", ""
    )


def test_the_table_of_several_runs_is_adjusted_for_their_number(make_run):
    runs = [make_run("a", range(30)), make_run("b", range(24), rate="1"), make_run("c", range(20), rate="2")]
    contrasts = compare_runs(runs).contrasts
    assert [contrast.p_value for contrast in contrasts] == pytest.approx([2 * 0.5**6, 2 * 0.5**10])
    assert [contrast.adjusted for contrast in contrasts] == pytest.approx([2 * 0.5**6, 4 * 0.5**10])


@pytest.mark.parametrize("classes", [10, 100])
def test_ten_thousand_predictions_are_compared_within_seconds(tmp_path, classes):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, 10_000)
    names = tuple(f"val/{image}.jpg" for image in range(10_000))
    hashes = tuple(f"{image:064x}" for image in range(10_000))
    for run in ("a", "b"):
        scores = generator.dirichlet(np.ones(classes), 10_000)
        files = {"recipe.yaml": "seed: 0\n", "environment.json": {"format": 1}}
        create(RunDirectory(tmp_path / run), files, overwrite=False)
        predictions = Predictions(tuple(map(str, range(classes))), names, hashes, labels, scores)
        write_predictions(tmp_path / run / "predictions/val.csv", predictions)
        RunDirectory(tmp_path / run).finish(RunSummary(1, 1, "val_accuracy", {}, 10_000, 1.0, 1.0))
    command = [sys.executable, "-m", "ftcli", "compare", tmp_path / "a", tmp_path / "b", "--fail-if", "drop:0.5"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, which other tests on the machine do not change, and thrice what is promised, for a slower one.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 6
