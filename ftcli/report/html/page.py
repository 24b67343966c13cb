"""Render sections as one HTML page, complete in itself.

Names of files and classes and the text of recipes come from strangers. Every value is escaped by the template engine,
control characters are shown as such, and the page's own policy lets only our script run and nothing be loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ftcli import __version__
from ftcli.data.decoding import decode, read_content
from ftcli.data.workers import available_cores
from ftcli.errors import ImageError
from ftcli.report.charts.svg import Element, markup
from ftcli.report.format import printable
from ftcli.report.sections import MATRIX_CLASSES, Section

_TEMPLATES = Path(__file__).parent / "templates"

WHOLE = {"s": 328, "m": 680, "l": 960}
"""The widths of a chart across the page, on a phone, a tablet and a desk."""

HALF = {"s m": 340, "l": 464}
"""The widths of one of two charts that are side by side where there is room."""

THUMBNAIL = 288
"""The longer side of a thumbnail in pixels: sharp at 144 on a screen with two pixels for one."""

_JPEG_QUALITY = 78
_TINY = 64  # pixels: smaller images are shown pixel by pixel


@dataclass(frozen=True)
class Chart:
    """A chart drawn for each width, with the caption above it; `legend` names what is trained and what frozen."""

    drawings: Markup
    title: str = ""
    caption: str = ""
    css: str = ""
    legend: bool = False


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI and its size in pixels; or, without one, why there is none."""

    uri: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""

    @property
    def tiny(self) -> bool:
        """Whether the image is so small that a page should show its pixels."""
        return max(self.width, self.height) <= _TINY


@dataclass(frozen=True)
class Picture:
    """A scored image: its class, if it is to be named first, and rows of (before the name, name, after it, share)."""

    thumbnail: Thumbnail
    path: str
    alt: str
    label: str
    rows: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Gallery:
    """Scored images."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Columns:
    """Parts side by side where there is room, as wide as charts or in equal halves."""

    columns: tuple[tuple[Any, ...], ...]
    halves: bool = False


def render(title: str, lede: str, sections: Sequence[Section], *, kicker: str, alerts: Sequence[str] = ()) -> str:
    """Return a page, complete in itself; `alerts` are shown above all sections."""
    script, style = (_file(name) for name in ("sorting.js", "style.css"))
    policy = f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    rows = [(halves, list(each)) for halves, each in itertools.groupby(sections, lambda section: section.halves)]
    page = {"title": title, "lede": lede, "sections": sections, "kicker": kicker, "alerts": alerts, "rows": rows}
    files = {"policy": policy, "script": Markup(script), "style": Markup(style)}  # noqa: S704 - our own files
    return _environment().get_template("page.html").render(page | files, version=__version__)


def chart(draw: Callable[[int], Element], widths: Mapping[str, int]) -> Markup:
    """Return a chart drawn for each width; the style sheet shows the one that fits."""
    drawings = []
    for kind, width in widths.items():
        element = draw(width)
        element.set("class", kind)
        drawings.append(markup(element))
    return Markup("").join(drawings)


def thumbnails(root: Path, images: Sequence[tuple[str, str]]) -> list[Thumbnail]:
    """Return a thumbnail for each (path below root, sha256 of its content)."""
    with ThreadPoolExecutor(available_cores()) as pool:  # Pillow decodes outside the interpreter's lock
        return list(pool.map(lambda image: _thumbnail(root / image[0], image[1]), images))


def _thumbnail(path: Path, sha256: str) -> Thumbnail:
    try:
        content = read_content(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            return Thumbnail(missing="The file has changed since it was scored.")
        picture = decode(content, minimum_side=THUMBNAIL // 2, name=str(path))
    except ImageError:
        return Thumbnail(missing="The image is missing.")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    kind = "PNG" if max(picture.size) <= _TINY else "JPEG"
    file = io.BytesIO()
    picture.save(file, kind, quality=_JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind.lower()};base64,{data}", *picture.size)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"matrix_classes": MATRIX_CLASSES, "heat": _heat}
    environment.filters |= {"kind": lambda part: type(part).__name__, "with_code": _with_code}
    return environment


def _printable(value: Any) -> Any:
    """Show the control characters of a value that is not markup already."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_code(text: str) -> Markup:
    """Return text with what is between backticks as code."""
    pieces = (escape(printable(piece)) for piece in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if index % 2 else piece for index, piece in enumerate(pieces)
    )


def _heat(counts: Sequence[int], true: int, predicted: int) -> str:
    """Return the class of a matrix's cell: right or wrong, and its share of the row in tenths."""
    if not counts[predicted]:
        return "none"
    tenths = -(-10 * counts[predicted] // sum(counts))
    return f"{'hit' if true == predicted else 'miss'} heat-{tenths}"


@functools.cache
def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy allows this inline text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
