import json
from pathlib import Path

import pytest

from ftcli.errors import RunError
from ftcli.runs.files import append_line, duplicate, read_json, write_json, write_text, write_with


def test_json_with_undecodable_names_is_utf_8_and_reads_back(tmp_path: Path) -> None:
    value = {"skipped": ["caf\udce9.png", "caf\u00e9.png", "\\udce9", 'a "quoted"\n\u2028'], "schema": 1}
    write_json(tmp_path / "dataset.json", value)
    text = (tmp_path / "dataset.json").read_bytes().decode("utf-8")
    assert "\u00e9" in text, "valid text stays readable"
    assert json.loads(text) == read_json(tmp_path / "dataset.json") == value


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")

    def half(path: Path) -> None:
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left") as caught:
        write_with(target, half)
    assert caught.value.where == str(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_flushed_before_its_rename_and_its_folder_after(tmp_path: Path, to_disk: list[str]) -> None:
    write_text(tmp_path / "file", "text")
    assert to_disk == ["flush text", "name file", "flush ['file']"]


def test_a_line_is_flushed_and_so_is_the_name_of_a_new_file(tmp_path: Path, to_disk: list[str]) -> None:
    append_line(tmp_path / "file", "one")
    append_line(tmp_path / "file", "two")
    assert to_disk == ["flush one\n", "flush ['file']", "flush one\ntwo\n"]


def test_a_duplicate_keeps_its_content_when_the_source_is_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "last", "one")
    duplicate(tmp_path / "last", tmp_path / "best")
    write_text(tmp_path / "last", "two")
    assert (tmp_path / "best").read_text() == "one"
