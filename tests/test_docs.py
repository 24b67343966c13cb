import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.comparing import compare_predictions
from helpers.support import predictions_with

from ftcli.commands.eval import EvalResult
from ftcli.data.class_folders import IMAGE_EXTENSIONS
from ftcli.data.decoding import MAXIMUM_PIXELS
from ftcli.evaluation.abstention import abstention
from ftcli.evaluation.compare.result import Findings, RunPair
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.predictions import Seen
from ftcli.evaluation.temperature import calibrate

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["recipe.md", "commands.md"])
def test_generated_pages_are_up_to_date(generate: ModuleType, name: str) -> None:
    assert (REPOSITORY / "docs" / name).read_text() == generate.PAGES[name](), "run `make docs`"


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in REPOSITORY.glob("docs/*.md"))]
)
def test_links_have_a_target(page: str) -> None:
    file = REPOSITORY / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), f"{page} links to {target}"


def test_every_make_target_in_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`?make ([a-z]+)", (REPOSITORY / page).read_text()))
        assert named <= targets


def test_every_recipe_in_the_readme_exists() -> None:
    for path in re.findall(r"configs/[\w/]+\.yaml", (REPOSITORY / "README.md").read_text()):
        assert (REPOSITORY / path).is_file()


def test_the_page_on_data_lists_every_finding_and_image_format() -> None:
    page = (REPOSITORY / "docs/checking-data.md").read_text()
    named = set(re.findall(r"^\| (?:error|warning|info) \| `([a-z-]+)`", page, re.MULTILINE))
    found = {
        code.value
        for path in (REPOSITORY / "ftcli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
        for code in node.args[1:2]
        if isinstance(code, ast.Constant)
    }
    assert named == found
    assert f"{MAXIMUM_PIXELS:,} pixels" in page
    for extension in IMAGE_EXTENSIONS:
        assert extension in page


def test_every_key_of_the_json_of_eval_and_compare_is_documented() -> None:
    page = (REPOSITORY / "docs/statistics.md").read_text()
    a, b = predictions_with(range(9)), predictions_with(range(5, 12))
    findings = Findings(("a", "b"), (RunPair(compare_predictions(a, b), {}, {}, (True, True), None),), (), ())
    evaluation = evaluate(a, resamples=10)
    calibration = calibrate(a, a, source="val")
    result = EvalResult(Path("a"), "val", Seen(9, 0, 9), evaluation=evaluation, calibration=calibration)
    for value in (findings.to_json(), result.to_json(), asdict(abstention(a, target=0.9))):
        for key in keys_of({**value, "metrics": {}}):
            assert f'"{key}"' in page, key


def keys_of(value: Any) -> Iterator[str]:
    """Yield every key at any depth, except names of metrics, which are documented elsewhere."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of({} if key == "metrics" else inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from keys_of(inner)
