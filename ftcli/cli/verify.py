"""`ftcli verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show


def verify(
    exported: Annotated[Path, typer.Argument(metavar="FILE", help="A directory of ftcli export, or the file in it.")],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check an exported model on this machine: that no file changed, and that golden images come out as they should.

    Exits with 4 if anything is wrong.
    """
    from ftcli.commands.verify import verify
    from ftcli.phrases import count

    result = verify(exported)
    if as_json:
        show(result.to_json())
    elif not result.problems:
        off = f"no probability is off by more than {result.largest_difference:.1g}"
        show(f"{result.directory} verifies: every file is unchanged; {count(result.golden, 'golden image')}, {off}")
    result.raise_problems()
