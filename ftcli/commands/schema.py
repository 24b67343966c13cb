"""`ftcli schema`: the recipe's JSON schema."""

from __future__ import annotations

from typing import Any

from ftcli.recipe.keys import Recipe


def recipe_schema() -> dict[str, Any]:
    """Return the recipe's JSON schema, for editors."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ftcli recipe", **schema}
