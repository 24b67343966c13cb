"""Gates: the rules of `--fail-if` about two runs, what a recipe expects of one, and whether each holds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ftcli.errors import GateError, UsageError
from ftcli.evaluation.compare.evidence import Evidence
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.significance import SIGNIFICANCE, holm, p_text
from ftcli.metrics import COMPARABLE, METRICS, split_and_metric
from ftcli.phrases import count, listed
from ftcli.recipe.types import ExpectedName, parse_condition
from ftcli.records import Gate, Interval

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
    """What fails; `limit` belongs to `drop` and `not-equivalent`, in the metric's own unit (0.01 is a point)."""

    kind: Kind
    limit: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.limit:g}" if ":" in FORMS[self.kind] else self.kind


@dataclass(frozen=True)
class Rules:
    """The rules of a comparison, the metrics that they are about, and the level of their tests."""

    rules: tuple[Rule, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    alpha: float = SIGNIFICANCE


def raise_failed(gates: Sequence[Gate]) -> None:
    """Raise GateError where a gate fails. The result shows which ones, and why."""
    if failed := [f"{gate.rule} ({gate.metric} of {gate.run})" for gate in gates if not gate.holds]:
        raise GateError(f"{len(failed)} of {count(len(gates), 'gate')} failed: {listed(failed)}")


def parse_rule(text: str) -> Rule:
    """Read `worse`, `not-better`, `drop:LIMIT` or `not-equivalent:LIMIT`. Raises UsageError with the nearest form."""
    name, colon, limit = text.strip().partition(":")
    kind = next((kind for kind in get_args(Kind) if kind == name), None)
    if kind is None:
        near = difflib.get_close_matches(name, FORMS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The rules are {', '.join(FORMS.values())}."
        raise UsageError(f"unknown rule {text!r}", where="--fail-if", hint=hint)
    wants_limit = ":" in FORMS[kind]
    if wants_limit != bool(colon):
        hint = f"Write it as {FORMS[kind]}."
        raise UsageError(f"{kind} {'needs a' if wants_limit else 'takes no'} limit", where="--fail-if", hint=hint)
    return Rule(kind, _limit(kind, limit)) if wants_limit else Rule(kind)


def _limit(kind: Kind, text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    # A zero drop means any drop; a zero margin could never be shown.
    if not math.isfinite(limit) or limit < 0 or (limit == 0 and kind == "not-equivalent"):
        hint = f"Write it as {FORMS[kind]}; 0.01 is one point."
        raise UsageError(f"invalid limit {text!r} for {kind}", where="--fail-if", hint=hint)
    return limit


def check_limits(rules: Rules) -> None:
    """Raise UsageError for a limit that no difference of a metric can pass, such as per cent where shares are meant."""
    for rule in rules.rules:
        for metric in (METRICS[name] for name in rules.metrics):
            if rule.limit >= metric.span:
                points = rule.limit / 100
                meant = f"For {rule.limit:g} point{'s' * (rule.limit != 1)} write {rule.kind}:{points:g}."
                raise UsageError(
                    f"{rule} can never fail; {metric.words} goes {metric.range_words}",
                    where="--fail-if",
                    hint=meant if points < metric.span else "0.01 is one point.",
                )


def check_metric(name: str) -> str:
    """Return the name of a metric. Raises UsageError with the nearest one for an unknown name."""
    if name in COMPARABLE:
        return name
    near = difflib.get_close_matches(name, COMPARABLE, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"The metrics are {', '.join(COMPARABLE)}."
    raise UsageError(f"unknown metric {name!r}", where="--metric", hint=hint)


def judge(rules: Rules, evidence: Sequence[Evidence]) -> tuple[Gate, ...]:
    """Return the gates of every rule, for every metric and everything that is compared with the baseline.

    `worse` fails when any of its tests rejects, so its p-values are adjusted for their number. `not-better` and
    `not-equivalent` hold only when all of their tests reject, which needs no adjustment (intersection-union,
    Berger 1982, doi:10.1080/00401706.1982.10487790). Raises UsageError for a metric that the runs do not have.
    """
    _check_metrics(rules, evidence)
    gates: list[Gate] = []
    tests = [(metric, each) for metric in rules.metrics for each in evidence]
    for rule in rules.rules:
        if rule.kind == "worse":
            adjusted = holm([each.worse(metric) for metric, each in tests])
            gates += [_significant(rule, rules.alpha, p, *test) for p, test in zip(adjusted, tests, strict=True)]
        elif rule.kind == "not-better":
            gates += [_significant(rule, rules.alpha, each.better(metric), metric, each) for metric, each in tests]
        elif rule.kind == "drop":
            gates += [_drop(rule, *test) for test in tests]
        else:
            gates += [_not_equivalent(rule, rules.alpha, *test) for test in tests]
    return tuple(gates)


def _check_metrics(rules: Rules, evidence: Sequence[Evidence]) -> None:
    for metric in rules.metrics:
        for each in evidence:
            try:
                each.difference(metric)
            except KeyError as error:
                row = METRICS[metric]
                message = f"{' and '.join(each.names)} have no {metric}"
                hint = f"Choose another metric: {row.words} needs at least {row.fewest_classes} classes."
                raise UsageError(message, where="--metric", hint=hint) from error


def _significant(rule: Rule, alpha: float, p_value: float, metric: str, evidence: Evidence) -> Gate:
    way = "worse" if rule.kind == "worse" else "better"
    rejects = p_value < alpha
    holds = rejects != (way == "worse")
    how = f"{'is' if rejects else 'is not'} significantly {way} than"
    why = f"one-sided {p_text(p_value)}, level {alpha:g}"
    return Gate(str(rule), metric, evidence.names[1], holds, _reason(metric, evidence, how, why), p_value)


def _drop(rule: Rule, metric: str, evidence: Evidence) -> Gate:
    gap = evidence.difference(metric).difference
    # The last digit of a difference of floats must not decide.
    holds = -METRICS[metric].sign * gap <= rule.limit + 1e-12
    how = f"is {'at most' if holds else 'more than'} {rule.limit:g} worse than"
    reason = _reason(metric, evidence, how, "point estimate, no test")
    return Gate(str(rule), metric, evidence.names[1], holds, reason)


def _not_equivalent(rule: Rule, alpha: float, metric: str, evidence: Evidence) -> Gate:
    gap = evidence.difference(metric, confidence=1 - 2 * alpha)
    holds = -rule.limit < gap.low and gap.high < rule.limit
    how = f"{'is equivalent' if holds else 'is not shown to be equivalent'} within {rule.limit:g} to"
    interval = f"the {100 * (1 - 2 * alpha):g} % interval is {gap.low:+.4f} to {gap.high:+.4f}"
    why = f"two one-sided tests at {alpha:g}: {interval}"
    return Gate(str(rule), metric, evidence.names[1], holds, _reason(metric, evidence, how, why))


def _reason(metric: str, evidence: Evidence, how: str, why: str) -> str:
    gap = evidence.difference(metric)
    a, b = evidence.names
    figures = f"{gap.b:.4f} against {gap.a:.4f} on {evidence.how}"
    return f"{b} {how} {a} in {METRICS[metric].words}: {figures} ({why})."


def check_expectations(
    expect: Mapping[ExpectedName, str], evaluation: Evaluation, *, split: str | None, run: str
) -> tuple[Gate, ...]:
    """Return a gate for every expectation about these images.

    A name that begins with a split is about that split alone, any other about whatever is scored; `split` is None for
    images that are not a split. The figure itself must meet the condition, not its interval.
    """
    gates = []
    for name, text in expect.items():
        of_split, metric = split_and_metric(name)
        if of_split in {None, split} and (found := _figure(metric, evaluation)) is not None:
            figure, what = found
            holds = parse_condition(text).holds(figure.value)
            reason = (
                f"{name} is {figure.value:.4f}{what} (95 % interval {figure.low:.4f} to {figure.high:.4f}), "
                f"{'as' if holds else 'not as'} expected: {text.strip()}."
            )
            gates.append(Gate(f"expect {text.strip()}", name, run, holds, reason))
    return tuple(gates)


def _figure(metric: str, evaluation: Evaluation) -> tuple[Interval, str] | None:
    """Return a metric's figure, and what to add to it; None where there is none, as top-5 accuracy of five classes."""
    if metric == "worst_class_recall":
        worst = evaluation.worst_class
        assert worst.recall is not None, "the worst class has images"
        return worst.recall, f", of {worst.name} with {worst.images} images"
    figure = evaluation.metrics.get(metric)
    return None if figure is None else (figure, "")


def unchecked(expect: Mapping[ExpectedName, str], *, split: str | None) -> tuple[str, ...]:
    """Return the expectations about other images than these."""
    return tuple(name for name in expect if split_and_metric(name)[0] not in {None, split})
