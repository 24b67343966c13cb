"""Pages as their tags and their text."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from ftcli.commands.compare import compare_runs
from ftcli.evaluation.evaluate import evaluate
from ftcli.report.html.compare import comparison_page
from ftcli.report.html.run import run_page
from ftcli.runs.read_run import read_run


class Outline(HTMLParser):
    """What a page is made of: tags with their attributes, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.inside):
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(path: Path) -> str:
    """Return the page of one run."""
    run = read_run(path)
    return run_page(run, evaluate(run.predictions, resamples=20))


def comparison_of(*paths: Path) -> str:
    """Return the page of several runs."""
    runs = [read_run(path) for path in paths]
    return comparison_page(runs, [evaluate(run.predictions, resamples=20) for run in runs], compare_runs(paths))
