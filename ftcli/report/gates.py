"""Write gates as JUnit XML, which CI servers show as tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from ftcli.records import Gate
from ftcli.report.format import printable

_NOT_XML = re.compile("[\ufffe\uffff]")  # the only characters left that XML 1.0 forbids


def gates_junit(gates: Sequence[Gate], *, suite: str) -> str:
    """Return one test suite with a test for each gate; a gate that fails is a failed test."""
    failures = sum(not gate.holds for gate in gates)
    counts = {"tests": str(len(gates)), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", counts)
    tests = ET.SubElement(root, "testsuite", {"name": _text(suite), **counts})
    for gate in gates:
        name = _text(f"{gate.rule} {gate.metric}")
        test = ET.SubElement(tests, "testcase", {"classname": _text(gate.run), "name": name})
        reason = _text(gate.sentence)
        if gate.holds:
            ET.SubElement(test, "system-out").text = reason
        else:
            ET.SubElement(test, "failure", {"message": reason, "type": "gate"}).text = reason
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(text: str) -> str:
    return _NOT_XML.sub("?", printable(text))
