"""Owns the page of results: the machine, a section for each part that was run, and the names of those that were not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sections
import training_sections

INTRODUCTION = """\
# How fast, and at what price

Written by `make bench` from what it measured; please do not edit. ftcli is compared with the training loop that most
tutorials show, written plainly in [tutorial_loop.py](tutorial_loop.py): PIL and a DataLoader with two workers, and the
whole network in every epoch, on the same photographs, in batches of 32, with the same crops. A ratio says how many
times as long the loop takes: median over median, in brackets the worst case for ftcli and the best. Times are
wall times in seconds unless a table says otherwise; brackets beside them hold the fastest and the slowest. *Cold*
means an empty cache of features, *warm* the same command again; the photographs themselves are in the memory of the
operating system in either case, and in the loop's.
"""

QUIET = 0.5
"""The load average below which the machine did nothing else."""

SECTIONS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "startup": sections.startup,
    "head": training_sections.head,
    "finetune": training_sections.finetune,
    "full": training_sections.full,
    "decode": sections.decode,
    "memory": sections.memory,
    "growth": training_sections.growth,
    "accuracy": sections.accuracy,
}


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page for the results that are there, by part."""
    parts = [part for part in SECTIONS if part in results]
    texts = [INTRODUCTION, _machines(results, parts), *(SECTIONS[part](results[part]["rows"]) for part in parts)]
    missing = [f"`{part}`" for part in SECTIONS if part not in results]
    if missing:
        texts.append(f"## Not run\n\n{', '.join(missing)}")
    return "\n".join(f"{text.strip()}\n" for text in texts)


def _machines(results: Mapping[str, Mapping[str, Any]], parts: Sequence[str]) -> str:
    of_machine: dict[str, list[str]] = {}
    for part in parts:
        of_machine.setdefault(_machine(results[part]), []).append(part)
    lines = [f"* {', '.join(named)}: {machine}" for machine, named in of_machine.items()]
    busy = [f"{part} ({results[part]['load_before']:.1f})" for part in parts if results[part]["load_before"] > QUIET]
    if busy:
        lines.append(f"* the load average of one minute was above {QUIET} when these began: {', '.join(busy)}")
    return "\n".join(["## Machine", "", *lines])


def _machine(result: Mapping[str, Any]) -> str:
    facts = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB of memory, no GPU used, {facts['system']}, "
        f"Python {facts['python']}, {versions}; {result['date'][:10]}"
    )
