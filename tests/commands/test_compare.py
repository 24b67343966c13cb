import json
import subprocess
import sys

import numpy as np
import pytest

from ftcli.commands.compare import compare_runs
from ftcli.errors import ComparisonError, RunDirectoryError, UsageError
from ftcli.evaluation.predictions import Predictions
from ftcli.run.directory import RunDirectory, create
from ftcli.run.predictions_file import write_predictions


@pytest.fixture
def make_run(tmp_path):
    def build(name, wrong, *, rate="1e-2", images=153):
        labels = np.arange(images, dtype=np.int64) % 2
        predicted = np.where(np.isin(np.arange(images), list(wrong)), 1 - labels, labels)
        names = tuple(f"val/{image}.jpg" for image in range(images))
        hashes = tuple(f"{image:064x}" for image in range(images))
        run = tmp_path / name
        recipe = f"strategy: {{kind: fine-tune, lr: {{head: {rate}}}}}\nseed: 0\n"
        create(RunDirectory(run), {"recipe.yaml": recipe, "environment.json": {"format": 1}}, overwrite=False)
        scores = np.eye(2)[predicted] * 0.8 + 0.1
        write_predictions(run / "predictions" / "val.csv", Predictions(("no", "007"), names, hashes, labels, scores))
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


def test_one_run_is_a_usage_error(make_run):
    with pytest.raises(UsageError, match="at least two runs"):
        compare_runs([make_run("a", [])])


def test_a_missing_run_is_named(make_run, tmp_path):
    with pytest.raises(RunDirectoryError, match="does not exist") as caught:
        compare_runs([make_run("a", []), tmp_path / "nowhere"])
    assert caught.value.where == str(tmp_path / "nowhere")
    assert "ftcli train" in str(caught.value)


@pytest.mark.parametrize("name", ["recipe.yaml", "predictions/val.csv"])
def test_a_run_without_one_of_its_files_says_which(make_run, name):
    run = make_run("a", [])
    (run / name).unlink()
    with pytest.raises(RunDirectoryError, match=name) as caught:
        compare_runs([run, make_run("b", [])])
    assert "ftcli train" in str(caught.value)


def test_runs_on_other_images_are_refused_by_name(make_run):
    a, b = make_run("a", []), make_run("b", [], images=20)
    file = b / "predictions" / "val.csv"
    file.write_text(file.read_text().replace("0" * 60, "f" * 60))
    with pytest.raises(ComparisonError, match=f"{a} and {b} have no image in common"):
        compare_runs([a, b])


def test_comparing_never_imports_torch(make_run):
    a, b = make_run("a", range(11)), make_run("b", [])
    script = (
        "import sys; from pathlib import Path; from ftcli.commands.compare import compare_runs;"
        "from ftcli.report.comparisons import comparison_text;"
        "pairs = compare_runs([Path(name) for name in sys.argv[1:]]).pairs;"
        "print(comparison_text(pairs[0].comparison, pairs[0].recipe_changes));"
        "assert not {'torch', 'torchvision', 'timm'} & set(sys.modules)"
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
