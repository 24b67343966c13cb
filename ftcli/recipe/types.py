"""The types of the recipe's values: rates, shares, counts, a number or a word, and conditions on metrics."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ftcli.metrics import EXPECTABLE, METRICS, MONITORS, split_and_metric

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Rates = Annotated[Mapping[str, Rate], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Share, Share], Field(strict=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Tracking = Literal["tensorboard", "mlflow"]
WeightDecay = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _either(text: str, other: str, is_other: Callable[[Any], bool]) -> Discriminator:
    """Choose between two forms of a value by its type, so that errors name one form only."""
    return Discriminator(lambda value: other if is_other(value) else text)


RateOrRates = Annotated[
    Annotated[Rate, Tag("rate")] | Annotated[Rates, Tag("rates")],
    _either("rate", "rates", lambda value: isinstance(value, Mapping)),
]

_number_or_word = _either("number", "word", lambda value: isinstance(value, str))
GroupCount = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[Literal["all"], Tag("word")], _number_or_word
]
Views = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[Literal["fresh"], Tag("word")], _number_or_word
]
Workers = Annotated[
    Annotated[int, Field(ge=0), Tag("number")] | Annotated[Literal["auto"], Tag("word")], _number_or_word
]


def _finds_groups(text: str) -> str:
    """Refuse text that is not a regular expression, or one without parentheses."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    if not pattern.groups:
        raise ValueError("needs parentheses around what names the group, as in ^(patient[0-9]+)_")
    return text


GroupPattern = Annotated[str, AfterValidator(_finds_groups)]


if TYPE_CHECKING:
    ExpectedName = str
    Monitor = str
else:  # the table of metrics names them, which a type checker cannot follow
    ExpectedName = Literal[tuple(f"{prefix}{name}" for prefix in ("", "val_", "test_") for name in EXPECTABLE)]
    Monitor = Literal[tuple(MONITORS)]

_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*(-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+))\s*")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Condition:
    """A bound on a metric."""

    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Return whether a value meets it."""
        return _OPERATORS[self.sign](value, self.bound)


def parse_condition(text: str) -> Condition:
    """Read a condition such as `>= 0.9`. Raises ValueError for other text."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f'must be a comparison with a number, in quotes, such as ">= 0.9", not {text!r}')
    return Condition(found[1], float(found[2]))


def _condition(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f'must be a comparison, in quotes, such as ">= {value}", not {value!r}')  # noqa: TRY004 - pydantic's
    parse_condition(value)
    return value


def _can_hold(expect: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse conditions that no model can meet, such as per cent where shares are meant, each at its own key."""
    impossible = []
    for name, text in expect.items():
        condition, metric = parse_condition(text), METRICS[split_and_metric(name)[1]]
        if not any(condition.holds(value) for value in metric.bounds):
            message = f"{text!r} can never hold; it goes {metric.range_words}"
            error = PydanticCustomError("value_error", "{error}", {"error": message})
            impossible.append(InitErrorDetails(type=error, loc=(name,), input=text))
    if impossible:
        raise ValidationError.from_exception_data("expect", impossible)
    return expect


ConditionText = Annotated[str, BeforeValidator(_condition)]
Expectations = Annotated[Mapping[ExpectedName, ConditionText], AfterValidator(_can_hold)]
