"""Make thumbnails: small upright pictures of scored images, as data URIs."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ftcli.data.decoding import decode, read_content
from ftcli.data.workers import available_cores
from ftcli.errors import ImageError

SIDE = 288
"""The longer side of a thumbnail in pixels: sharp at 144 on a screen with two pixels for one."""

_QUALITY = 78
_TINY = 64  # pixels: smaller images are shown pixel by pixel


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


def thumbnails(root: Path, images: Sequence[tuple[str, str]]) -> list[Thumbnail]:
    """Return a thumbnail for each (path below root, sha256 of its content)."""
    with ThreadPoolExecutor(available_cores()) as pool:  # Pillow decodes outside the interpreter's lock
        return list(pool.map(lambda image: _thumbnail(root / image[0], image[1]), images))


def _thumbnail(path: Path, sha256: str) -> Thumbnail:
    try:
        content = read_content(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            return Thumbnail(missing="The file has changed since it was scored.")
        picture = decode(content, minimum_side=SIDE // 2, name=str(path))
    except ImageError:
        return Thumbnail(missing="The image is missing.")
    picture.thumbnail((SIDE, SIDE))
    kind = "PNG" if max(picture.size) <= _TINY else "JPEG"
    file = io.BytesIO()
    picture.save(file, kind, quality=_QUALITY)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind.lower()};base64,{data}", *picture.size)
