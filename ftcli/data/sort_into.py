"""Sorting images into class folders: copied, linked or moved, and no file is ever overwritten."""

from __future__ import annotations

import filecmp
import os
import shutil
from enum import StrEnum
from pathlib import Path

from ftcli.errors import ImageError


class Placing(StrEnum):
    """How an image reaches its class folder. A link is symbolic, to the absolute path."""

    COPY = "copy"
    LINK = "link"
    MOVE = "move"


def place(image: Path, folder: Path, name: str, *, sha256: str, how: Placing) -> Path:
    """Bring an image into a folder under a name (a relative posix path), and return where it is.

    Where another file has that name, eight digits of the image's hash are added to it; a file of the same content is
    left as it is, so that the same call can be repeated. Raises ImageError where the folder cannot be written.
    """
    wanted = folder / name
    for target in (wanted, wanted.with_name(f"{wanted.stem}-{sha256[:8]}{wanted.suffix}")):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target):
                _bring(image, target, how)
                return target
            if filecmp.cmp(image, target, shallow=False):
                if how is Placing.MOVE and not target.samefile(image):
                    image.unlink()
                return target
        except FileExistsError:  # another process was faster
            continue
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ImageError(
                f"cannot be sorted into {folder} ({reason})", where=str(image), hint="Check that folder."
            ) from error
    raise ImageError(
        f"cannot be sorted into {folder}: both {wanted.name} and that name with the image's hash are taken",
        where=str(image),
        hint="Choose another folder.",
    )


def _bring(image: Path, target: Path, how: Placing) -> None:
    if how is Placing.LINK:
        target.symlink_to(image.absolute())
        return
    if how is Placing.COPY or image.is_symlink() or not _linked(image, target):
        _copy(image, target)
    if how is Placing.MOVE:
        image.unlink()


def _linked(image: Path, target: Path) -> bool:
    """Make a hard link, which fails where a rename would overwrite; False on another disk, or one without links."""
    try:
        os.link(image, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _copy(image: Path, target: Path) -> None:
    try:
        with image.open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
    except FileExistsError:
        raise
    except OSError:
        target.unlink(missing_ok=True)  # half a copy is none
        raise
    shutil.copystat(image, target)
