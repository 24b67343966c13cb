"""Image files that are broken or unusual, for tests of decoding, `check` and `train`."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int = 48, height: int = 40, *, seed: int | list[int] = 0) -> Image.Image:
    """Return a picture of smooth noise, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _bomb() -> bytes:
    """A PNG header that claims 100,000 x 100,000 pixels."""
    small = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    small[16:24] = struct.pack(">II", 100_000, 100_000)
    small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    return bytes(small)


def _broken_exif() -> bytes:
    plain = encoded(noise(seed=1), "JPEG", quality=95)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", 20) + b"Exif\0\0MM\0\x2a\xff\xff\xff\xff????" + plain[2:]


def _frames(kind: str) -> bytes:
    return encoded(noise(seed=2), kind, save_all=True, append_images=[noise(seed=3), noise(seed=4)])


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.jpg": (lambda: encoded(noise(seed=5), "JPEG")[:400], "broken or truncated"),
    "truncated.png": (lambda: encoded(noise(seed=5), "PNG")[:-300], "broken or truncated"),
    "truncated.tif": (
        lambda: encoded(noise(seed=5), "TIFF", compression="tiff_lzw")[:-9],
        "this TIFF is broken, truncated",
    ),
    "empty.jpg": (lambda: b"", "empty (0 bytes)"),
    "page.jpg": (lambda: b"<html>404 Not Found</html>", "not an image that ftcli can read"),
    "bomb.png": (_bomb, "178,956,970 pixels are refused as a decompression bomb"),
    "phone.jpg": (lambda: HEIC, "a HEIC photo, which ftcli does not read"),
    "float.tif": (lambda: encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "floating-point"),
}
"""Files that must be refused: how to make each, and a part of the reason."""

GOOD: dict[str, Callable[[], bytes]] = {
    "really_a_png.jpg": lambda: encoded(noise(seed=6), "PNG"),
    "one_pixel.png": lambda: encoded(Image.new("RGB", (1, 1), (9, 90, 200)), "PNG"),
    "strip.png": lambda: encoded(noise(20_000, 10, seed=7), "PNG"),
    "animation.png": lambda: _frames("GIF"),
    "pages.tif": lambda: _frames("TIFF"),
    "cmyk.jpg": lambda: encoded(noise(seed=8).convert("CMYK"), "JPEG"),
    "sixteen_bits.png": lambda: encoded(Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40), "PNG"),
    "palette.png": lambda: encoded(noise(seed=9).quantize(8), "PNG", transparency=3),
    "broken_exif.jpg": _broken_exif,
    "white.png": lambda: encoded(Image.new("RGB", (40, 40), "white"), "PNG"),
}
"""Files that are unusual and usable."""


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "broken_link.jpg": (lambda path: path.symlink_to(path.with_name("nowhere.jpg")), "No such file"),
    "loop.jpg": (lambda path: path.symlink_to(path), "cannot be read"),
    "pipe.jpg": (os.mkfifo, "a pipe, a device or a folder, not a file"),
    "endless.jpg": (lambda path: path.symlink_to("/dev/zero"), "a pipe, a device or a folder, not a file"),
    # A sparse file takes no space on disk.
    "huge.jpg": (
        lambda path: (path.touch(), os.truncate(path, 2**41)),
        "files of more than 1,431,655,760 are not read",
    ),
}
"""Paths named like images that must not be read: how to make each, and a part of the reason."""


def write_hostile(folder: Path) -> list[str]:
    """Write all of these, and folders and links named like images; return the names that must be refused."""
    for name, (make, _) in BAD.items():
        (folder / name).write_bytes(make())
    for name, make_good in GOOD.items():
        (folder / name).write_bytes(make_good())
    for name, (make_no_file, _) in NO_FILES.items():
        make_no_file(folder / name)
    (folder / "folder.jpg").mkdir()
    (folder / "up").symlink_to(folder.parent)
    (folder / "animation.gif").write_bytes(_frames("GIF"))
    (folder / "IMG_0001.HEIC").write_bytes(HEIC)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(encoded(noise(seed=10), "PNG"))
    return [*BAD, *NO_FILES]
