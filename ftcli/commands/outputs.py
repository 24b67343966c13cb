"""Files that a user asks for by name: where they may be written, so that no file of a run is overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftcli.errors import UsageError
from ftcli.records import Gate
from ftcli.report.markdown import gates_junit
from ftcli.runs.create import put_back
from ftcli.runs.directory import OWN_FILES, OWN_FOLDERS, SEEDS_SUMMARY, RunDirectory
from ftcli.runs.files import write_text


def check_output(path: Path) -> None:
    """Raise UsageError, before anything is written, for a path that is not a file, or is a file of a run.

    Its folder may be missing if the parent of that exists: it is made with the file. A run that was being replaced is
    restored first.
    """
    put_back(path.parent)
    if path.exists() and not path.is_file():  # a device would be replaced
        raise UsageError("is not a file", where=str(path), hint="Give the path of a file.")
    folder, above = path.parent, path.parent.absolute().parent
    # A missing folder at the root of the file system is a typing error.
    if not folder.is_dir() and (folder.exists() or not above.is_dir() or above == above.parent):
        raise UsageError(
            f"the folder {folder} does not exist",
            where=str(path),
            hint="Make the folder first, or check the path.",
        )
    run = _run_of(path)
    if run is not None:
        raise UsageError(
            f"is a file of the run {run}, which would be overwritten", where=str(path), hint="Choose another file."
        )


def make_folder(path: Path) -> None:
    """Make the folder of a path that `check_output` let pass."""
    path.parent.mkdir(exist_ok=True)


def _run_of(path: Path) -> Path | None:
    """Return the run, or the directory of several seeds, that owns a file, whether or not the file exists."""
    file = path.parent.resolve() / path.name  # a link would be replaced, not followed
    for directory in file.parents:
        name = file.relative_to(directory)
        if RunDirectory(directory).environment.is_file() and (
            name.as_posix() in OWN_FILES or name.parts[0] in OWN_FOLDERS
        ):
            return directory
        if (directory / SEEDS_SUMMARY).is_file() and name.as_posix() in {SEEDS_SUMMARY, "recipe.yaml"}:
            return directory
    return None


def write_junit(path: Path, gates: Sequence[Gate], *, suite: str) -> None:
    """Write gates as JUnit XML to a path that `check_output` let pass. Raises RunError."""
    make_folder(path)
    write_text(path, gates_junit(gates, suite=suite))
