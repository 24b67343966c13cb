"""Kill `ftcli train` with SIGKILL, resume it, and compare the result with an undisturbed run.

One process imports everything and forks a child for each command, so a kill costs no start-up. A child is killed just
before its n-th change to the disk (a file opened for writing, renamed, linked or removed, a directory made; Python
reports these to audit hooks), after its n-th training batch, or after a random time.
"""

import argparse
import importlib
import itertools
import json
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.sparse  # noqa: F401 (imported once here, and not by each child)
import timm  # noqa: F401 (as above)

import ftcli
from ftcli.cli import main as run_ftcli
from ftcli.report.progress import LineProgress
from helpers.same_runs import assert_same_runs
from helpers.support import write_images

STRATEGIES = {
    "feature-extract": "{kind: feature-extract, lr: 1e-2}",
    "fine-tune": "{kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}, head_epochs: 1}",
    "gradual": "{kind: gradual, lr: 1e-2, epochs_per_phase: 1, unfreeze: 2}",
    "phases": "{kind: phases, phases: [{epochs: 1, lr: {head: 1e-2}}, {epochs: 2, lr: {features.12: 1e-3}}]}",
}
EPOCHS = 3
LAST_CHANGES = 8
"""The last changes to the disk, summary and page, are all tried."""

_CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Figures:
    """How many processes were killed, by kind, and how many runs were compared."""

    kills_at_changes: int = 0
    kills_in_epochs: int = 0
    kills_at_moments: int = 0
    runs_compared: int = 0
    seconds: float = 0.0


def main() -> None:
    """Run the tests that the options select, and print the figures as JSON."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--caches", nargs="+", choices=("cold", "warm", "off"), default=["cold", "warm", "off"])
    parser.add_argument("--every", type=int, default=1, help="kill at every n-th change to the disk")
    parser.add_argument("--batches", type=int, default=1, help="kill after every n-th training batch")
    parser.add_argument("--moments", type=int, default=4, help="kills at random moments, for each strategy and cache")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator, figures = np.random.default_rng(options.seed), Figures()
    for module in pkgutil.walk_packages(ftcli.__path__, "ftcli."):
        if not module.name.endswith(("__main__", "standalone")):
            importlib.import_module(module.name)
    for name, colour in (("blue", (70, 90, 180)), ("red", (180, 90, 70))):
        for split, count in (("train", 5), ("val", 3)):
            write_images(Path("images") / split / name, count=count, colour=colour)
    for strategy in options.strategies:
        for cache in options.caches:
            _kill_runs_of(strategy, cache, options, generator, figures)
    figures.seconds = round(time.monotonic() - started, 1)
    sys.stdout.write(json.dumps(asdict(figures)))


def _kill_runs_of(
    strategy: str, cache: str, options: argparse.Namespace, generator: np.random.Generator, figures: Figures
) -> None:
    """Kill runs of one recipe; resume each, and compare it with an undisturbed one."""
    place = Path(f"{strategy}-{cache}")
    place.mkdir()
    (place / "recipe.yaml").write_text(
        f"data: {{root: images, image_size: 32, batch_size: 4, workers: 0, views: 2, cache: {_cache_key(cache)}}}\n"
        f"model: {{name: squeezenet1_1, weights: none}}\nstrategy: {STRATEGIES[strategy]}\n"
        + ("" if strategy == "phases" else f"epochs: {EPOCHS}\n")
        + "optimizer: {kind: adam}\n"
    )
    started = time.monotonic()
    changes = _train_whole(place)
    seconds = time.monotonic() - started
    sampled = range(int(generator.integers(options.every)), changes, options.every)
    for number in sorted({*sampled, *range(changes - LAST_CHANGES, changes)}):
        # The second time, fewer changes are left.
        _kill_and_compare(place, f"change-{number}", figures, kills=[Kill(number), Kill(number // 2)])
    for number in range(0, 3 * EPOCHS, options.batches):
        _kill_and_compare(place, f"batch-{number}", figures, kills=[Kill(at_batch=number), Kill(at_batch=number // 2)])
    for number in range(options.moments):
        moments = [Kill(after_seconds=generator.uniform(0, seconds)) for _ in range(2)]
        _kill_and_compare(place, f"moment-{number}", figures, kills=moments)


@dataclass(frozen=True)
class Kill:
    """When to kill a process: before a change to the disk, after a training batch, or after a time."""

    at_change: int | None = None
    at_batch: int | None = None
    after_seconds: float | None = None


def _kill_and_compare(place: Path, name: str, figures: Figures, *, kills: list[Kill]) -> None:
    """Kill a run several times; finish it and compare."""
    if place.name.endswith("cold"):
        os.environ["FTCLI_CACHE"] = str((place / f"cache of {name}").absolute())
    for kill in kills:
        killed = _child(_command(place, name), kill=kill)
        figures.kills_at_changes += killed and kill.at_change is not None
        figures.kills_in_epochs += killed and kill.at_batch is not None
        figures.kills_at_moments += killed and kill.after_seconds is not None
    assert not _child(_command(place, name)), "the last command was killed"
    assert_same_runs(place / "runs/whole", place / "runs" / name)
    figures.runs_compared += 1


def _command(place: Path, name: str) -> list[str]:
    """Return the command that resumes a run, or starts it if it does not exist yet."""
    run = place / "runs" / name
    if run.exists():
        return ["train", "--resume", str(run)]
    return ["train", str(place / "recipe.yaml"), "--runs", str(place / "runs"), "--name", name]


def _train_whole(place: Path) -> int:
    """Train the undisturbed run, and return its number of changes to the disk."""
    os.environ["FTCLI_CACHE"] = str((place / "cache").absolute())
    counted = place / "changes.txt"
    _child(_command(place, "whole"), count_into=counted)
    return int(counted.read_text())


def _child(arguments: list[str], *, kill: Kill | None = None, count_into: Path | None = None) -> bool:
    """Run a command in a child process; return whether it was killed."""
    log, kill = Path("log.txt"), kill or Kill()
    pid = os.fork()
    if pid == 0:
        _run_child(arguments, log, kill, count_into)
    if kill.after_seconds is not None:
        time.sleep(kill.after_seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, log.read_text()
        return True
    assert os.WEXITSTATUS(status) == 0, f"{arguments}: {log.read_text()}"
    return False


def _run_child(arguments: list[str], log: Path, kill: Kill, count_into: Path | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    count = _counting_changes(kill.at_change)
    _die_after_batch(kill.at_batch)
    sys.argv = ["ftcli", *arguments]
    code = 1
    try:
        run_ftcli()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        if count_into is not None:
            count_into.write_text(str(count()))
        os._exit(code)


def _counting_changes(fatal: int | None) -> Callable[[], int]:
    """Count changes to the disk and die just before number `fatal`; return a function with the count."""
    count = 0

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in _CHANGES and not (event == "open" and _writes(arguments)):
            return
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(on_event)
    return lambda: count


def _die_after_batch(fatal: int | None) -> None:
    batches = itertools.count()

    def step(_progress: object, what: str, *_: object) -> None:
        if what.startswith("epoch") and next(batches) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    LineProgress.step = step  # type: ignore[method-assign]


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & _WRITING)


def _cache_key(cache: str) -> str:
    return "off" if cache == "off" else "auto"


if __name__ == "__main__":
    main()
