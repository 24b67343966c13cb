"""Owns an evaluation as Markdown, for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.evaluation.metrics import Evaluation
from ftcli.records import Gate
from ftcli.report.findings_markdown import gates_markdown
from ftcli.report.format import count
from ftcli.report.markdown import escaped, folded, table
from ftcli.report.wording import absent_text, class_cells, figure, interval_text, metric_name, share

_PAIRS = 20


def evaluation_markdown(evaluation: Evaluation, gates: Sequence[Gate], *, title: str, note: str) -> str:
    """Return an evaluation: gates first, metrics, and classes and confusions folded away."""
    rows = [
        (metric_name(name), figure(name, each.value), interval_text(name, each))
        for name, each in evaluation.metrics.items()
    ]
    parts = [
        f"## {escaped(title)}",
        gates_markdown(gates),
        f"{count(evaluation.images, 'image')}, {count(len(evaluation.classes), 'class', 'classes')}",
        table(("metric", "value", "95 % interval"), rows),
        escaped(absent_text(evaluation)),
        note,
        _classes(evaluation),
        _confused(evaluation),
    ]
    return "\n\n".join(part for part in parts if part)


def _classes(evaluation: Evaluation) -> str:
    rows = [(escaped(each.name), *class_cells(each)) for each in evaluation.per_class]
    header = ("class", "images", "precision", "recall", "95 % interval", "F1")
    return folded(count(len(rows), "class", "classes"), table(header, rows))


def _confused(evaluation: Evaluation) -> str:
    pairs = evaluation.most_confused
    rows = [
        (escaped(pair.true), escaped(pair.predicted), str(pair.images), share(pair.share)) for pair in pairs[:_PAIRS]
    ]
    more = f"\n\nand {count(len(pairs) - _PAIRS, 'more pair')}" if len(pairs) > _PAIRS else ""
    shown = table(("true class", "predicted", "images", "of the class"), rows)
    return folded("Most confused", shown + more) if pairs else ""
