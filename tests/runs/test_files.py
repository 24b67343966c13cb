import json
from pathlib import Path

from ftcli.runs.files import read_json, write_json


def test_json_of_names_that_are_no_text_is_utf_8_for_any_reader_and_read_back(tmp_path: Path) -> None:
    value = {"skipped": ["caf\udce9.png", "caf\u00e9.png", "\\udce9", 'a "quoted"\n\u2028'], "schema": 1}
    write_json(tmp_path / "dataset.json", value)
    text = (tmp_path / "dataset.json").read_bytes().decode("utf-8")
    assert "\u00e9" in text, "what is text stays readable"
    assert json.loads(text) == read_json(tmp_path / "dataset.json") == value
