import json
from pathlib import Path

from helpers.support import Ftcli


def test_the_schema_describes_every_key_and_forbids_others(ftcli: Ftcli) -> None:
    schema = ftcli("schema", "--json").json
    assert schema["additionalProperties"] is False
    assert "strategy" in schema["properties"]
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())
    assert json.loads(ftcli("schema").out) == schema


def test_a_schema_on_the_first_line_of_a_recipe_is_only_a_comment(ftcli: Ftcli, tiny: Path) -> None:
    Path("recipe.yaml").write_text(f"# yaml-language-server: $schema=schema.json\ndata: {{root: {tiny}}}\n")
    assert ftcli("plan", "recipe.yaml", "--json").json["strategy"] == "feature-extract"
