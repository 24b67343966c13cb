"""Render results for a pull request and its CI: sections as Markdown that GitHub shows, gates as JUnit XML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from ftcli.records import Gate
from ftcli.report.format import printable
from ftcli.report.sections import Gates, Lines, Matrix, Prose, Section, Table, cell_text

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")
_NOT_XML = re.compile("[\ufffe\uffff]")  # the only characters left that XML 1.0 forbids


def as_markdown(sections: Iterable[Section], *, title: str) -> str:
    """Return sections under a title: the verdict first, and what is long folded away."""
    ordered = sorted(sections, key=lambda section: not section.verdict)
    return "\n\n".join([f"## {escaped(title)}", *(_section(each, level=3) for each in ordered if each.parts)])


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is; names may hold anything."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def _section(section: Section, *, level: int) -> str:
    body = "\n\n".join(text for part in section.parts if (text := _part(part, level + 1)))
    if section.folded:
        return f"<details><summary>{html.escape(printable(section.title))}</summary>\n\n{body}\n\n</details>"
    return f"{level * '#'} {escaped(section.title)}\n\n{body}" if section.title else body


def _part(part: Any, level: int) -> str:
    match part:
        case Section():
            text = _section(part, level=level) if part.parts else ""
        case Prose(text=paragraph, tone=tone):
            text = f"**{escaped(paragraph)}**" if tone == "alert" else escaped(paragraph)
        case Lines(lines=lines):
            text = "  \n".join(map(escaped, lines))
        case Table():
            text = _table(part)
        case Matrix(pairs=pairs):
            text = _table(pairs) if pairs.rows else "No class was confused with another."
        case Gates(gates=gates):
            text = "\n".join(
                f"* **{'holds' if gate.holds else 'fails'}** `{gate.rule}`: {escaped(gate.sentence)}" for gate in gates
            )
        case _:
            raise TypeError(f"Markdown cannot show {type(part).__name__}")
    return text


def _table(part: Table) -> str:
    rows = part.rows[: part.most_folded]
    lines = [
        f"| {' | '.join(escaped(column.title) for column in part.columns)} |",
        f"|{'|'.join('---:' if column.number else '---' for column in part.columns)}|",
        *(f"| {' | '.join(escaped(cell_text(cell)) for cell in row)} |" for row in rows),
    ]
    more = len(part.rows) - len(rows)
    return "\n".join(lines) + (f"\n\nand {more:,} more" if more else "")


def gates_junit(gates: Sequence[Gate], *, suite: str) -> str:
    """Return one test suite with a test for each gate; a gate that fails is a failed test."""
    failures = sum(not gate.holds for gate in gates)
    counts = {"tests": str(len(gates)), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", counts)
    tests = ET.SubElement(root, "testsuite", {"name": _xml(suite), **counts})
    for gate in gates:
        name = _xml(f"{gate.rule} {gate.metric}")
        test = ET.SubElement(tests, "testcase", {"classname": _xml(gate.run), "name": name})
        reason = _xml(gate.sentence)
        if gate.holds:
            ET.SubElement(test, "system-out").text = reason
        else:
            ET.SubElement(test, "failure", {"message": reason, "type": "gate"}).text = reason
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", printable(text))
