"""What `ftcli export` shows: what was written, how it was proved, and what to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ftcli.evaluation.compare.differences import Difference
from ftcli.phrases import count, size
from ftcli.report.format import signed
from ftcli.report.sections import Lines, Section, prose


@dataclass(frozen=True)
class Quantized:
    """What int8 costs: accuracy before (a) and after (b) on the same images of val, and the class that loses most."""

    calibrated_on: int
    accuracy: Difference
    flips: int
    worst_class: str
    worst_recall: Difference


def export_sections(directory: Path, file: Path, *, proof: str, runtime: str) -> list[Section]:
    """Return the proof of an export, the commands that use it, and its directory as the last line."""
    shown, package = shlex.quote(str(directory)), runtime.partition(" ")[0]
    commands = (
        f"python {shlex.quote(str(directory / 'classify.py'))} IMAGE   (needs numpy, pillow and {package} only)",
        f"ftcli predict {shown} IMAGE",
        f"ftcli verify {shown}   (on the machine that uses it)",
    )
    proved = f"{file.name} ({size(file.stat().st_size)}), {proof}"
    return [Section("", prose(proved)), Section("", (Lines(commands),)), Section("", (Lines((str(directory),)),))]


def proof_text(images: int, source: str, difference: float, runtime: str, int8: Quantized | None) -> str:
    """Return how a file was proved; of a quantized one, before that."""
    proof = (
        f"run with {runtime} on {source}: all {count(images, 'label')} are those of the checkpoint; no probability "
        f"differs by more than {difference:.1g}."
    )
    if int8 is None:
        return proof
    gap, worst = int8.accuracy, int8.worst_recall
    change, low, high = (signed("accuracy", value) for value in (gap.difference, gap.low, gap.high))
    return (
        f"before quantization {proof} In int8, calibrated on {count(int8.calibrated_on, 'image')} of train: accuracy "
        f"{change} points ({low} to {high}); {count(int8.flips, 'image')} flipped. Worst class: {int8.worst_class}, "
        f"recall {signed('accuracy', worst.difference)} points."
    )
