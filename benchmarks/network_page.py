"""The page of networks: what the sweep found, family by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from network_trial import CACHED, CRASHED, PASSED, REFUSED, SLOW, UNCACHED, WRONG

_ORDER = (WRONG, CRASHED, SLOW, REFUSED, UNCACHED, CACHED)
_MOST_GROUPS = 6

_INTRODUCTION = """\
# Networks

`make sweep` takes the smallest network of every family of torchvision and timm through `plan`, `train`, `resume` and
`eval`, and writes this page. A family is what one module of the library calls by one name. Networks of more than 40
million parameters are left out. They have random weights, and images of noise at the smallest of 64, 96, 128 and 224
pixels that they take. Each is trained twice: its head alone, and with `unfreeze: 1` the group before the head, too.

* **cached**: the frozen part is computed once for each view, and `eval` reproduces the run's figures to 1e-5;
* **not cached**: the same, but the frozen part is computed in every epoch, for the reason given;
* **refused**: `plan` and `train` stop with this message before anything is written.
"""


def outcome_of(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the worst outcome of a network and its reason, with the strategy where they differ."""
    outcomes = row["outcomes"]
    strategy = min(outcomes, key=lambda title: _ORDER.index(outcomes[title]["outcome"]))
    outcome, reason = outcomes[strategy]["outcome"], outcomes[strategy]["reason"]
    same = len({(each["outcome"], each["reason"]) for each in outcomes.values()}) == 1
    return outcome, reason if same or reason is None else f"{reason} ({strategy})"


def render(rows: Sequence[Mapping[str, Any]], smallest: Mapping[str, str | None]) -> str:
    """Return the page in Markdown; `smallest` has the network of each family, None where all are too large."""
    of_network = {row["network"]: row for row in rows}
    run = {family: of_network[name] for family, name in smallest.items() if name in of_network}
    counted = {outcome: sum(outcome_of(row)[0] == outcome for row in run.values()) for outcome in reversed(_ORDER)}
    numbers = ", ".join(f"{number} {outcome}" for outcome, number in counted.items() if number or outcome in PASSED)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm"))
    lines = [_INTRODUCTION, f"{len(run)} families: {numbers}. {datetime.now(UTC):%d %B %Y}, {versions}, CPU.", ""]
    lines += ["| family | network | million parameters | px | frozen part | groups |", "|---|---|---|---|---|---|"]
    lines += [_line(family, row) for family, row in sorted(run.items())]
    extra = [row for name, row in sorted(of_network.items()) if name not in smallest.values()]
    if extra:
        lines += ["", "## Other networks", "", "| network | million parameters | px | frozen part | groups |"]
        lines += ["|---|---|---|---|---|", *(_line(None, row) for row in extra)]
    missing = [family for family, name in smallest.items() if name is not None and name not in of_network]
    large = [family for family, name in smallest.items() if name is None]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    if large:
        lines += ["", f"Left out, with more than 40 million parameters: {', '.join(large)}."]
    return "\n".join(lines) + "\n"


def _line(family: str | None, row: Mapping[str, Any]) -> str:
    outcome, reason = outcome_of(row)
    groups = list(row.get("groups") or ())
    if len(groups) > _MOST_GROUPS:
        groups = [*groups[:3], "…", *groups[-3:]]
    named = " ".join(f"`{group}`" if group != "…" else group for group in groups)
    parameters = "" if row.get("parameters") is None else f"{row['parameters'] / 1e6:.1f}"
    why = "" if reason is None else f": {' '.join(reason.split())}".replace("|", "\\|")
    cells = [f"`{row['network']}`", parameters, str(row.get("image_size") or ""), f"{outcome}{why}"]
    cells.append(f"{len(row.get('groups') or ())}: {named}" if groups else "")
    return f"| {' | '.join(cells if family is None else [family, *cells])} |"
