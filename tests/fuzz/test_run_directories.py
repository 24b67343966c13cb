"""Run directories with a file missing, cut, damaged or from another run: every command names the file and the reason.

If a command succeeds instead, its output equals that for the intact run, except that `compare` and `eval` call a run
without summary unfinished. An unfinished run has no hashes yet: damaged files are refused, but an intact file of
another run is accepted.
"""

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.fuzzing import STRESS, damaged
from helpers.support import Ftcli

from ftcli.errors import StoppedAtOnce
from ftcli.report.progress import LineProgress


@dataclass(frozen=True)
class Tried:
    """The runs to damage: a finished one, and one stopped after its first epoch."""

    finished: Path
    stopped: Path
    other: Path


@pytest.fixture
def tried(ftcli: Ftcli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Tried:
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, workers: 0, views: 2}}\nmodel: {{name: squeezenet1_1, weights: none}}\n"
        "strategy: {kind: feature-extract, lr: 1e-2}\nepochs: 2\n"
    )
    ftcli("train", "recipe.yaml", "--name", "finished")
    ftcli("train", "recipe.yaml", "--name", "other", "seed=1")
    with monkeypatch.context() as patch:

        def stop(_progress: object, _record: object, *, epochs: int, best: bool) -> None:
            raise StoppedAtOnce(signal.SIGINT)

        patch.setattr(LineProgress, "epoch", stop)
        ftcli("train", "recipe.yaml", "--name", "stopped", code=130)
    return Tried(Path("runs/finished"), Path("runs/stopped"), Path("runs/other"))


def damages(file: Path, other: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield damages of a file: a name and the new content, None for a missing file."""
    content = file.read_bytes()
    yield "missing", None
    yield "cut in the middle", content[: len(content) // 2]
    if other.is_file() and other.read_bytes() != content:
        yield "another run's", other.read_bytes()
    if not STRESS:
        return
    yield "empty", b""
    yield "cut at the end", content[:-1]
    home = file.parent if (file.parent / "plan.json").exists() else file.parents[1]
    yield "another file", (home / ("plan.json" if file.name != "plan.json" else "dataset.json")).read_bytes()
    for seed in range(40):
        yield f"damaged {seed}", damaged(content, seed)


def arguments_of(command: str, run: Path) -> tuple[object, ...]:
    """Return a call that reads a run."""
    calls = {
        "compare": ("compare", run, "runs/other", "--json"),
        "eval": ("eval", run, "--json"),
        "report": ("report", run, "--out", "page.html", "--json"),
        "resume": ("train", "--resume", run, "--json"),
    }
    return calls[command]


def result_of(ftcli: Ftcli, command: str, run: Path) -> tuple[int, object, str]:
    """Return a command's exit code, its results without times, and its messages."""
    outcome = ftcli(*arguments_of(command, run), code=None)
    assert "bug in ftcli" not in outcome.err, outcome.err
    found = json.loads(outcome.out) if outcome.out else {}
    return outcome.code, {**found, "seconds": None}, outcome.err


@pytest.mark.parametrize("kind", ["finished", "stopped"])
@pytest.mark.parametrize("command", ["compare", "eval", "report", "resume"])
def test_every_command_names_the_damaged_file(ftcli: Ftcli, tried: Tried, command: str, kind: str) -> None:
    run: Path = getattr(tried, kind)
    kept = Path(shutil.copytree(run, "kept"))
    _, whole, _ = result_of(ftcli, command, run)
    count = refused = 0
    for name in sorted(str(path.relative_to(kept)) for path in kept.rglob("[!.]*") if path.is_file()):
        for what, content in damages(kept / name, tried.other / name):
            shutil.rmtree(run)
            shutil.copytree(kept, run)
            (run / name).unlink()
            if content is not None:
                (run / name).write_bytes(content)
            code, found, said = result_of(ftcli, command, run)
            count, refused = count + 1, refused + (code != 0)
            if code:
                assert code in {2, 3}, f"{name} {what}: {said}"
                assert Path(name).name in said, f"{name} {what}: {said}"
            elif kind == "finished":
                unfinished = command in {"compare", "eval"} and (name, what) == ("summary.json", "missing")
                told = {"unfinished": [str(run)]} if unfinished else {}
                assert found == {**whole, **told}, f"{name} {what}"
    assert refused > 1
    print(f"{command} on a {kind} run: {count} damaged files, {refused} refused by name")  # noqa: T201


def test_a_run_is_not_resumed_with_another_runs_recipe(ftcli: Ftcli, tried: Tried) -> None:
    shutil.copy(tried.other / "recipe.yaml", tried.stopped)
    outcome = ftcli("train", "--resume", tried.stopped, code=2)
    assert "runs/stopped/recipe.yaml: is not what the last checkpoint was trained with: seed" in outcome.err
