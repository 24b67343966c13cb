"""Write docs/recipe.md and docs/commands.md from the code; a test checks that they are up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from ftcli.cli.app import app
from ftcli.recipe.keys import Recipe
from ftcli.recipe.problems import sections_of

DOCS = Path(__file__).parent
NOTE = "<!-- Written by `make docs`; do not edit. -->\n"


def recipe_page() -> str:
    """Return the page of every key of the recipe."""
    intro = (
        "# The recipe\n\n"
        + NOTE
        + "\nA recipe is a YAML file (YAML 1.2: `1e-3` is a number, `no` and `007` are text). "
        "Unknown keys are errors. Any key can be overridden on the command line: "
        "`ftcli train recipe.yaml epochs=3 strategy.lr.head=0.01`. "
        "`ftcli schema > recipe.schema.json` lets editors complete and check it.\n"
    )
    return intro + "".join(_section(Recipe, "", 2))


def _section(section: type[BaseModel], home: str, level: int) -> Iterator[str]:
    if home:
        title = home.removesuffix(".")
        kind = section.model_fields.get("kind")
        if kind is not None:
            title += f" (kind: {get_args(kind.annotation)[0]})"
        yield f"\n{'#' * level} {title}\n\n{section.__doc__}\n"
    plain = {key: field for key, field in section.model_fields.items() if key != "kind"}
    if plain:
        yield "\n| key | default | what it does |\n|---|---|---|\n"
        for key, field in plain.items():
            yield f"| `{home}{key}` | {_default(field)} | {field.description} |\n"
    for key, field in plain.items():
        for inner in sections_of(field.annotation):
            yield from _section(inner, f"{home}{key}.", level)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, BaseModel):
        return f"`{{kind: {value.kind}}}`" if hasattr(value, "kind") else "below"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"


def commands_page() -> str:
    """Return the page of every command: its help."""
    parts = [f"# The commands\n\n{NOTE}\n"]
    for words in ([], *([command] for command in typer.main.get_command(app).commands)):  # type: ignore[attr-defined]
        shown = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"}).invoke(app, [*words, "--help"])
        text = shown.stdout.replace("Usage: root", "Usage: ftcli")
        parts.append(f"## {' '.join(['ftcli', *words])}\n\n```\n{text.strip()}\n```\n")
    return "\n".join(parts)


PAGES = {"recipe.md": recipe_page, "commands.md": commands_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
