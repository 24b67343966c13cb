"""Take the smallest network of every family of timm and torchvision through plan, train, resume and eval.

Random weights, at most 40 million parameters, each network in its own process of one thread with a time limit. Results
are kept: a call runs the networks without one, or with patterns those that match, again. Then it writes
docs/networks.md. An hour or two on two cores.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from network_page import outcome_of, render
from network_trial import CRASHED, PASSED, SLOW, try_network, write_noise
from timm.models import _registry
from torchvision import models

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sweep"
PAGE = HERE.parent / "docs" / "networks.md"
MOST_PARAMETERS = 40_000_000

_SIZE_WORDS = frozenset(("atto", "femto", "pico", "nano", "tiny", "small", "medium", "base", "large", "huge", "giant"))
_SHARED_WORDS = ("vit", "coat")
"""First words that several architectures share: their last word counts, too."""


def main() -> int:
    """Run what is asked for, and write the page; the exit code is 1 if a network did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="a network's name, or a part of the names of families")
    parser.add_argument("--processes", type=int, default=1, help="how many networks at a time (default 1)")
    parser.add_argument("--seconds", type=float, default=600, help="time limit of each network (default 600)")
    parser.add_argument("--minutes", type=float, default=240, help="start no network after this time (default 240)")
    parser.add_argument("--render", action="store_true", help="only write the page from the results that are there")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if not options.render:
        stop = time.monotonic() + 60 * options.minutes
        jobs = _chosen(options.patterns, stop=stop)
        failed = list(_run(jobs, processes=options.processes, seconds=options.seconds))
        print(f"failed: {', '.join(failed) or 'none'}", file=sys.stderr)
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json")) if path != _COUNTS}
    known = {family: names for family, names in families().items() if _counts().keys() >= set(names)}
    smallest = {family: _smallest(names) for family, names in known.items()}
    PAGE.write_text(render(list(rows.values()), smallest))
    return 0 if options.render or not failed else 1


def families() -> dict[str, list[str]]:
    """Return the networks of each family: `library/module: first word`, without the numbers behind it."""
    found: dict[str, list[str]] = {}
    for name in models.list_models(module=models):
        module = models.get_model_builder(name).__module__.rpartition(".")[2]
        found.setdefault(f"torchvision {module} {_stem(name)}", []).append(name)
    for name in timm.list_models(exclude_filters="test_*"):
        module = _registry._model_to_module[name]  # noqa: SLF001 - timm has no public name for it
        found.setdefault(f"timm {module} {_stem(name)}", []).append(f"timm/{name}")
    return found


def _stem(name: str) -> str:
    """Return what a family is called: resnet of resnet50d, swinv2 of swinv2_cr_tiny_224, vit dinov3 of its sizes."""
    first, *rest = name.split("_")
    stem = re.sub(r"(?<!v)\d.*$", "", first) or first
    words = [word for word in rest if re.fullmatch(r"[a-z]{4,}v?\d?", word) and word not in _SIZE_WORDS]
    return f"{stem} {words[-1]}" if first in _SHARED_WORDS and words else stem


def _chosen(patterns: Sequence[str], *, stop: float) -> Iterator[str]:
    """Yield the networks to run, until the time is up: first one of each module, small ones first, then the others."""
    found = families()
    named = [name for names in found.values() for name in names if name in patterns]
    yield from named
    wanted = [
        family for family in found if not patterns or any(part in family for part in patterns if part not in named)
    ]
    seen: set[str] = set()
    first = [family for family in wanted if (module := family.split()[1]) not in seen and not seen.add(module)]
    for some in (first, [family for family in wanted if family not in first]):
        names = [name for family in some if (name := _smallest(found[family])) is not None]
        for name in sorted(names, key=_counts().__getitem__):
            if time.monotonic() > stop:
                return
            if patterns or not _result(name).exists():
                yield name


_COUNTS = RESULTS / "parameters.json"


def _smallest(names: Sequence[str]) -> str | None:
    """Return the smallest network with at most MOST_PARAMETERS, counted on the meta device and remembered."""
    counts = _counts()
    for name in names:
        if name not in counts:
            counts[name] = _count(name)
            _COUNTS.write_text(json.dumps(counts))
    known = [name for name in names if counts.get(name) is not None and counts[name] <= MOST_PARAMETERS]
    return min(known, key=counts.__getitem__, default=None)


def _counts() -> dict[str, Any]:
    return json.loads(_COUNTS.read_text()) if _COUNTS.exists() else {}


def _count(name: str) -> int | None:
    """Return the number of parameters; None for a network that cannot be built."""
    library, _, bare = name.rpartition("/")
    with warnings.catch_warnings(action="ignore"):
        try:
            if not library:
                return sum(
                    p.numel() for p in models.get_model(name, weights=None, **_NO_INIT.get(name, {})).parameters()
                )
            with torch.device("meta"):
                return sum(p.numel() for p in timm.create_model(bare).parameters())
        except Exception:  # noqa: BLE001 - any model's code
            return None


_NO_INIT = {"inception_v3": {"init_weights": False}, "googlenet": {"init_weights": False}}


def _run(names: Iterator[str], *, processes: int, seconds: float) -> Iterator[str]:
    """Run networks, so many at a time; yield those that did not pass."""
    running: dict[str, tuple[multiprocessing.Process, float]] = {}
    left = True
    while left or running:
        while left and len(running) < processes:
            name = next(names, None)
            left = name is not None
            if name is not None:
                process = multiprocessing.get_context("fork").Process(target=_work, args=(name,))
                process.start()
                running[name] = (process, time.monotonic())
        time.sleep(0.2)
        for name, (process, started) in list(running.items()):
            taken = time.monotonic() - started
            if process.is_alive() and taken < seconds:
                continue
            del running[name]
            if process.is_alive():
                process.kill()
                _keep(name, {"network": name, "outcomes": {"all": {"outcome": SLOW, "reason": f"over {seconds:g} s"}}})
            process.join()
            if process.exitcode and process.exitcode > 0:
                why = f"exit code {process.exitcode}"
                _keep(name, {"network": name, "outcomes": {"all": {"outcome": CRASHED, "reason": why}}})
            outcome, reason = outcome_of(json.loads(_result(name).read_text()))
            print(f"{name:44} {taken:5.0f} s  {outcome}{': ' if reason else ''}{reason or ''}", flush=True)
            if outcome not in PASSED:
                yield name


def _work(name: str) -> None:
    """Run one network in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FTCLI_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        write_noise(Path("images"))
        _keep(name, try_network(name, images=Path("images"), folder=Path()))


def _result(name: str) -> Path:
    return RESULTS / f"{name.replace('/', '_')}.json"


def _keep(name: str, row: dict[str, Any]) -> None:
    _result(name).write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
