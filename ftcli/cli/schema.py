"""`ftcli schema`."""

from __future__ import annotations

import json

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show


def schema(as_json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the recipe's JSON schema, for editors."""
    from ftcli.commands.schema import recipe_schema

    show(recipe_schema() if as_json else json.dumps(recipe_schema(), indent=2))
