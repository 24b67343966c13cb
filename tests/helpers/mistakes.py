"""What ftcli says about typical mistakes: the commands, and the golden text of all messages.

    cd tests && python -m helpers.mistakes      writes golden/errors.txt again (`make golden`)

A change of wording is then reviewed as one diff; other tests assert kinds, places and figures, not prose.
"""

import contextlib
import io
import os
import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ftcli.cli import main
from ftcli.runs.directory import RunDirectory
from helpers.hostile import encoded, noise
from helpers.recorded_runs import write_run
from helpers.support import write_images

GOLDEN = Path(__file__).parents[1] / "golden" / "errors.txt"

_MODEL = "model: {name: squeezenet1_1, weights: none}"


@dataclass(frozen=True)
class Mistake:
    """A command that fails, and the recipe.yaml that it reads."""

    command: str
    recipe: str = ""


def of_recipe(line: str, *, command: str = "plan recipe.yaml") -> Mistake:
    """Return the mistake of one line in a recipe that is right otherwise."""
    known = {"data": "data: {root: photos}", "model": _MODEL}
    lines = [text for key, text in known.items() if not line.startswith(f"{key}:")]
    return Mistake(command, "\n".join([*lines, line]) + "\n")


def of_override(*overrides: str) -> Mistake:
    """Return the mistake of overrides of a right recipe."""
    return of_recipe("epochs: 8", command=f"plan recipe.yaml {shlex.join(overrides)}")


MISTAKES = {
    "The command line": (
        Mistake("trian recipe.yaml"),
        Mistake("train"),
        Mistake("train nowhere.yaml"),
        Mistake("train photos"),
        Mistake("train recipe.yml", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --epochs 5", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --lr 0.01", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --nmae a", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --name a/b", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --seeds 1,two", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --runs runs --name a", "data: {root: photos}\n"),
        Mistake("train recipe.yaml --runs notes.safetensors", "data: {root: photos}\n"),
        Mistake("eval runs/a --json --markdown"),
        Mistake("report runs/a --out nowhere/at/all/page.html"),
        Mistake("report runs/a --out runs/a/recipe.yaml"),
    ),
    "Keys and values of a recipe": (
        Mistake("plan recipe.yaml", "# nothing yet\n"),
        Mistake("plan recipe.yaml", "data:\n\troot: photos\n"),
        Mistake("plan recipe.yaml", "model: {name: resnet18}\n"),
        Mistake(
            "plan recipe.yaml",
            "data:\n  root: photos\n  batchsize: 32\n  augment: standart\n"
            "epochs: '15'\noptimizer: {kind: sdg}\nlr: 3\n",
        ),
        of_recipe("modle: {name: resnet18}"),
        of_recipe("epochs: 3\nepochs: 5"),
        of_recipe("epochs: 0"),
        of_recipe("strategy: gradual"),
        of_recipe("strategy: {kind: finetune}"),
        of_recipe("strategy: {unfreeze: 2}"),
        of_recipe("strategy: {kind: feature-extract, lr: {head: 0.01}}"),
        of_recipe("strategy: {kind: fine-tune, epochs_per_phase: 2}"),
        of_recipe("monitor: val_recall"),
        of_recipe("expect: {val_accuracy: 0.9}"),
        of_recipe("label_smoothing: !!python/name:os.system 1"),
        of_recipe("device: gpu"),
    ),
    "Overrides": (
        of_override("epoch=5"),
        of_override("epochs"),
        of_override("epochs=five"),
        of_override("lr=0.01"),
        of_override("model=resnet18"),
        of_override("strategy.solver=lbfgs"),
        of_override("strategy.kind=fine-tune", "strategy.head.lr=1e-2"),
        of_override("data.test_fraction=0.2"),
        of_override("format=2"),
    ),
    "The plan and the network": (
        of_override("model.name=squeeznet1_1"),
        of_override("strategy={kind: fine-tune, lr: {head: 1e-2, layer4: 1e-3}}"),
        of_override("strategy={kind: fine-tune, unfreeze: 40}"),
        of_override("strategy={kind: gradual, epochs_per_phase: 3, unfreeze: 3}"),
        of_override("schedule={kind: cosine, warmup_epochs: 9}"),
        of_recipe("model: {name: squeezenet1_1, weights: nowhere.pt}", command="train recipe.yaml"),
        of_recipe("model: {name: squeezenet1_1, weights: notes.safetensors}", command="train recipe.yaml"),
    ),
    "Training": (
        of_recipe(
            "optimizer: {kind: sgd, momentum: 0}\nstrategy: {kind: feature-extract, lr: 1e38}\nepochs: 3",
            command="train recipe.yaml --name wild --quiet",
        ),
    ),
    "The images": (
        of_override("data.root=photoss"),
        of_override("data.root=notes.safetensors"),
        of_override("data.root=empty"),
        of_override("data.root=one"),
        of_recipe("data: {root: broken}", command="train recipe.yaml"),
        Mistake("check nowhere"),
    ),
    "Runs and checkpoints": (
        Mistake("eval runs/aa"),
        Mistake("eval a"),
        Mistake("eval photos"),
        Mistake("eval runs/begun"),
        Mistake("eval notes.safetensors"),
        Mistake("resume runs/nowhere"),
        Mistake("resume photos"),
        Mistake("report runs/cut"),
        Mistake("compare runs/a"),
        Mistake("compare runs/a runs/nowhere"),
        Mistake("compare runs/a runs/edited"),
        Mistake("compare runs/a runs/other"),
        Mistake("compare runs/a runs/unfinished --fail-if worse"),
    ),
    "Gates": (
        Mistake("compare runs/a runs/b --fail-if worst"),
        Mistake("compare runs/a runs/b --fail-if drop"),
        Mistake("compare runs/a runs/b --fail-if drop:5"),
        Mistake("compare runs/a runs/b --metric recall"),
        Mistake("compare runs/a runs/b --metric top5_accuracy"),
        Mistake("compare runs/a runs/b --fail-if worse --fail-if drop:0.3"),
    ),
}
"""Typical mistakes by what they are about."""


def make_world(folder: Path) -> None:
    """Write the images and runs that the mistakes are about."""
    for split, images in (("train", 10), ("val", 11)):
        for name, colour in (("ants", (90, 60, 40)), ("bees", (200, 170, 60))):
            write_images(folder / "photos" / split / name, count=images, colour=colour)
            write_images(folder / "broken" / split / name, count=2, colour=colour)
    write_images(folder / "one" / "ants", count=2, colour=(90, 60, 40))
    (folder / "broken/train/ants/text.jpg").write_text("not an image")
    (folder / "broken/train/bees/cut.jpg").write_bytes(encoded(noise(), "JPEG")[:400])
    (folder / "empty").mkdir()
    (folder / "notes.safetensors").write_text("not weights")
    for name, settings in {
        "a": {"wrong": 3},
        "b": {"wrong": 20},
        "other": {"classes": ("ants", "wasps")},
        "unfinished": {"finished": False},
        "begun": {"finished": False},
        "edited": {},
        "cut": {"finished": False},
    }.items():
        write_run(folder / "runs" / name, **settings)  # type: ignore[arg-type]
    begun, edited, cut = (RunDirectory(folder / "runs" / name) for name in ("begun", "edited", "cut"))
    for file in (begun.metrics, begun.predictions("val")):
        file.unlink()
    edited.recipe.write_text(edited.recipe.read_text() + " ")
    cut.predictions("val").write_text(cut.predictions("val").read_text()[:300])


def said(mistake: Mistake) -> str:
    """Return what is typed, the exit code and what is printed, in the current folder."""
    Path("recipe.yaml").unlink(missing_ok=True)
    shown = [f"$ ftcli {mistake.command}"]
    if mistake.recipe:
        Path("recipe.yaml").write_text(mistake.recipe)
        shown = ["$ cat recipe.yaml", mistake.recipe.rstrip("\n"), *shown]
    printed, code = io.StringIO(), 0
    arguments, sys.argv = sys.argv, ["ftcli", *shlex.split(mistake.command)]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
            main()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.argv = arguments
    lines = [line.rstrip() for line in printed.getvalue().replace(str(Path.cwd()), "...").splitlines()]
    return "\n".join([*shown, *lines, f"exit code {code}"])


def errors_text(folder: Path) -> str:
    """Return the golden text; `folder` is empty and becomes the current one."""
    make_world(folder)
    parts = ["What ftcli says about typical mistakes, on stderr. Written by `make golden`; do not edit."]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.chdir(folder):
        for title, mistakes in MISTAKES.items():
            parts += [f"== {title}", *map(said, mistakes)]
    for number, handler in before.items():
        signal.signal(number, handler)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "120"
    with tempfile.TemporaryDirectory() as made:
        GOLDEN.write_text(errors_text(Path(made).resolve()), encoding="utf-8")
