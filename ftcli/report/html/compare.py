"""The page of several runs: two side by side, more in a table against the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftcli.evaluation.compare.differences import Flip
from ftcli.evaluation.compare.result import Findings, RunPair
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.significance import SIGNIFICANCE
from ftcli.metrics import METRICS
from ftcli.phrases import count, duration
from ftcli.report.charts.diagrams import draw_differences
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    figure,
    gates_met,
    interval_text,
    metric_name,
    never_predicted_text,
    pending_text,
    setting,
    share,
    signed,
)
from ftcli.report.html.epochs import paired_plan_parts, paired_training_parts
from ftcli.report.html.page import WHOLE, Chart, Columns, Gallery, Picture, chart, render, thumbnails
from ftcli.report.sections import Cell, Prose, Row, Section, Table, numbers, prose, texts
from ftcli.report.text.compare import (
    change_parts,
    chosen_epochs,
    compare_title,
    conclusion,
    contrast_table,
    recall_table,
    seeds_sections,
    side_text,
)
from ftcli.report.text.eval import differences_table
from ftcli.runs.read_run import RecordedRun

FLIPS = 12
"""The number of flipped images that are shown each way."""

_RESOLVED = "Where an interval contains zero, the images do not show a difference."


class ShownRun(NamedTuple):
    """A run and its evaluation, with the letter and the short name that the page gives it."""

    letter: str
    name: str
    run: RecordedRun
    evaluation: Evaluation

    @property
    def title(self) -> str:
        """The letter and the name."""
        return f"{self.letter} · {self.name}"


def comparison_page(runs: Sequence[RecordedRun], evaluations: Sequence[Evaluation], findings: Findings) -> str:
    """Return the page of two runs or more; the first is the baseline."""
    names = _short_names([str(run.path.resolve()) for run in runs])
    letters = [chr(ord("A") + number) if number < 26 else str(number + 1) for number in range(len(runs))]
    shown = [ShownRun(*each) for each in zip(letters, names, runs, evaluations, strict=True)]
    alerts = [pending_text(each) for each in findings.pending]
    never = ((each.title, never_predicted_text(each.evaluation)) for each in shown)
    alerts += [f"{title}: {text}" for title, text in never if text]
    if len(runs) == 2:
        pair = findings.pairs[0]
        title, lede, sections, which = " and ".join(names), conclusion(pair.comparison), _two(shown, pair), "two"
    else:
        title, lede = _heading(shown, findings)
        sections, which = _several(shown, findings), str(len(runs))
    return render(title, lede, sections, kicker=f"ftcli report, {which} runs compared", alerts=alerts)


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the ends of paths, as short as they can be without two of them being the same."""
    parts = [Path(name).parts for name in names]
    apart, longest = len(set(parts)), max(map(len, parts))
    depth = next(depth for depth in range(1, longest + 1) if len({each[-depth:] for each in parts}) == apart)
    return [str(Path(*each[-depth:])) for each in parts]


def _runs(shown: Sequence[ShownRun]) -> Table:
    figures = numbers("accuracy", "95 % interval", "log loss", "best epoch", "time")
    columns = (*texts("run", "model, strategy"), *figures)
    rows = [
        (
            each.title,
            f"{run.recipe['model']['name']}, {run.plan.strategy}",
            share(metrics["accuracy"].value),
            interval_text("accuracy", metrics["accuracy"]),
            figure("log_loss", metrics["log_loss"].value),
            f"{run.best_epoch} of {len(run.records)}",
            duration(run.summary.seconds) if run.summary else "unfinished",
        )
        for each in shown
        for run, metrics in [(each.run, each.evaluation.metrics)]
    ]
    table = Table(columns, rows, "Runs")
    if any(each.run.summary and each.run.summary.gates for each in shown):
        met = [[gates_met(each.run.summary)] for each in shown]
        table = table.with_columns(len(columns), numbers("as expected"), met)
    return table


# Two runs.


def _two(shown: Sequence[ShownRun], pair: RunPair) -> list[Section]:
    comparison = pair.comparison
    drawn_together = [(name, each) for name, each in comparison.metrics.items() if METRICS[name].drawn_with_accuracy]
    shares = [(metric_name(name), each) for name, each in drawn_together]
    drawn = chart(lambda width: draw_differences(shares, "B - A, in points", width), WHOLE)
    only_a, only_b = comparison.only_a, comparison.only_b
    not_shared = f"{count(only_a, 'image')} scored by A alone and {only_b} by B alone are not counted."
    figures = (
        Chart(drawn, caption=f"Difference of each share of images with its 95 % interval. {_RESOLVED}"),
        differences_table(comparison.metrics, "A", "B", "B - A"),
        *prose(f"{comparison.resolution} {chosen_epochs(pair)}", not_shared if only_a or only_b else "", tone="hint"),
    )
    flips = (("B is right, A is wrong", comparison.b_better), ("A is right, B is wrong", comparison.a_better))
    columns = tuple((_flips(title, shown[0].run, each),) for title, each in flips)
    against = f"B against A, on {count(comparison.images, 'shared image')}"
    recall = (
        "Recall of each class in both runs. The p-value is that of the sign test on the class's images, adjusted for "
        "the number of classes."
    )
    return [
        Section("Figures", (_runs(shown), Section(against, figures)), "figures"),
        Section("Flipped images", (Columns(columns, halves=True),), "flips"),
        Section("Training", paired_training_parts([(each.letter, each.run) for each in shown]), "training"),
        Section("Plans", paired_plan_parts([(each.title, each.run) for each in shown]), "plans"),
        Section("Settings", change_parts(pair, folded=False), "recipes"),
        Section("Classes", (Prose(recall, tone="soft"), recall_table(comparison.per_class)), "classes"),
    ]


def _flips(title: str, run: RecordedRun, flips: Sequence[Flip]) -> Section:
    """Return the flips in which the wrong run is most confident, with pictures of run A's files."""

    def a_is_right(flip: Flip) -> bool:  # then B is wrong: the runs are right on different sides of a flip
        return flip.a_predicted == flip.label

    first = sorted(flips, key=lambda flip: -(flip.b_probability if a_is_right(flip) else flip.a_probability))[:FLIPS]
    content = dict(zip(run.predictions.paths, run.predictions.sha256, strict=True))
    files = thumbnails(run.image_root, [(flip.path, content[flip.path]) for flip in first])
    pictures = [
        Picture(
            thumbnail,
            flip.path,
            f"{flip.path}: {flip.label}",
            flip.label,
            (
                ("A:", flip.a_predicted, ", right" if a_is_right(flip) else ", wrong", share(flip.a_probability)),
                ("B:", flip.b_predicted, ", wrong" if a_is_right(flip) else ", right", share(flip.b_probability)),
            ),
        )
        for flip, thumbnail in zip(first, files, strict=True)
    ]
    parts: list[Any] = []
    if len(flips) > len(first):
        which = f"The {len(first)} in which the wrong run is most confident; `ftcli compare --json` lists them all."
        parts.append(Prose(which, tone="soft", code=True))
    parts.append(Gallery(tuple(pictures)) if pictures else Prose("None.", tone="soft"))
    return Section(f"{title}: {count(len(flips), 'image')}", tuple(parts))


# More runs.


def _heading(shown: Sequence[ShownRun], findings: Findings) -> tuple[str, str]:
    """Return the title and the accuracy of the baseline: the first run, or the mean of its group of seeds."""
    images = shown[0].evaluation.images
    if findings.sides:
        first = findings.sides[0]
        title, whose, accuracy = compare_title(findings), side_text(first), first.metrics["accuracy"].mean
    else:
        title, whose = f"{len(shown) - 1} runs against {shown[0].name}", f"A, {shown[0].name}"
        accuracy = shown[0].evaluation.metrics["accuracy"].value
    return title, f"The baseline, {whose}, is right on {share(accuracy)} of its {images} validation images."


def _several(shown: Sequence[ShownRun], findings: Findings) -> list[Section]:
    baseline = findings.sides[0].name if findings.sides else "A"
    chosen = VAL_CHOSE_THE_EPOCH if any(any(pair.chose_epoch) for pair in findings.pairs) else ""
    flips = Section(f"Flipped images, each run against A, {shown[0].name}", (_flip_counts(shown, findings.pairs),))
    return [
        Section("Figures", (_runs(shown), *prose(chosen, tone="hint"), *seeds_sections(findings)), "figures"),
        Section(f"Differences from {baseline}", (*_contrasts(findings, baseline), flips), "differences"),
        Section("Recipes", _recipes(shown, findings.pairs), "recipes"),
    ]


def _contrasts(findings: Findings, baseline: str) -> tuple[Any, ...]:
    contrasts = findings.contrasts
    measured = "Mean accuracy" if findings.sides else "Accuracy"
    names = _short_names([contrasts[0].a_name, *(each.b_name for each in contrasts)])[1:]
    gaps = [(name, each) for name, each in zip(names, contrasts, strict=True)]
    drawn = chart(lambda width: draw_differences(gaps, "accuracy minus the baseline's, in points", width), WHOLE)
    table = contrast_table(contrasts)
    conclusions = [
        ["no difference shown" if each.adjusted >= SIGNIFICANCE else "better" if each.difference > 0 else "worse"]
        for each in contrasts
    ]
    return (
        Chart(drawn, caption=f"{measured} minus that of {baseline}, with its 95 % interval. {_RESOLVED}"),
        table.with_columns(len(table.columns), texts("conclusion"), conclusions),
        Prose("p-values are adjusted for the number of comparisons (Holm).", tone="hint"),
    )


def _flip_counts(shown: Sequence[ShownRun], pairs: Sequence[RunPair]) -> Table:
    rows: list[Row] = []
    for each, pair in zip(shown[1:], pairs, strict=True):
        test, loss = pair.comparison.mcnemar, pair.comparison.metrics["log_loss"].difference
        counts = (pair.comparison.images, test.b_better, test.a_better)
        rows.append((each.title, *map(str, counts), Cell(signed("log_loss", loss), loss)))
    columns = (
        *texts("run", sort="up"),
        *numbers("shared images", "it alone is right", "A alone is right", sort="down"),
        *numbers("log loss minus that of A", sort="up"),
    )
    return Table(columns, rows, "Images that one run has right and A has wrong, and the other way")


def _recipes(shown: Sequence[ShownRun], pairs: Sequence[RunPair]) -> tuple[Any, ...]:
    """Return every key in which a recipe differs from the baseline's, with its value in every run."""
    baseline = {key: change["a"] for pair in pairs for key, change in pair.recipe_changes.items()}
    if not baseline:
        return (Prose("The recipes are the same."),)
    rows: list[Row] = []
    for key, a in baseline.items():
        others = [pair.recipe_changes[key]["b"] if key in pair.recipe_changes else a for pair in pairs]
        rows.append((key, setting(a), *(Cell(setting(b), css="changed" if b != a else "") for b in others)))
    columns = texts("key", *(each.letter for each in shown), kind="code")
    what = "The keys in which a recipe differs from that of A, in bold where it does."
    return Prose(what, tone="soft"), Table(columns, rows, "Keys in which a recipe differs from that of A")
