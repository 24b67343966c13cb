"""What is flushed to disk and renamed while the files of a run are written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every flush and rename, in order: a file by its content, a directory by its list of files."""
    happened: list[str] = []
    usual_fsync, usual_replace, usual_rename = os.fsync, Path.replace, Path.rename

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else path.read_text()
        happened.append(f"flush {held}")
        usual_fsync(descriptor)

    def moved(usual: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def move(path: Path, target: Path) -> Path:
            happened.append(f"name {target.name}")
            return usual(path, target)

        return move

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", moved(usual_replace))
    monkeypatch.setattr(Path, "rename", moved(usual_rename))
    return happened
