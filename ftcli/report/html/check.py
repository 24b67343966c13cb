"""The page of `ftcli check`: what a dataset holds, what was found, and pictures of the labels that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ftcli.data.checks.contents import Contents
from ftcli.data.checks.findings import Case, Finding, with_level
from ftcli.data.checks.look_alikes import Embeddings
from ftcli.phrases import count
from ftcli.report.format import share
from ftcli.report.html.page import Gallery, Picture, render, thumbnails
from ftcli.report.sections import Prose, Section
from ftcli.report.text.check import check_parts

SHOWN = 60
"""The number of suspects and of similar pairs that are shown: each picture takes some 15 KB of the page."""


def check_page(
    root: str,
    contents: Contents | None,
    findings: Sequence[Finding],
    embeddings: Embeddings | None,
    sha256_of: Mapping[str, str],
) -> str:
    """Return the page; pictures are read from `root`, and checked by the hashes of the images by name."""
    held, found, summary = check_parts(contents, findings, embeddings)
    suspects = [case for finding in findings for case in finding.cases if case.suspect is not None]
    pairs = [case for finding in findings if finding.sign == "~" for case in finding.cases]
    sections = [
        Section("Images", held, "images"),
        Section("Findings", (*found, *summary), "findings"),
        Section("Suspect labels", _gallery(suspects, ("label", "labels"), Path(root), sha256_of), "labels"),
        Section("Similar images", _gallery(pairs, ("pair", "pairs"), Path(root), sha256_of), "similar"),
    ]
    images = 0 if contents is None else sum(sum(counts.values()) for counts in contents.splits.values())
    alerts = [finding.message for finding in with_level(findings, "error")]
    shown = [section for section in sections if section.parts]
    return render(root, count(images, "image"), shown, kicker="ftcli check", alerts=alerts)


def _gallery(
    cases: Sequence[Case], what: tuple[str, str], root: Path, sha256_of: Mapping[str, str]
) -> tuple[Prose | Gallery, ...]:
    """Return pictures of the first cases, each with what the case says of it."""
    if not cases:
        return ()
    shown = [(case, name) for case in cases[:SHOWN] for name in case.files]
    pictures = []
    files = thumbnails(root, [(name, sha256_of[name]) for _, name in shown])
    for (case, name), thumbnail in zip(shown, files, strict=True):
        rows: tuple[tuple[str, str, str, str], ...] = (("", case.note or "", "", ""),)
        if (label := case.suspect) is not None:
            looks = ("looks like", label.suggested, "", share(label.probability))
            rows = (("labelled", label.given, "", ""), looks)
        pictures.append(Picture(thumbnail, name, f"{name}: {case.note}", "", rows))
    more = f" The first {SHOWN} are shown." if len(cases) > SHOWN else ""
    return Prose(f"{count(len(cases), *what)}.{more}"), Gallery(tuple(pictures))
