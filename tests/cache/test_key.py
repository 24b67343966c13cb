import json
import os
from pathlib import Path

from ftcli.cache.key import collection_key, description_text, read_descriptions


def describe(directory: Path, description: dict[str, object], *, used_at: int, name: str | None = None) -> Path:
    """Write a collection that has only a description, last used so many seconds after 1970."""
    path = directory / (name or collection_key(description)) / "description.json"
    path.parent.mkdir(parents=True)
    path.write_text(description_text(description))
    os.utime(path, (used_at, used_at))
    return path


def test_descriptions_come_with_the_most_recently_used_first(tmp_path: Path) -> None:
    for name, used_at in (("a", 2), ("b", 3), ("c", 1)):
        describe(tmp_path, {"model": name}, used_at=used_at)
    assert [each["model"] for each in read_descriptions(tmp_path)] == ["b", "a", "c"]
    assert read_descriptions(tmp_path / "nowhere") == ()


def test_other_files_and_other_formats_are_skipped(tmp_path: Path) -> None:
    describe(tmp_path, {"model": "good"}, used_at=1)
    describe(tmp_path, {"model": "moved"}, used_at=2, name="0" * 64)
    older = describe(tmp_path, {"model": "older"}, used_at=3)
    older.write_text(older.read_text().replace('"format": 2', '"format": 1'))
    older.parent.rename(tmp_path / "older")
    for number, text in enumerate(("", "[]", "{}", '{"description": 3}', '{"description": {"a": NaN}}', "\xff{")):
        describe(tmp_path, {"model": number}, used_at=4).write_text(text)
    (tmp_path / "folder" / "description.json").mkdir(parents=True)
    assert read_descriptions(tmp_path) == ({"model": "good"},)


def test_a_description_of_another_format_has_another_name(tmp_path: Path, monkeypatch) -> None:
    before = collection_key({"a": 1})
    path = describe(tmp_path, {"a": 1}, used_at=1)
    monkeypatch.setattr("ftcli.cache.key.FORMAT", 3)
    assert collection_key({"a": 1}) != before
    assert json.loads(path.read_text())["format"] == 2
    assert read_descriptions(tmp_path) == ()
