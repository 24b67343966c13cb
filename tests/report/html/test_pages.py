import itertools
import re
from html.parser import HTMLParser

import pytest

from ftcli.commands.compare import compare_runs
from ftcli.evaluation.evaluate import evaluate
from ftcli.records import Gate
from ftcli.report.html.compare import comparison_page
from ftcli.report.html.run import run_page
from ftcli.runs.directory import RunDirectory
from ftcli.runs.read_run import read_run

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "\u202egnp\x1b[31m", "&amp;")


class Outline(HTMLParser):
    """What a page is made of: tags with their attributes, and all of its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.pieces, self.inside = [], [], []
        self.feed(page)

    @property
    def text(self):
        return " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside):
            self.pieces.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def _page(path):
    run = read_run(path)
    return run_page(run, evaluate(run.predictions, resamples=20))


def _comparison(*paths):
    runs = [read_run(path) for path in paths]
    return comparison_page(runs, [evaluate(run.predictions, resamples=20) for run in runs], compare_runs(paths))


def test_a_page_has_every_section_in_order(make_run):
    sections = [each["id"] for each in Outline(_page(make_run())).all("section")]
    first, last = ("figures", "data", "plan", "training"), ("classes", "confusion", "calibration", "mistakes")
    assert sections == [*first, *last, "recipe", "environment"]


def test_a_page_leads_with_the_accuracy_and_its_interval(make_run):
    text = Outline(_page(make_run())).text
    assert "Accuracy 82.5 % 95 % interval 68.1 % to 91.3 %" in text
    assert "40 validation, 7 wrong" in text
    assert "flatters it" in text


@pytest.mark.parametrize("kind", ["run", "two runs", "several runs"])
def test_names_and_recipes_from_strangers_are_inert(make_run, kind):
    hostile = {"classes": HOSTILE, "wrong": 20, "recipe": {"note": "</code></pre><script>alert(3)</script>"}}
    runs = [make_run(f"<u>{i}", **{**hostile, "wrong": 20 - i}, phases=i + 1) for i in range(3)]
    page = {"run": lambda: _page(runs[0]), "two runs": lambda: _comparison(*runs[:2])}.get(
        kind, lambda: _comparison(*runs)
    )()
    outline = Outline(page)
    assert len(outline.all("script")) == 1
    assert not outline.all("u")
    assert all(each.get("src", "").startswith("data:image/") for each in outline.all("img"))
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in page
    assert "\x1b" not in page
    if kind != "several runs":
        assert {*HOSTILE[:3], "&amp;", "\\u202egnp\\x1b[31m"} <= set(outline.pieces)


def test_a_page_loads_nothing_and_its_policy_forbids_it(make_run):
    outline = Outline(_page(make_run()))
    assert not [each for tag in ("link", "iframe", "object", "base") for each in outline.all(tag)]
    assert all(each["href"].startswith("#") for each in outline.all("a"))
    (policy,) = (each["content"] for each in outline.all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize("kind", ["run", "two runs", "several runs"])
def test_tables_have_captions_and_scopes_and_pictures_have_words(make_run, kind):
    runs = [make_run(str(i), wrong=5 + i) for i in range(3)]
    outline = Outline(_page(runs[0]) if kind == "run" else _comparison(*runs[: 2 if kind == "two runs" else 3]))
    assert len(outline.all("table")) == len(outline.all("caption"))
    assert all(each.get("scope") in {"row", "col"} for each in outline.all("th"))
    assert all(each.get("alt") for each in outline.all("img"))
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in outline.all("svg"))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
    assert levels.count(1) == 1
    ids = [each["id"] for _, each in outline.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert {each["aria-labelledby"] for each in outline.all("section")} <= set(ids)


def test_few_classes_have_a_matrix_and_many_a_picture_and_pairs(make_run):
    few = _page(make_run("few"))
    assert 'class="matrix few"' in few
    assert "Most confused" not in few
    names = [f"species-{number:03}" for number in range(100)]
    many = _page(make_run("many", classes=names, images=300, wrong=60))
    assert 'class="matrix' not in many
    assert "Confusion matrix of 100 classes: 240 of 300 images on the diagonal." in many
    assert "Most confused" in many
    assert len(many) < 3e6


def test_classes_come_weakest_first(make_run):
    page = _page(make_run(classes=("a", "b", "c", "d"), images=40, wrong=3))
    classes = page[page.index('id="classes"') : page.index('id="confusion"')]
    assert re.findall(r'<th scope="row"><span class="name clamp" title="(\w)"', classes) == ["a", "b", "c", "d"]
    assert re.findall(r'data-value="[\d.]+">([\d.]+ %)</td><td class="number roomy">', classes) == [
        "90.0 %",
        "90.0 %",
        "90.0 %",
        "100.0 %",
    ]


def test_the_most_confident_mistakes_are_shown_with_their_pictures(make_run):
    outline = Outline(_page(make_run(wrong=15)))
    pictures = outline.all("img")
    assert len(pictures) == 12
    assert pictures[0]["alt"] == "val/0000.png: ants, taken for bees"
    assert "The 12 most confident of 15 mistakes" in outline.text


def test_without_the_images_the_page_says_so_and_lists_the_mistakes(make_run, tmp_path):
    run = make_run(wrong=2)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    outline = Outline(_page(run))
    assert not outline.all("img")
    assert "The images are not shown" in outline.text
    assert "val/0001.png" in outline.text


def test_an_image_that_has_changed_is_not_passed_off_as_the_one_that_was_scored(make_run, tmp_path):
    run = make_run(wrong=2)
    (tmp_path / "images/val/0000.png").write_bytes((tmp_path / "images/val/0005.png").read_bytes())
    outline = Outline(_page(run))
    assert len(outline.all("img")) == 1
    assert "The file has changed since it was scored." in outline.text


def test_a_run_without_mistakes_says_so(make_run):
    text = Outline(_page(make_run(wrong=0))).text
    assert "Every validation image was classified correctly." in text
    assert "No class was confused with another." in text


def test_a_head_fitted_to_convergence_shows_its_strengths_instead_of_epochs(make_run):
    page = _page(make_run(solver="lbfgs", phases=1, epochs=1))
    assert "Held-out log loss by L2 strength: least, 0.300, at 0.1." in page
    assert "Loss over 1 epoch" not in page
    assert "flatters it" not in page


def test_an_unfinished_run_is_called_unfinished(make_run):
    path = make_run(finished=False)
    text = Outline(_page(path)).text
    assert "This run has not finished: all 6 epochs are there, but how it ended was not written." in text
    assert f"Finish it: ftcli train --resume {path}" in text
    RunDirectory(path).cut_back(read_run(path).records[:2])
    text = Outline(_page(path)).text
    assert f"This run has not finished: 2 of 6 epochs are there. Go on with it: ftcli train --resume {path}" in text
    assert "has not finished" not in Outline(_page(make_run("whole"))).text


MET = "val_accuracy is 0.8250, as expected: >= 0.5."
MISSED = "worst_class_recall is 0.4, of <b>x</b>, not as expected: >= 0.9."
GATES = (
    Gate("expect >= 0.5", "val_accuracy", "runs/a", holds=True, sentence=MET),
    Gate("expect >= 0.9", "worst_class_recall", "runs/a", holds=False, sentence=MISSED),
)


def test_what_the_recipe_expects_stands_beside_the_figures_and_first_where_it_fails(make_run):
    outline = Outline(_page(make_run(gates=GATES, unchecked=["test_accuracy"])))
    assert f"Expected holds {MET} fails {MISSED}" in outline.text
    assert "Not checked, since these images are another split: test_accuracy." in outline.text
    start = outline.text.partition("Figures")[0]
    assert f"gate expect >= 0.9 FAILS: {MISSED}" in start
    assert "gate expect >= 0.5" not in start
    assert not outline.all("b")
    assert "Expected" not in Outline(_page(make_run("without"))).text


def test_a_comparison_says_how_many_expectations_each_run_meets(make_run):
    text = Outline(_comparison(make_run("a", gates=GATES), make_run("b", wrong=2))).text
    assert "12.5 s 1 of 2 B · b" in text
    assert "12.5 s - B against A" in text
    assert "As expected" not in Outline(_comparison(make_run("c"), make_run("d", wrong=2))).text


def _finding(level, code, *, cases=1):
    found = [{"files": [f"train/{n}.png", "val/<i>.png"], "note": f"case {n}"} for n in range(cases)]
    return {"level": level, "code": code, "message": f"Found {code}.", "advice": f"Mend {code}.", "cases": found}


def test_findings_in_the_data_come_gravest_first_with_their_first_cases(make_run):
    findings = [_finding("info", "stray"), _finding("warning", "duplicate"), _finding("error", "leak", cases=1205)]
    outline = Outline(_page(make_run(dataset={"findings": findings})))
    data = outline.text.partition("for look-alikes too.")[2]
    assert re.findall("(error|warning|info) Found ([a-z]+)[.]", data) == [
        *(("error", "leak"), ("warning", "duplicate"), ("info", "stray"))
    ]
    assert "train/4.png = val/<i>.png: case 4 and 1,200 more; dataset.json has them all Mend leak." in data
    assert "case 5" not in data
    assert "Found leak." in outline.text.partition("Figures")[0]
    assert "Found duplicate." not in outline.text.partition("Figures")[0]
    assert not outline.all("i")


def test_images_that_were_left_out_are_on_the_page(make_run):
    skipped = [{"path": f"train/\u202e{n}.png", "reason": "is <empty>"} for n in range(6)]
    text = Outline(_page(make_run(dataset={"skipped": skipped}))).text
    assert "Nothing wrong was found" not in text
    assert "6 images that cannot be used are left out, as data.on_bad_image says." in text
    assert "train/\\u202e4.png: is <empty> and 1 more; dataset.json has them all" in text
    without = Outline(_page(make_run("without"))).text
    assert "Left out" not in without
    assert "Nothing wrong was found in the names and contents of the images." in without


def test_a_page_that_leaves_files_out_does_not_say_that_nothing_was_wrong(make_run):
    text = Outline(_page(make_run(dataset={"strays": ["loose.jpg"]}))).text
    assert "Nothing wrong was found" not in text
    assert "1 file or folder is of no class and was left out" in text


def test_names_that_are_not_utf8_do_not_keep_a_page_from_being_made(make_run):
    finding = {**_finding("warning", "duplicate"), "cases": [{"files": ["train/\udcff.png"], "note": None}]}
    assert "train/\\udcff.png" in Outline(_page(make_run(dataset={"findings": [finding]}))).text


@pytest.mark.parametrize("more", [[], ["c"]])
def test_a_page_of_several_runs_says_which_has_not_finished(make_run, more):
    a, b, *others = make_run("a"), make_run("b", finished=False), *map(make_run, more)
    text = Outline(_comparison(a, b, *others)).text
    assert f"{b} has not finished: its figures are those of its epochs so far." in text
    assert f"{a} has not finished" not in text


def test_two_runs_are_compared_with_their_flipped_images(make_run):
    outline = Outline(_comparison(make_run("a", wrong=9), make_run("b", wrong=2, phases=1, recipe={"seed": 1})))
    text = outline.text
    assert "B is right on 7 images that A gets wrong, A on 0 that B gets wrong; p = 0.016" in text
    assert "B is right, A is wrong: 7 images" in text
    assert "A: bees , wrong 80.0 % B: ants , right 80.0 %" in text
    assert len(outline.all("img")) == 7
    assert "seed null 1" in text


def test_more_runs_stand_in_a_table_against_the_first(make_run):
    runs = [make_run(name, wrong=wrong, recipe={"epochs": wrong}) for name, wrong in (("a", 9), ("b", 2), ("c", 8))]
    text = Outline(_comparison(*runs)).text
    assert "2 runs against a" in text
    assert "b 95.0 % 77.5 % +17.5" in text
    assert "p = 0.031 better" in text
    assert "c 80.0 % 77.5 % +2.5" in text
    assert "B · b 40 7 0" in text
    assert "epochs 9 2 8" in text


def test_seeds_of_one_recipe_are_told_as_one_result(make_run):
    runs = [make_run(f"a{seed}", wrong=4 + 2 * seed, recipe={"seed": seed}) for seed in range(2)]
    text = Outline(_comparison(*runs, make_run("b", wrong=1, recipe={"epochs": 9}))).text
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
    assert f"{theirs} against {ours} The baseline, {ours}, the mean of 2 seeds, is right on 90.0 %" in text
    assert f"Mean accuracy minus that of {ours}" in text
    assert f"{theirs} 47.5 % 90.0 % -42.5" in text
    assert "A · ours/seed-0" in text
    assert "C · theirs/seed-0" in text
    assert "more seed" not in text


def test_classes_without_images_are_named_beside_the_others(make_run):
    text = Outline(_page(make_run(classes=("a", "b", "<i>c"), images=2, wrong=0))).text
    assert "No scored image is of <i>c: balanced accuracy and macro F1 are means over the other 2 classes." in text
    assert "No scored image" not in Outline(_page(make_run("whole"))).text
