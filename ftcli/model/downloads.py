"""Downloads of pretrained weights: quiet, with a time limit, and with one error when they fail."""

from __future__ import annotations

import io
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

from ftcli.errors import FtcliError, WeightsUnavailableError
from ftcli.phrases import first_line

_PATIENCE_SECONDS = 30.0
"""The longest silence of a server before a download fails."""

_WEIGHTS_FILES = {".safetensors", ".bin", ".pth", ".pt"}
_LOGGERS = ("timm", "huggingface_hub", "httpx", "urllib3")


@contextmanager
def downloading(name: str, address: str) -> Iterator[None]:
    """Silence the libraries while they fetch the weights of `name`; raise WeightsUnavailableError when they fail."""
    with _quiet():
        try:
            yield
        except FtcliError:
            raise
        except Exception as error:
            # The libraries' network stacks share no base class: URLError, requests', httpx's, pickle's.
            raise _unavailable(name, address, error) from error


def cache_directories() -> tuple[Path, Path]:
    """Return where torch and the model hub keep what they downloaded."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    hub_home = Path(os.environ.get("HF_HOME", cache / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", hub_home / "hub"))
    return ((torch_home / "hub" / "checkpoints").expanduser(), hub.expanduser())


def is_downloaded(*, hub_id: str | None = None, url: str | None = None) -> bool:
    """Return whether the weights of a model of the hub, or else those of an address, are on this machine."""
    of_torch, of_hub = cache_directories()
    if hub_id:
        snapshots = of_hub / f"models--{hub_id.replace('/', '--')}" / "snapshots"
        return any(file.is_file() and file.suffix in _WEIGHTS_FILES for file in snapshots.glob("*/*"))
    return bool(url) and (of_torch / Path(urlsplit(str(url)).path).name).is_file()


def _unavailable(name: str, address: str, error: Exception) -> WeightsUnavailableError:
    reason = first_line(error)[:200]
    kind = type(error).__name__
    message = (
        f"the default weights of {name} could not be loaded from {address} "
        f"({kind if reason == kind else f'{kind}: {reason}'})"
    )
    caches = " and ".join(str(path) for path in cache_directories())
    hint = (
        "Check the connection and try again, or set model.weights to a weights file or to none, or model.name to "
        f"efficientnet_lite0, whose weights come with ftcli. Downloads are kept in {caches}: "
        "delete a damaged file there."
    )
    return WeightsUnavailableError(message, where="model.weights", hint=hint)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings, log lines and progress bars of the libraries off the screen, and limit the wait for a server."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_SECONDS)
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # Some versions of torch announce downloads on stdout, where only results may go.
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        socket.setdefaulttimeout(timeout)
