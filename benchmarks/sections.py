"""The page's sections `startup`, `decode`, `memory` and `accuracy`."""

from __future__ import annotations

import math
import statistics
from typing import Any

from figures import Cost, cost_of, number, percent, ratio, section, table

Rows = list[dict[str, Any]]


def startup(rows: Rows) -> str:
    """Show the time of short commands."""
    repeats = len(rows[0]["seconds"])
    return section(
        "Short commands",
        f"Wall time of the whole process, {repeats} repeats after one that does not count.",
        table(["command", "seconds"], ([f"`{row['what']}`", cost_of(row["seconds"])] for row in rows)),
    )


def decode(rows: Rows) -> str:
    """Show the time from a photograph to the network's input."""
    body = []
    for row in rows:
        ours, theirs = (_milliseconds(row[side]) for side in ("ftcli", "tutorial"))
        size = f"{row['photographs']} ({row['count']}, {number(row['mean_kib'])} KiB on average)"
        body.append([size, row["work"], ours, theirs, ratio(theirs, ours)])
    return section(
        "From the file to the network's input",
        f"Milliseconds for one photograph in one process with one thread, {len(rows[0]['ftcli'])} repeats over all "
        "photographs after one that does not count: decoding and the transform, in ftcli up to uint8 (it "
        "normalises whole batches later), in the tutorials up to the normalised tensor; for several views ftcli "
        "decodes once, the tutorials each time. Those of 12 megapixels are the same ones enlarged to 4000 x 3000, "
        "with the fine texture of their own pixels laid over them, or (smooth) without.",
        table(["photographs", "work", "ftcli, ms", "PIL and torchvision, ms", "ratio"], body),
    )


def memory(rows: Rows) -> str:
    """Show peak memory."""
    body = [[row["what"], row["model"], number(row["tree_pss_mib"]), number(row["largest_rss_mib"])] for row in rows]
    return section(
        "Memory",
        "Peak in MiB, measured once: of all processes together (proportional set size, sampled every 0.1 s, which "
        "divides a page among the programs that share it), and of the largest process (resident set size, from the "
        "kernel's own count).",
        table(["what", "network", "all processes", "largest process"], body),
    )


def accuracy(rows: Rows) -> str:
    """Show the accuracy with fixed views."""
    body = []
    for row in rows:
        differences = [100 * (ours - theirs) for ours, theirs in zip(row["cached"], row["fresh"], strict=True)]
        means = [percent(statistics.mean(row[side])) for side in ("fresh", "cached")]
        body.append([row["epochs"], len(differences), *means, *_paired(differences)])
    header = [
        "epochs",
        "seeds",
        "fresh views",
        "8 cached views",
        "difference, points",
        "standard error",
        "95 % interval",
    ]
    return section(
        "What cached views cost in accuracy",
        "Mean over seeds of the best val accuracy of a head on efficientnet_lite0: `ftcli train`, whose epochs "
        "take 8 cached views in turn, against a plain loop with a fresh view in every epoch, the frozen BatchNorm in "
        "eval mode, and the same crops and mirroring (bicubic), SGD (momentum 0.9, weight decay 1e-4, cosine over the "
        "steps), rate and batch size. "
        "Both ways share their views between the seeds, so the errors reflect seeds, not draws of views.",
        table(header, body),
    )


def _paired(differences: list[float]) -> list[str]:
    """Return mean, standard error and Student's 95 % interval, in points."""
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return [f"{mean:+.2f}", "one seed", "one seed"]
    from scipy import stats

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return [f"{mean:+.2f}", f"{error:.2f}", f"{mean - half:+.2f} to {mean + half:+.2f}"]


def _milliseconds(seconds: list[float]) -> Cost:
    return cost_of([1000 * value for value in seconds])
