"""The table of checks names every finding that the code can report, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import ftcli
from ftcli.data.checks.findings import Level
from ftcli.data.checks.table import CHECKS, Evidence, all_findings, content_findings
from ftcli.data.dataset import Dataset, Sample

PACKAGE = Path(ftcli.__file__).parent


def reported() -> Iterator[tuple[str, ast.expr]]:
    """Yield the code and the level of every finding that the source makes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                level, code, *_ = node.args
                assert isinstance(code, ast.Constant), f"{path}: a code is written out where it is reported"
                yield code.value, level


def test_every_finding_has_its_row_and_every_row_its_finding() -> None:
    rows = [code for check in CHECKS for code in check.levels]
    assert len(rows) == len(set(rows))
    assert set(rows) == {code for code, _ in reported()}


def test_the_levels_of_a_row_are_those_that_are_reported() -> None:
    levels = {code: given for check in CHECKS for code, given in check.levels.items()}
    for code, level in reported():
        assert set(levels[code]) <= set(get_args(Level))
        if isinstance(level, ast.Constant):
            assert levels[code] == (level.value,)
        else:
            assert len(levels[code]) > 1, f"{code} is reported at several levels"


def test_training_runs_the_checks_of_names_and_hashes() -> None:
    samples = (Sample(Path("a/1.png"), "a/1.png", 0), Sample(Path("b/1.png"), "b/1.png", 1))
    dataset = Dataset(Path(), ("a", "b"), {"train": samples, "val": samples}, (Path("notes.txt"),), None)
    hashes = {"a/1.png": "0", "b/1.png": "1"}
    in_training = {finding.code for finding in content_findings(dataset, hashes)}
    assert in_training == {"leak", "small-class"}
    assert {finding.code for finding in all_findings(Evidence(dataset, hashes))} == {*in_training, "stray"}


def test_the_page_on_checks_lists_every_finding_with_its_gravest_level() -> None:
    page = (PACKAGE.parent / "docs/checking-data.md").read_text()
    listed = {code: level for level, code in re.findall(r"^\| (\w+) \| `([a-z-]+)` \|", page, re.MULTILINE)}
    assert listed == {code: levels[0] for check in CHECKS for code, levels in check.levels.items()}
