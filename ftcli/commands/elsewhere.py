"""Owns what to say where a run's images are not found because the run began in another directory."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftcli.data.scanning import is_folder
from ftcli.errors import DatasetError, RunDirectoryError
from ftcli.recipe.keys import Recipe
from ftcli.runs.directory import RunDirectory


@contextmanager
def naming_where_it_began(run: RunDirectory, recipe: Recipe) -> Iterator[None]:
    """Let the error of a relative `data.root` that is not here, but where the run began, say so.

    A checkpoint that stands alone does not tell where that was, and the error stays as it is.
    """
    try:
        yield
    except DatasetError as error:
        root, began = Path(recipe.data.root), _directory(run)
        if Path(error.where or "") == root and not is_folder(root) and is_folder(began / root):
            error.hint = f"The run began in another directory; give the command there: cd {shlex.quote(str(began))}"
        raise


def _directory(run: RunDirectory) -> Path:
    """Return where a run began; here, where it does not tell or what it tells cannot be read."""
    try:
        return Path(str(run.facts(run.environment).get("directory", ".")))
    except RunDirectoryError:
        return Path()
