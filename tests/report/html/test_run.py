import re
from dataclasses import replace

import numpy as np
from helpers.pages import Outline, page_of

from ftcli.evaluation.evaluate import evaluate
from ftcli.records import Gate
from ftcli.report.html.epochs import epoch_charts
from ftcli.report.html.run import run_page
from ftcli.runs.directory import RunDirectory
from ftcli.runs.read_run import read_run


def test_a_page_has_every_section_in_order(make_run):
    sections = [each["id"] for each in Outline(page_of(make_run())).all("section")]
    first, last = ("figures", "data", "plan", "training"), ("classes", "confusion", "calibration", "mistakes")
    assert sections == [*first, *last, "recipe", "environment"]


def test_a_page_leads_with_the_accuracy_and_its_interval(make_run):
    text = Outline(page_of(make_run())).text
    assert "Accuracy 82.5 % 95 % interval 68.1 % to 91.3 %" in text
    assert "40 validation, 7 wrong" in text
    assert "flatters it" in text


def test_a_page_of_uneven_classes_leads_with_balanced_accuracy_and_warns_of_a_class_that_is_never_predicted(make_run):
    run = make_run("uneven")
    predictions = read_run(run).predictions
    labels = np.repeat(np.array([0, 1]), [36, 4]).astype(np.int64)
    scores = np.tile([0.9, 0.1], (40, 1))
    uneven = replace(predictions, given_labels=labels, probabilities=scores)
    page = Outline(run_page(read_run(run, uneven), evaluate(uneven, resamples=20)))
    assert "Balanced accuracy 50.0 % 95 % interval" in page.text
    assert page.text.index("Balanced accuracy 50.0 %") < page.text.index("Accuracy 90.0 %")
    assert "always answering ants has an accuracy of 90.0 %" in page.text
    assert "The model never predicts bees: all 4 images of it are wrong." in page.text
    even = Outline(page_of(make_run("even"))).text
    assert "never predicts" not in even
    assert "always answering" not in even


def test_few_classes_have_a_matrix_and_many_a_picture_and_pairs(make_run):
    few = page_of(make_run("few"))
    assert 'class="matrix few"' in few
    assert "Most confused" not in few
    names = [f"species-{number:03}" for number in range(100)]
    many = page_of(make_run("many", classes=names, images=300, wrong=60))
    assert 'class="matrix' not in many
    assert "Confusion matrix of 100 classes: 240 of 300 images on the diagonal." in many
    assert "Most confused" in many
    assert len(many) < 3e6


def test_classes_come_weakest_first(make_run):
    page = page_of(make_run(classes=("a", "b", "c", "d"), images=40, wrong=3))
    classes = page[page.index('id="classes"') : page.index('id="confusion"')]
    assert re.findall(r'<th scope="row"><span class="name clamp" title="(\w)"', classes) == ["a", "b", "c", "d"]
    assert re.findall(r'data-value="[\d.]+">([\d.]+ %)</td><td class="number roomy">', classes) == [
        "90.0 %",
        "90.0 %",
        "90.0 %",
        "100.0 %",
    ]


def test_the_most_confident_mistakes_are_shown_with_their_pictures(make_run):
    outline = Outline(page_of(make_run(wrong=15)))
    pictures = outline.all("img")
    assert len(pictures) == 12
    assert pictures[0]["alt"] == "val/0000.png: ants, taken for bees"
    assert "The 12 most confident of 15 mistakes" in outline.text


def test_without_the_images_the_page_says_so_and_lists_the_mistakes(make_run, tmp_path):
    run = make_run(wrong=2)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    outline = Outline(page_of(run))
    assert not outline.all("img")
    assert "The images are not shown" in outline.text
    assert "val/0001.png" in outline.text


def test_an_image_that_has_changed_is_not_shown_as_the_scored_one(make_run, tmp_path):
    run = make_run(wrong=2)
    (tmp_path / "images/val/0000.png").write_bytes((tmp_path / "images/val/0005.png").read_bytes())
    outline = Outline(page_of(run))
    assert len(outline.all("img")) == 1
    assert "The file has changed since it was scored." in outline.text


def test_a_run_without_mistakes_says_so(make_run):
    text = Outline(page_of(make_run(wrong=0))).text
    assert "Every validation image was classified correctly." in text
    assert "No class was confused with another." in text


def test_a_head_fitted_to_convergence_shows_its_strengths_instead_of_epochs(make_run):
    page = page_of(make_run(solver="lbfgs", phases=1, epochs=1))
    assert "Held-out log loss by L2 strength: least, 0.300, at 0.1." in page
    assert "Loss over 1 epoch" not in page
    assert "flatters it" not in page


def test_an_unfinished_run_is_called_unfinished(make_run):
    path = make_run(finished=False)
    text = Outline(page_of(path)).text
    assert "This run has not finished: it has 6 of 6 epochs, but no summary." in text
    assert f"Resume with: ftcli resume {path}" in text
    RunDirectory(path).cut_back(read_run(path).records[:2])
    text = Outline(page_of(path)).text
    assert f"This run has not finished: it has 2 of 6 epochs. Resume with: ftcli resume {path}" in text
    assert "has not finished" not in Outline(page_of(make_run("whole"))).text


MET = "val_accuracy is 0.8250, as expected: >= 0.5."


MISSED = "worst_class_recall is 0.4, of <b>x</b>, not as expected: >= 0.9."


GATES = (
    Gate("expect >= 0.5", "val_accuracy", "runs/a", holds=True, sentence=MET),
    Gate("expect >= 0.9", "worst_class_recall", "runs/a", holds=False, sentence=MISSED),
)


def test_expectations_are_among_the_figures_and_failed_ones_above_them(make_run):
    outline = Outline(page_of(make_run(gates=GATES, unchecked=["test_accuracy"])))
    assert f"Expected holds {MET} fails {MISSED}" in outline.text
    assert "Not checked, since these images are another split: test_accuracy." in outline.text
    start = outline.text.partition("Figures")[0]
    assert f"gate expect >= 0.9 FAILS: {MISSED}" in start
    assert "gate expect >= 0.5" not in start
    assert not outline.all("b")
    assert "Expected" not in Outline(page_of(make_run("without"))).text


def _finding(level, code, *, cases=1):
    found = [{"files": [f"train/{n}.png", "val/<i>.png"], "note": f"case {n}"} for n in range(cases)]
    return {"level": level, "code": code, "message": f"Found {code}.", "advice": f"Mend {code}.", "cases": found}


def test_findings_in_the_data_come_gravest_first_with_their_first_cases(make_run):
    findings = [_finding("info", "stray"), _finding("warning", "duplicate"), _finding("error", "leak", cases=1205)]
    outline = Outline(page_of(make_run(dataset={"findings": findings})))
    data = outline.text.partition("for look-alikes and wrong labels.")[2]
    assert re.findall("(error|warning|info) Found ([a-z]+)[.]", data) == [
        *(("error", "leak"), ("warning", "duplicate"), ("info", "stray"))
    ]
    assert "train/4.png = val/<i>.png: case 4 and 1,200 more; dataset.json has them all Mend leak." in data
    assert "case 5" not in data
    assert "Found leak." in outline.text.partition("Figures")[0]
    assert "Found duplicate." not in outline.text.partition("Figures")[0]
    assert not outline.all("i")


def test_skipped_images_are_on_the_page(make_run):
    skipped = [{"path": f"train/\u202e{n}.png", "reason": "is <empty>"} for n in range(6)]
    text = Outline(page_of(make_run(dataset={"skipped": skipped}))).text
    assert "Nothing wrong was found" not in text
    assert "6 unusable images are skipped" in text
    assert "train/\\u202e4.png: is <empty> and 1 more; dataset.json has them all" in text
    without = Outline(page_of(make_run("without"))).text
    assert "Skipped" not in without
    assert "Nothing wrong was found in the names and contents of the images." in without


def test_a_page_with_skipped_files_does_not_say_that_nothing_was_wrong(make_run):
    text = Outline(page_of(make_run(dataset={"strays": ["loose.jpg"]}))).text
    assert "Nothing wrong was found" not in text
    assert "1 file or folder is of no class and was skipped." in text


def test_names_that_are_not_utf8_are_shown_as_escapes(make_run):
    finding = {**_finding("warning", "duplicate"), "cases": [{"files": ["train/\udcff.png"], "note": None}]}
    assert "train/\\udcff.png" in Outline(page_of(make_run(dataset={"findings": [finding]}))).text


def test_classes_without_images_are_named(make_run):
    text = Outline(page_of(make_run(classes=("a", "b", "<i>c"), images=2, wrong=0))).text
    assert "No scored image is of <i>c: balanced accuracy and macro F1 are means over the other 2 classes." in text
    assert "No scored image" not in Outline(page_of(make_run("whole"))).text


def test_the_train_curve_is_the_loss_of_labels_that_are_not_smoothed(make_run):
    run = read_run(make_run())
    smoothed = replace(run, records=[replace(record, train_log_loss=record.train_loss / 2) for record in run.records])
    earlier, now = (epoch_charts(each)[0].curves[0].values for each in (run, smoothed))
    assert earlier == tuple(record.train_loss for record in run.records)
    assert now == tuple(value / 2 for value in earlier)
