"""What `ftcli eval` shows, and the tables of an evaluation that runs and pages show too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcli.evaluation.abstention import Abstention
from ftcli.evaluation.compare.differences import Difference
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.ranking import ROC_AUC
from ftcli.evaluation.temperature import Calibration
from ftcli.phrases import count
from ftcli.records import Gate, Interval
from ftcli.report.format import (
    absent_text,
    figure,
    interval_text,
    metric_name,
    never_predicted_text,
    ranking_text,
    share,
    signed,
    unchecked_text,
    uneven_text,
)
from ftcli.report.sections import (
    MATRIX_CLASSES,
    Cell,
    Gates,
    Matrix,
    Prose,
    Row,
    Section,
    Table,
    numbers,
    prose,
    share_cell,
    texts,
)

_LEAST_COVERAGE = 0.5  # thresholds that answer fewer images are left to --json


def eval_sections(
    evaluation: Evaluation,
    *,
    calibration: Calibration | None = None,
    abstention: Abstention | None = None,
    notes: Sequence[str] = (),
    unchecked: Sequence[str] = (),
    gates: Sequence[Gate] = (),
) -> list[Section]:
    """Return the sections of an evaluation; `notes` say what limits its figures."""
    scored = f"{count(evaluation.images, 'image')}, {count(len(evaluation.classes), 'class', 'classes')}"
    return [
        Section(
            "",
            (
                Prose(scored),
                *figures(evaluation),
                *prose("" if ROC_AUC in evaluation.metrics else ranking_text(evaluation)),
            ),
        ),
        Section("Classes", (_class_table(evaluation),), folded=True),
        Section("Confusion", (matrix_of(evaluation),), folded=True),
        *(() if calibration is None else (Section("Temperature", _calibration(calibration)),)),
        *(() if abstention is None else (Section("Abstention", _abstention(abstention)),)),
        Section("", prose(*notes, unchecked_text(unchecked))),
        gates_section(gates),
    ]


def figures(evaluation: Evaluation) -> tuple[Prose | Table, ...]:
    """Return the figures with their 95 % intervals, and what to know before one believes them."""
    remarks = prose(uneven_text(evaluation), absent_text(evaluation))
    return *prose(never_predicted_text(evaluation), tone="alert"), metrics_table(evaluation.metrics), *remarks


def gates_section(gates: Sequence[Gate]) -> Section:
    """Return what was expected or forbidden, and whether it holds."""
    return Section("", (Gates(tuple(gates)),) if gates else (), verdict=True)


def metrics_table(metrics: Mapping[str, Interval]) -> Table:
    """Return the figures with their 95 % intervals."""
    rows = [(metric_name(name), figure(name, each.value), interval_text(name, each)) for name, each in metrics.items()]
    columns = (*texts("metric"), *numbers("value", "95 % interval"))
    return Table(columns, rows, "Metrics with their 95 % intervals")


def differences_table(metrics: Mapping[str, Difference], a: str, b: str, gap: str) -> Table:
    """Return the metrics of two sides and their difference."""
    rows: list[Row] = [(metric_name(name), *difference_cells(name, each)) for name, each in metrics.items()]
    return Table((*texts("metric"), *numbers(a, b, gap, "95 % interval")), rows, f"Metrics, {a} and {b}")


def difference_cells(name: str, found: Difference) -> tuple[Cell, ...]:
    """Return a metric of two sides as cells of a table: A, B, B minus A and its 95 % interval."""
    sides = [Cell(figure(name, value), value) for value in (found.a, found.b)]
    gap = Cell(signed(name, found.difference), found.difference)
    return *sides, gap, Cell(f"{signed(name, found.low)} to {signed(name, found.high)}")


def matrix_of(evaluation: Evaluation, *, pairs: int | None = None) -> Matrix:
    """Return the confusion matrix, with the pairs that were confused: the first `pairs`, the most images first."""
    rows = [
        (pair.true, pair.predicted, str(pair.images), share_cell(pair.share))
        for pair in evaluation.most_confused[:pairs]
    ]
    columns = (
        *texts("true class", "predicted", sort="up", kind="name"),
        *numbers("images", sort="down", by="descending"),
        *numbers("of the class", sort="down"),
    )
    caption = "Pairs of classes that were confused"
    confused = Table(columns, rows, caption, most=10, most_folded=20, tall=True, narrow=True)
    small = len(evaluation.classes) <= MATRIX_CLASSES
    return Matrix(evaluation.classes, evaluation.confusion.tolist() if small else (), confused)


def _class_table(evaluation: Evaluation) -> Table:
    rows = [
        (
            each.name,
            str(each.images),
            share(each.precision.value if each.precision else None),
            share(each.recall.value if each.recall else None),
            interval_text("recall", each.recall) if each.recall else "-",
            share(each.f1),
        )
        for each in evaluation.per_class
    ]
    return Table((*texts("class"), *numbers("images", "precision", "recall", "95 % interval", "F1")), rows, most=30)


def _calibration(calibration: Calibration) -> tuple[Prose | Table, ...]:
    """Return what a temperature changes, and which images it was fitted and tested on."""
    fitted_on = f"fitted on {calibration.source} ({count(calibration.images, 'image')})"
    how = f"Temperature {calibration.temperature:.3f}, {fitted_on}."
    if calibration.folds:
        how += (
            f" Some of these images are scored as well, so the figures are cross-fitted: in {calibration.folds} folds, "
            "each image by the temperature of the others."
        )
    if calibration.trained_on:
        how += " The network was trained on these images and is overconfident on them: fit on val instead."
    if calibration.unbounded:
        how += " Every fit image is classified correctly, so the optimum is unbounded; ignore this temperature."
    return Prose(how), differences_table(calibration.metrics, "before", "after", "change")


def _abstention(abstention: Abstention) -> tuple[Prose | Table, ...]:
    """Return the threshold that is suggested, and what others would do."""
    target, found = share(abstention.target), abstention.suggestion
    if found is None:
        suggestion = f"No threshold reaches {target} precision at 95 % confidence on these images."
    else:
        suggestion = (
            f"Answer at a confidence of {found.threshold:.4f} or more: {share(found.coverage)} of the images are "
            f"answered, {share(found.precision.value)} of them right; "
            f"at 95 % confidence at least {target} on images like these."
        )
    rows = [
        (
            f"{point.threshold:.4f}",
            share(point.coverage),
            str(point.images),
            share(point.precision.value),
            interval_text("accuracy", point.precision),
        )
        for point in reversed(abstention.curve)
        if point.coverage >= _LEAST_COVERAGE
    ]
    return Prose(suggestion), Table(numbers("from confidence", "answered", "images", "right", "95 % interval"), rows)
