"""Owns the options and arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; warnings and errors stay.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
OptionalConfig = Annotated[
    str | None, typer.Argument(metavar="[CONFIG]", help="A recipe: a YAML file. With --resume there is none.")
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides such as epochs=3 strategy.lr=0.01."),
]
