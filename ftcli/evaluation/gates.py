"""Owns the gates of a comparison: the rules of --fail-if, and whether each holds.

Owns whether an evaluation meets what its recipe expects.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ftcli.errors import GateError, UsageError
from ftcli.evaluation.compare.evidence import Evidence
from ftcli.evaluation.metrics import Evaluation
from ftcli.evaluation.significance import SIGNIFICANCE, holm, p_text
from ftcli.recipe.types import ExpectedName, parse_condition
from ftcli.records import (
    LOWER_IS_BETTER,
    METRIC_NAMES,
    UNBOUNDED,
    Gate,
    Interval,
    metric_words,
)

Kind = Literal["worse", "not-better", "drop", "not-equivalent"]
FORMS: dict[Kind, str] = {
    "worse": "worse",
    "not-better": "not-better",
    "drop": "drop:0.01",
    "not-equivalent": "not-equivalent:0.02",
}
"""Every rule as it is written, with an example of its limit."""


@dataclass(frozen=True)
class Rule:
    """What must not be; `limit` belongs to `drop` and `not-equivalent`, in the metric's own unit (0.01 is a point)."""

    kind: Kind
    limit: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.limit:g}" if ":" in FORMS[self.kind] else self.kind


@dataclass(frozen=True)
class Rules:
    """The rules of a comparison, the metrics they speak of, and the level of their tests."""

    rules: tuple[Rule, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    alpha: float = SIGNIFICANCE


def parse_rule(text: str) -> Rule:
    """Read `worse`, `not-better`, `drop:LIMIT` or `not-equivalent:LIMIT`. Raises UsageError with the nearest form."""
    name, colon, limit = text.strip().partition(":")
    kind = next((kind for kind in get_args(Kind) if kind == name), None)
    if kind is None:
        near = difflib.get_close_matches(name, FORMS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The rules are {', '.join(FORMS.values())}."
        raise UsageError(f"{text!r} is no rule", where="--fail-if", hint=hint)
    wants_limit = ":" in FORMS[kind]
    if wants_limit != bool(colon):
        hint = f"Write it as {FORMS[kind]}."
        raise UsageError(f"{kind} {'needs' if wants_limit else 'takes no'} limit", where="--fail-if", hint=hint)
    return Rule(kind, _limit(kind, limit)) if wants_limit else Rule(kind)


def _limit(kind: Kind, text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    # A zero drop means any drop; a zero margin could never be shown.
    if not math.isfinite(limit) or limit < 0 or (limit == 0 and kind == "not-equivalent"):
        hint = f"Write it as {FORMS[kind]}; 0.01 is one point."
        raise UsageError(f"{text!r} is no limit of {kind}", where="--fail-if", hint=hint)
    return limit


def check_limits(rules: Rules) -> None:
    """Raise UsageError for a limit that no difference of a metric can pass, such as per cent where shares are meant."""
    bounded = [metric for metric in rules.metrics if metric not in UNBOUNDED]
    for rule in rules.rules:
        if bounded and rule.limit >= 1:
            points = rule.limit / 100
            meant = f"{rule.kind}:{points:g}"
            hint = (
                f"For {rule.limit:g} point{'s' * (rule.limit != 1)} write {meant}."
                if points < 1
                else "0.01 is one point."
            )
            raise UsageError(
                f"{rule} can never fail; {metric_words(bounded[0])} goes from 0 to 1", where="--fail-if", hint=hint
            )


def check_metric(name: str) -> str:
    """Return the name of a metric. Raises UsageError with the nearest one for a name that is none."""
    if name in METRIC_NAMES:
        return name
    near = difflib.get_close_matches(name, METRIC_NAMES, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"The metrics are {', '.join(METRIC_NAMES)}."
    raise UsageError(f"{name!r} is no metric", where="--metric", hint=hint)


def raise_failed(gates: Sequence[Gate]) -> None:
    """Raise GateError where a gate fails. It says how many do; which ones and why is part of the result."""
    failed = sum(not gate.holds for gate in gates)
    if failed:
        raise GateError(f"{failed} of {len(gates)} {'gate' if len(gates) == 1 else 'gates'} failed")


def judge(rules: Rules, contrasts: Sequence[Evidence]) -> tuple[Gate, ...]:
    """Return every rule's gate for every metric and contrast.

    `worse` fails when any of its tests rejects, so its p-values are adjusted for their number. `not-better` and
    `not-equivalent` hold only when all of their tests reject, which needs no adjustment (intersection-union,
    Berger 1982, doi:10.1080/00401706.1982.10487790). Raises UsageError for a metric that the runs do not have.
    """
    _check_metrics(rules, contrasts)
    gates: list[Gate] = []
    tests = [(metric, evidence) for metric in rules.metrics for evidence in contrasts]
    for rule in rules.rules:
        if rule.kind == "worse":
            adjusted = holm([evidence.worse(metric) for metric, evidence in tests])
            gates += [_worse(p, rules.alpha, m, e) for p, (m, e) in zip(adjusted, tests, strict=True)]
        elif rule.kind == "not-better":
            gates += [_not_better(rules.alpha, metric, evidence) for metric, evidence in tests]
        elif rule.kind == "drop":
            gates += [_drop(rule, metric, evidence) for metric, evidence in tests]
        else:
            gates += [_not_equivalent(rule, rules.alpha, metric, evidence) for metric, evidence in tests]
    return tuple(gates)


def _check_metrics(rules: Rules, contrasts: Sequence[Evidence]) -> None:
    for metric in rules.metrics:
        for evidence in contrasts:
            try:
                evidence.difference(metric)
            except KeyError as error:
                message = f"{' and '.join(evidence.names)} have no {metric}"
                hint = "Top-5 accuracy needs more than five classes."
                raise UsageError(message, where="--metric", hint=hint) from error


def _worse(p_value: float, alpha: float, metric: str, evidence: Evidence) -> Gate:
    holds = p_value >= alpha
    how = "is not significantly worse than" if holds else "is significantly worse than"
    sentence = _sentence(evidence, metric, how, f"one-sided {p_text(p_value)}, level {alpha:g}")
    return Gate("worse", metric, evidence.names[1], holds, sentence, p_value)


def _not_better(alpha: float, metric: str, evidence: Evidence) -> Gate:
    p_value = evidence.better(metric)
    holds = p_value < alpha
    how = "is significantly better than" if holds else "is not significantly better than"
    sentence = _sentence(evidence, metric, how, f"one-sided {p_text(p_value)}, level {alpha:g}")
    return Gate("not-better", metric, evidence.names[1], holds, sentence, p_value)


def _drop(rule: Rule, metric: str, evidence: Evidence) -> Gate:
    gap = evidence.difference(metric).difference
    # The last digit of a difference of floats must not decide.
    holds = (gap if metric in LOWER_IS_BETTER else -gap) <= rule.limit + 1e-12
    how = f"is {'at most' if holds else 'more than'} {rule.limit:g} worse than"
    sentence = _sentence(evidence, metric, how, "point estimate, no test")
    return Gate(str(rule), metric, evidence.names[1], holds, sentence)


def _not_equivalent(rule: Rule, alpha: float, metric: str, evidence: Evidence) -> Gate:
    gap = evidence.difference(metric, confidence=1 - 2 * alpha)
    holds = -rule.limit < gap.low and gap.high < rule.limit
    how = f"{'is equivalent' if holds else 'is not shown to be equivalent'} within {rule.limit:g} to"
    interval = f"the {100 * (1 - 2 * alpha):g} % interval is {gap.low:+.4f} to {gap.high:+.4f}"
    why = f"two one-sided tests at {alpha:g}: {interval}"
    return Gate(str(rule), metric, evidence.names[1], holds, _sentence(evidence, metric, how, why))


def _sentence(evidence: Evidence, metric: str, how: str, why: str) -> str:
    gap = evidence.difference(metric)
    a, b = evidence.names
    figures = f"{gap.b:.4f} against {gap.a:.4f} on {evidence.how}"
    return f"{b} {how} {a} in {metric_words(metric)}: {figures} ({why})."


SPLITS = ("train", "val", "test")


def check_expectations(
    expect: Mapping[ExpectedName, str], evaluation: Evaluation, *, split: str | None, run: str
) -> tuple[Gate, ...]:
    """Return a gate for every expectation that speaks of these images.

    A name with `val_` or `test_` before it speaks of that split alone, any other of whatever is scored; `split` is
    None for images that are no split. It is the figure itself that must meet the condition, not its interval.
    """
    gates = []
    for name, text in expect.items():
        of_split, metric = split_of(name)
        if of_split in {None, split} and (found := _figure(metric, evaluation)) is not None:
            figure, what = found
            holds = parse_condition(text).holds(figure.value)
            sentence = (
                f"{name} is {figure.value:.4f}{what} (95 % interval {figure.low:.4f} to {figure.high:.4f}), "
                f"{'as' if holds else 'not as'} expected: {text.strip()}."
            )
            gates.append(Gate(f"expect {text.strip()}", name, run, holds, sentence))
    return tuple(gates)


def unchecked(expect: Mapping[ExpectedName, str], *, split: str | None) -> tuple[str, ...]:
    """Return the expectations that speak of other images than these."""
    return tuple(name for name in expect if split_of(name)[0] not in {None, split})


def split_of(name: str) -> tuple[str | None, str]:
    """Return the split that an expectation speaks of, None for any, and its metric."""
    split, _, metric = name.partition("_")
    return (split, metric) if split in SPLITS else (None, name)


def _figure(metric: str, evaluation: Evaluation) -> tuple[Interval, str] | None:
    """Return a metric's figure, and what to say of it; None where there is none, as top-5 accuracy of five classes."""
    if metric == "worst_class_recall":
        worst = evaluation.worst_class
        assert worst.recall is not None, "the worst class has images"
        return worst.recall, f", of {worst.name} with {worst.images} images"
    figure = evaluation.metrics.get(metric)
    return None if figure is None else (figure, "")
