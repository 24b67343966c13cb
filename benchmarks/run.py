"""Time ftcli against the tutorials' training loop, part by part, and write the page of results.

FTCLI_HYMENOPTERA names the folder of photographs. Each part leaves its raw figures as JSON in the folder of results;
the page is made from whatever is there, and says what is not.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

from page import render
from processes import run
from settings import MODELS, Settings, read_results, write_result

HERE = Path(__file__).parent
PARTS = {
    "startup": ("startup", "startup"),
    "head": ("training_parts", "head"),
    "finetune": ("training_parts", "finetune"),
    "full": ("training_parts", "full"),
    "decode": ("decoding", "decode_part"),
    "memory": ("memory", "memory"),
    "growth": ("growth", "growth"),
    "accuracy": ("accuracy", "accuracy"),
}
"""Module and function of each part, imported late: a child counts the peak memory of its parent as its own."""

MISSING = "FTCLI_HYMENOPTERA must name the folder of ants and bees, with train/ and val/; nothing was measured."


def main() -> int:
    """Run the parts that the options select."""
    options = _parse()
    if options.render:
        _render(options)
        return 0
    root = Path(os.environ.get("FTCLI_HYMENOPTERA") or "nowhere")
    if not all((root / split).is_dir() for split in ("train", "val")):
        print(MISSING, file=sys.stderr)
        return 2
    if options.part and len(options.part) == 1:
        _run_part(options.part[0], options, root.resolve())
        return 0
    failed = [part for part in options.part or PARTS if not _run_in_a_process(part)]
    _render(options)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, help="only these; a single one leaves the page alone")
    parser.add_argument("--render", action="store_true", help="only write the page from the results that are there")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    parser.add_argument("--page", type=Path, default=HERE / "RESULTS.md", help="the page to write")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--epochs", nargs="+", type=int, help="instead of each part's own")
    parser.add_argument("--repeats", type=int, help="instead of each part's own")
    parser.add_argument("--seeds", nargs="+", type=int, help="of accuracy: one number for each of its epochs")
    parser.add_argument("--loop-epochs", type=int, default=3, help="timed epochs of the loop, after one to warm up")
    parser.add_argument("--grid", action="store_true", help="growth: the cells that take minutes, too")
    return parser.parse_args()


def _run_part(part: str, options: argparse.Namespace, root: Path) -> None:
    settings = Settings(
        root=root,
        results=options.results,
        models=tuple(options.models),
        epochs=options.epochs and tuple(options.epochs),
        repeats=options.repeats,
        seeds=options.seeds and tuple(options.seeds),
        loop_epochs=options.loop_epochs,
        grid=options.grid,
    )
    load = os.getloadavg()[0]
    # Warm up: reading libraries from disk must not count in any figure.
    run([sys.executable, "-c", "import torch, torchvision, timm, scipy.stats, sklearn.metrics"])
    module, name = PARTS[part]
    started = time.perf_counter()
    rows = getattr(importlib.import_module(module), name)(settings)
    path = write_result(part, rows, settings, started=started, load=load)
    print(f"{part}: {time.perf_counter() - started:.0f} s, {path}", file=sys.stderr)


def _run_in_a_process(part: str) -> bool:
    """Run one part in a separate process, so that it inherits no memory, threads or failure; return success."""
    others = [argument for argument in sys.argv[1:] if argument not in {*PARTS, "--part"}]
    return subprocess.run([sys.executable, __file__, "--part", part, *others], check=False).returncode == 0


def _render(options: argparse.Namespace) -> None:
    text = render(read_results(options.results))
    options.page.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
