"""What `ftcli check` shows: what a dataset holds, what is wrong with it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcli.data.checks.contents import Contents, Histograms
from ftcli.data.checks.findings import Finding, with_level
from ftcli.data.checks.look_alikes import MIN_POOL, Embeddings
from ftcli.data.checks.suspects import MIN_IMAGES
from ftcli.phrases import count
from ftcli.report.sections import Facts, Findings, Prose, Section, Table, numbers, prose, texts

_CLASS_ROWS = 20
_CASES = 8
_REPORTED_AS_FINDINGS = {"not-compared", "cache-unread"}


def check_sections(
    contents: Contents | None, findings: Sequence[Finding], embeddings: Embeddings | None
) -> list[Section]:
    """Return what a dataset holds and what was found, the gravest first; `embeddings` were compared."""
    return [Section("", parts) for parts in check_parts(contents, findings, embeddings)]


def check_parts(
    contents: Contents | None, findings: Sequence[Finding], embeddings: Embeddings | None
) -> tuple[tuple[Table | Prose | Facts, ...], tuple[Findings, ...], tuple[Prose, ...]]:
    """Return what a dataset holds, what was found, and how that was searched with a verdict."""
    gravest_first = with_level(findings, "error", "warning", "info")
    held: tuple[Table | Prose | Facts, ...] = ()
    if contents is not None:
        cut = "" if contents.val_fraction is None else f"val is cut from train: {contents.val_fraction:.0%}"
        facts = () if contents.histograms is None else (_histograms(contents.histograms),)
        held = (_class_table(contents.splits), *prose(cut), *facts)
    found = (Findings(gravest_first, _CASES, "--json"),) if findings else ()
    return held, found, prose(_how(contents, findings, embeddings), _verdict(findings))


def _class_table(splits: Mapping[str, Mapping[str, int]]) -> Table:
    classes = list(next(iter(splits.values())))
    # Of many classes the rarest are shown: these are the ones to know of.
    rarest = sorted(classes, key=lambda name: splits["train"][name])[:_CLASS_ROWS]
    shown = classes if len(classes) <= _CLASS_ROWS else rarest
    rows = [(name, *(f"{counts[name]:,}" for counts in splits.values())) for name in shown]
    if len(classes) > len(shown):
        rows.append((f"{len(classes) - len(shown):,} larger ones", *("" for _ in splits)))
    if len(classes) > 1:
        rows.append(("all", *(f"{sum(counts.values()):,}" for counts in splits.values())))
    return Table((*texts("class"), *numbers(*splits)), rows)


def _histograms(shown: Histograms) -> Facts:
    turned = sum(images for orientation, images in shown.orientation.items() if orientation != "1")
    median = f"median {shown.median_width:,} x {shown.median_height:,}"
    return Facts(
        (
            ("size", f"{median}; shorter side {_counts(shown.shorter_side)}"),
            ("mode", _counts(shown.mode)),
            ("format", _counts(shown.format)),
            ("EXIF", f"{count(turned, 'image')} turned or mirrored" if turned else "all images upright"),
        )
    )


def _counts(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {images:,}" for name, images in values.items())


def _how(contents: Contents | None, findings: Sequence[Finding], embeddings: Embeddings | None) -> str:
    """Return how the images were compared; findings report where they could not be."""
    if embeddings is not None:
        images = count(len(embeddings.directions), "image")
        return (
            f"Splits were compared by perceptual hash and by the cached features of {embeddings.model} ({images}), "
            f"which also judged the labels; the search for look-alikes needs at least {MIN_POOL} images in a split, "
            f"that for wrong labels {MIN_IMAGES} in all."
        )
    if contents is None or _REPORTED_AS_FINDINGS & {finding.code for finding in findings}:
        return ""
    return (
        "Splits were compared by perceptual hash alone, which finds no crops, and labels were not judged. For both, "
        "add --features, or first train a run with a frozen body on the images."
    )


def _verdict(findings: Sequence[Finding]) -> str:
    errors, warnings = len(with_level(findings, "error")), len(with_level(findings, "warning"))
    if not errors and not warnings:
        return "Nothing wrong was found."
    return f"{count(errors, 'error')}, {count(warnings, 'warning')}."
