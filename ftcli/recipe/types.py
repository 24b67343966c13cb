"""Owns the types of the recipe's values: rates, shares, counts, and values that are a number or a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Rates = Annotated[Mapping[str, Rate], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Share, Share], Field(strict=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Tracking = Literal["tensorboard", "mlflow"]
WeightDecay = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _either(text: str, other: str, is_other: Callable[[Any], bool]) -> Discriminator:
    """Choose between two forms of a value by its type, so that errors speak of one form only."""
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
    """Refuse what is no regular expression, or one that names nothing."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    if not pattern.groups:
        raise ValueError("needs parentheses around what names the group, as in ^(patient[0-9]+)_")
    return text


GroupPattern = Annotated[str, AfterValidator(_finds_groups)]
