"""Decoding: from the bytes of an image file to an upright RGB image, or an ImageError with the reason."""

from __future__ import annotations

import functools
import hashlib
import io
import stat
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ftcli.errors import ImageError

MAXIMUM_PIXELS = 178_956_970
"""Images with more pixels are refused as decompression bombs: as RGB, they take 0.7 GB in Pillow."""

MAXIMUM_BYTES = 8 * MAXIMUM_PIXELS
"""Files with more bytes are refused: no image within the limit needs more, even with four channels of 16 bits."""

_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "PPM", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")
_REPAIR = "Replace the file with a good copy, or remove it."

CONVERT_HEIC = "Convert it to JPEG, for example with `heif-convert` or `magick`, or by setting the phone to save JPEG."
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"GIF8": "GIF"}

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageFacts:
    """What one image file holds: sha256 of its bytes (hex), upright size in pixels, and the file's own properties.

    `orientation` is EXIF's: 1 is upright, 2 to 8 were turned or mirrored. Of several `frames` or pages, only the first
    is used.
    """

    name: str
    sha256: str
    width: int
    height: int
    mode: str
    format: str
    orientation: int = 1
    frames: int = 1


def decode(source: Path | bytes, *, minimum_side: int | None = None, name: str | None = None) -> Image.Image:
    """Return the upright RGB image in a file or its bytes; an ImageError names it as `name`.

    With `minimum_side`, a large JPEG is decoded at 1/2, 1/4 or 1/8 scale, its shorter side never below that
    many pixels. Transparent pixels become white; of several frames the first is used; 16 bits are scaled to 8.
    """
    where = name or (str(source) if isinstance(source, Path) else "image")
    content = read_content(source, name=where) if isinstance(source, Path) else source
    return _decode(content, minimum_side, where, sha256="")[0]  # training wants no hash: the facts are dropped


def decode_with_facts(
    content: bytes, *, minimum_side: int | None = None, name: str = "image"
) -> tuple[Image.Image, ImageFacts]:
    """Decode bytes as `decode` does, and return also the facts of the file."""
    return _decode(content, minimum_side, name, sha256=hashlib.sha256(content).hexdigest())


def _decode(content: bytes, minimum_side: int | None, where: str, *, sha256: str) -> tuple[Image.Image, ImageFacts]:
    if not content:
        raise ImageError("the file is empty (0 bytes)", where=where, hint=_REPAIR)
    try:
        with _pillow_warnings:
            return _open(content, minimum_side, where, sha256)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(content, where) from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_many_pixels(), where=where, hint="Store it smaller.") from error
    except Exception as error:  # Pillow's readers raise nearly anything on broken bytes
        reason = str(error) or type(error).__name__
        raise ImageError(f"the image is broken or truncated ({reason})", where=where, hint=_REPAIR) from error


def read_content(path: Path, *, name: str | None = None) -> bytes:
    """Return the bytes of an image file; raise ImageError where it cannot be read, or is larger than any image."""
    where = name or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise ImageError("this is a pipe, a device or a folder, not a file", where=where, hint="Remove it.")
        if status.st_size > MAXIMUM_BYTES:
            message = f"{status.st_size:,} bytes; files of more than {MAXIMUM_BYTES:,} are not read"
            raise ImageError(message, where=where, hint="Store it smaller.")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ImageError(
            f"the file cannot be read ({reason})", where=where, hint="Check that it exists, and its permissions."
        ) from error


def _open(content: bytes, minimum_side: int | None, where: str, sha256: str) -> tuple[Image.Image, ImageFacts]:
    with Image.open(io.BytesIO(content), formats=_readable_formats()) as image:
        width, height = image.size
        if width * height > MAXIMUM_PIXELS:
            message = f"{width} x {height} pixels; {_too_many_pixels()}"
            raise ImageError(message, where=where, hint="Store it smaller.")
        if minimum_side is not None:
            image.draft(None, (max(minimum_side, 1), max(minimum_side, 1)))
        mode, kind = image.mode, image.format or "?"
        image.load()
        # Read after loading: Pillow turns TIFF files upright while loading, and PNG files may have EXIF at the end.
        orientation = _orientation(image)
        turn = _UPRIGHT.get(orientation)
        rgb = _to_rgb(image, where)
        upright = rgb if turn is None else rgb.transpose(turn)
        if (upright.width < upright.height) != (width < height) and width != height:
            width, height = height, width
        # Counted last: in some formats counting moves away from the first frame.
        facts = ImageFacts(where, sha256, width, height, mode, kind, orientation if turn else 1, _frames(image))
        return upright, facts


def _unidentified(content: bytes, where: str) -> ImageError:
    # ISO 14496-12: a file starts with the size of its first box, `ftyp`, and the brand of what follows.
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        return ImageError("this is a HEIC photo, which ftcli does not read", where=where, hint=CONVERT_HEIC)
    kind = next((kind for start, kind in _STARTS.items() if content.startswith(start)), None)
    if kind:
        message = f"this {kind} is broken, truncated, or of a kind that ftcli cannot read"
        hint = f"{_REPAIR} If other programs show it, save it again with 8 bits per channel."
        return ImageError(message, where=where, hint=hint)
    return ImageError("this is not an image that ftcli can read", where=where, hint=_REPAIR)


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "F":
        message = "the pixels are floating-point numbers of unknown range"
        raise ImageError(message, where=where, hint="Convert it to 8 or 16 bits per channel.")
    if image.mode.startswith("I"):
        return _scale_16_bits(image, where).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    # A copy: the opened image is closed, and its pixels with it.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _scale_16_bits(image: Image.Image, where: str) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        message = f"the pixels lie between {values.min()} and {values.max()}, outside the 0 to 65535 of 16 bits"
        raise ImageError(message, where=where, hint="Convert it to 8 or 16 bits per channel.")
    scaled = values.astype(np.uint32)
    # In place: the largest images would take gigabytes more.
    scaled += 128
    scaled //= 257
    return Image.fromarray(scaled.astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, upright, where the metadata cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1


def _frames(image: Image.Image) -> int:
    """Return the number of frames or pages; a phone's JPEG with a preview (MPO) is one image."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error):
        return 1  # what follows the first frame is broken, and not used


def _too_many_pixels() -> str:
    return f"more than {MAXIMUM_PIXELS:,} pixels are refused as a decompression bomb"


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    """Return the formats that this Pillow knows; others (EPS runs a program) are never tried."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


class _PillowWarnings:
    """Silences warnings while any thread decodes: the first one sets the filter, the last one restores it.

    The filters of `warnings` are global, so each thread cannot have its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoders = 0
        self._filter = warnings.catch_warnings(action="ignore")

    def __enter__(self) -> None:
        with self._lock:
            if self._decoders == 0:
                self._filter = warnings.catch_warnings(action="ignore")
                self._filter.__enter__()
            self._decoders += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._decoders -= 1
            if self._decoders == 0:
                self._filter.__exit__(None, None, None)


_pillow_warnings = _PillowWarnings()
