import pytest
from helpers.pages import Outline, comparison_of

from ftcli.commands.compare import compare_runs
from ftcli.evaluation.evaluate import evaluate
from ftcli.records import Gate
from ftcli.report.html.compare import comparison_page
from ftcli.runs.read_run import read_run

GATES = (
    Gate("expect >= 0.5", "val_accuracy", "runs/a", holds=True, sentence="as expected"),
    Gate("expect >= 0.9", "worst_class_recall", "runs/a", holds=False, sentence="not as expected"),
)


def test_a_comparison_says_how_many_expectations_each_run_meets(make_run):
    text = Outline(comparison_of(make_run("a", gates=GATES), make_run("b", wrong=2))).text
    assert "12.5 s 1 of 2 B · b" in text
    assert "12.5 s - B against A" in text
    assert "As expected" not in Outline(comparison_of(make_run("c"), make_run("d", wrong=2))).text


@pytest.mark.parametrize("more", [[], ["c"]])
def test_a_page_of_several_runs_says_which_has_not_finished(make_run, more):
    a, b, *others = make_run("a"), make_run("b", finished=False), *map(make_run, more)
    text = Outline(comparison_of(a, b, *others)).text
    assert f"{b} has not finished: its figures are those of its epochs so far." in text
    assert f"{a} has not finished" not in text


def test_two_runs_are_compared_with_their_flipped_images(make_run):
    outline = Outline(comparison_of(make_run("a", wrong=9), make_run("b", wrong=2, phases=1, recipe={"seed": 1})))
    text = outline.text
    assert "B is right on 7 images that A gets wrong, A on 0 that B gets wrong; two-sided p = 0.016" in text
    assert "B is right, A is wrong: 7 images" in text
    assert "A: bees , wrong 80.0 % B: ants , right 80.0 %" in text
    assert len(outline.all("img")) == 7
    assert "seed null 1" in text


def test_more_than_two_runs_are_compared_with_the_first_in_a_table(make_run):
    runs = [make_run(name, wrong=wrong, recipe={"epochs": wrong}) for name, wrong in (("a", 9), ("b", 2), ("c", 8))]
    text = Outline(comparison_of(*runs)).text
    assert "2 runs against a" in text
    assert "b accuracy 77.5 % 95.0 % +17.5" in text
    assert "0.031 better" in text
    assert "c accuracy 77.5 % 80.0 % +2.5" in text
    assert "B · b 40 7 0" in text
    assert "epochs 9 2 8" in text


def test_seeds_of_one_recipe_are_one_result(make_run):
    runs = [make_run(f"a{seed}", wrong=4 + 2 * seed, recipe={"seed": seed}) for seed in range(2)]
    text = Outline(comparison_of(*runs, make_run("b", wrong=1, recipe={"epochs": 9}))).text
    assert "2 seeds of one recipe" in text
    assert "accuracy 87.5 % 3.5" in text


def test_directories_of_seeds_are_compared_by_their_names_and_their_means(make_run, tmp_path):
    for name, wrong in (("ours", 3), ("theirs", 20)):
        for seed in range(2):
            make_run(f"{name}/seed-{seed}", wrong=wrong + 2 * seed, recipe={"seed": seed, "note": name})
        (tmp_path / name / "seeds.json").write_text('{"schema": 1, "seeds": [0, 1]}')
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    runs = [read_run(path / f"seed-{seed}") for path in (ours, theirs) for seed in range(2)]
    evaluations = [evaluate(run.predictions, resamples=20) for run in runs]
    text = Outline(comparison_page(runs, evaluations, compare_runs([ours, theirs]))).text
    sides = [f"{path}, the mean of 2 seeds" for path in (theirs, ours)]
    assert f"{' against '.join(sides)} The baseline, {sides[1]}, is right on 90.0 %" in text
    assert f"Mean accuracy minus that of {ours}" in text
    assert f"{theirs} accuracy 90.0 % 47.5 % -42.5" in text
    assert "A · ours/seed-0" in text
    assert "C · theirs/seed-0" in text
    assert "more seed" not in text
