"""What `ftcli export` shows: what was written, how it was proved, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from ftcli.phrases import count, size
from ftcli.report.sections import Lines, Section, prose


def export_sections(
    directory: Path, file: Path, *, images: int, source: str, difference: float, runtime: str
) -> list[Section]:
    """Return the proof of an export, the commands that use it, and its directory as the last line."""
    proof = (
        f"{file.name} ({size(file.stat().st_size)}), run with {runtime} on {source}: all {count(images, 'label')} are "
        f"those of the checkpoint; no probability differs by more than {difference:.1g}."
    )
    package = runtime.partition(" ")[0]
    commands = (
        f"python {shlex.quote(str(directory / 'classify.py'))} IMAGE   (needs numpy, pillow and {package} only)",
        f"ftcli predict {shlex.quote(str(directory))} IMAGE",
        f"ftcli verify {shlex.quote(str(directory))}   (on the machine that uses it)",
    )
    return [Section("", prose(proof)), Section("", (Lines(commands),)), Section("", (Lines((str(directory),)),))]
