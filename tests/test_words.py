"""Plain English in what users read: the words that HOUSE_STYLE rules out, file by file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = sorted((REPOSITORY / "ftcli").rglob("*.py"))
TEMPLATES = sorted((REPOSITORY / "ftcli").rglob("*.html"))
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

UNPLAIN = re.compile(
    r"\b(?:tell|tells|told|hear|hears|heard|be had|anew|beside|goe?s? on|stands?|whoever|nobody|sentences?"
    r"|is no(?! longer\b)|(?-i:are none)|of which|that which)\b",  # "are None" is Python
    re.IGNORECASE,
)
ALLOWED = re.compile(r"\b(?:tell|told)(?: \w+){0,3} apart\b")
"""To tell apart is the everyday verb for distinguishing."""

MOST_IN_DOCSTRINGS = 10
"""How many such words all docstrings together may have, such as the name of a JSON field `sentence`."""


def ids_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def unplain(text: str) -> list[str]:
    text = ALLOWED.sub("", text)
    return [
        f"{found[0]!r} in {text[max(found.start() - 40, 0) : found.end() + 30]!r}" for found in UNPLAIN.finditer(text)
    ]


def docstrings_of(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield every string that is a statement: docstrings, and those of constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def shown_strings(tree: ast.Module) -> Iterator[str]:
    """Yield every text in code: a string with a space that is not a docstring; the values of an f-string are {}."""
    skipped = set(docstrings_of(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(value for value in node.values if isinstance(value, ast.Constant))
            parts = [str(value.value) if isinstance(value, ast.Constant) else "{}" for value in node.values]
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and node not in skipped and " " in str(node.value):
            yield str(node.value)


@pytest.mark.parametrize("path", PACKAGE, ids=ids_of)
def test_messages_and_help_are_plain_english(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not [found for text in shown_strings(tree) for found in unplain(text)]


HELP = [path for path in PACKAGE if path.parent.name == "cli" or path.name == "keys.py"]


@pytest.mark.parametrize("path", HELP, ids=ids_of)
def test_docstrings_that_are_help_or_make_the_page_of_keys_are_plain_english(path: Path) -> None:
    assert not [found for node in docstrings_of(ast.parse(path.read_text())) for found in unplain(str(node.value))]


@pytest.mark.parametrize("path", TEMPLATES, ids=ids_of)
def test_templates_are_plain_english(path: Path) -> None:
    assert not unplain(re.sub(r"{{.*?}}|{%.*?%}|<.*?>", "", path.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("path", PAGES, ids=ids_of)
def test_documents_are_plain_english(path: Path) -> None:
    code_and_links = r"```.*?```|^    .*$|`[^`\n]*`|\]\([^)]*\)"
    prose = re.sub(code_and_links, "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not unplain(prose)


def test_docstrings_are_nearly_all_plain_english() -> None:
    found = {
        ids_of(path): [each for node in docstrings_of(ast.parse(path.read_text())) for each in unplain(str(node.value))]
        for path in PACKAGE
    }
    worst = sorted(((len(each), name, each[0]) for name, each in found.items() if each), reverse=True)
    listing = "\n".join(f"{count:3} {name}: {first}" for count, name, first in worst[:20])
    assert sum(count for count, _, _ in worst) <= MOST_IN_DOCSTRINGS, f"\n{listing}"
