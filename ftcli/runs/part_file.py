"""A file of lines that takes its name once it is whole, and that a later command can continue."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ftcli.errors import UsageError
from ftcli.runs.files import cannot_write, read_json, sync_directory, write_json


class PartFile:
    """Lines of CSV or JSON, one per path, in `.NAME.part` until the last one is written.

    `settings` says what the lines depend on; it is kept in `.NAME.part.json`, and a part with others is not continued.
    `done` holds the paths that a part which is continued has. As a context manager, it renames the part at the end,
    and keeps it after an exception.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, is_csv: bool, resume: bool) -> None:
        """Start a part, or open the one that is there. Raises UsageError, and RunError where it cannot be written."""
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self._settings = path.with_name(f".{path.name}.part.json")
        self.done: frozenset[str] = frozenset()
        began = resume and self._part.is_file() and self._settings.is_file()
        if resume and not began and path.exists():
            message = "is complete: nothing is left to continue"
            raise UsageError(message, where=str(path), hint="Leave --continue out to write it again.")
        try:
            if began:
                self._check_settings(settings)
                self.done = self._read_whole_lines(is_csv=is_csv)
            else:
                self._part.unlink(missing_ok=True)
                write_json(self._settings, {"schema": 1, **settings})
            self._file = self._part.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise cannot_write(path, error) from error

    @property
    def is_new(self) -> bool:
        """Whether no line has been written yet."""
        return self._file.tell() == 0

    def write(self, line: str) -> None:
        """Write one line. Raises RunError."""
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Give the part its name, unless something went wrong."""
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self.path)
                self._settings.unlink(missing_ok=True)
                sync_directory(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        before = read_json(self._settings)
        for key, value in settings.items():
            if before.get(key) != value:
                message = f"its part has another {key.replace('_', ' ')}: {before.get(key)} instead of {value}"
                raise UsageError(message, where=str(self.path), hint="Leave --continue out to write it again.")

    def _read_whole_lines(self, *, is_csv: bool) -> frozenset[str]:
        """Cut off a line that was being written, and return the paths of the others."""
        content = self._part.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        text = whole.decode("utf-8", "surrogateescape")
        if is_csv and text.count('"') % 2:  # a line break within quotes: the record around it was being written
            text = text[: text.rfind("\n", 0, text.rfind('"')) + 1]
            whole = text.encode("utf-8", "surrogateescape")
        if len(whole) < len(content):
            with self._part.open("r+b") as file:
                file.truncate(len(whole))
        if not is_csv:
            return frozenset(json.loads(line)["path"] for line in text.splitlines())
        return frozenset(row[0] for row in list(csv.reader(text.splitlines(keepends=True)))[1:])
