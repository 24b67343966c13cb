"""`ftcli resume`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, MaxMinutes, Quiet
from ftcli.cli.output import show_trained


def resume(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory, or the directory of the runs of several seeds.")
    ],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Higher epochs or patience, such as epochs=20.")
    ] = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train what is left of a run, from its last finished epoch on, with its own recipe.

    On a CPU, the result is the same to the last bit as without the interruption.
    """
    started = time.monotonic()
    for text in changes or ():
        if "=" not in text:
            raise typer.BadParameter(f"{text!r}: a resumed run uses its own recipe; give overrides such as epochs=20")
    from ftcli.commands.resume import resume as resume_run
    from ftcli.interrupt import Deadline
    from ftcli.report.progress import choose_progress

    deadline = Deadline(started, None if max_minutes is None else 60 * max_minutes)
    with choose_progress(quiet=quiet) as progress:
        result = resume_run(run, changes or [], progress=progress, deadline=deadline)
    show_trained(result, as_json=as_json)
