"""The page of results: the machine, a section per part, and the parts that were not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sections
import training_sections

INTRODUCTION = """\
# How fast, and at what price

Written by `make bench` from its measurements; please do not edit. ftcli is compared with the training loop of most
tutorials, reproduced in [tutorial_loop.py](tutorial_loop.py): PIL and a DataLoader with two workers, and the whole
network in every epoch, on the same photographs, in batches of 32, with the same crops. A ratio is the loop's time
divided by ftcli's: median over median, in brackets the worst case for ftcli and the best. Times are wall times in
seconds unless a table says otherwise, with the fastest and the slowest in brackets. *Cold* means an empty feature
cache, *warm* the same command again; in all cases the operating system has the photographs in memory.
"""

QUIET = 0.5
"""The load average of an otherwise idle machine is below this."""

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
    """Return the page for the available results, by part."""
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
