"""`ftcli plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Overrides, Quiet
from ftcli.cli.output import show, show_sections


def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show which group trains when and at which rate, without training."""
    from ftcli.commands.plan import plan as plan_recipe
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.plan import plan_sections

    result = plan_recipe(recipe, overrides or [])
    for text in result.prepared.notices:
        choose_progress(quiet=quiet).notice(text)
    if as_json:
        show(result.to_json())
    else:
        shown = result.prepared
        sections = plan_sections(shown.plan, shown.parameters, shown.batchnorm, result.forecasts, result.download)
        show_sections(sections)
