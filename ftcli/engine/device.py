"""The device and precision of a network, and the memory allocator that suits them on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ftcli.errors import UsageError
from ftcli.model.prefix.fast import to_channels_last

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_TENSOR_CORES = (7, 0)
"""The first compute capability with them: Volta's. Without, fp16 gains little."""

_NO_TENSOR_CORES = "GTX 16"
"""Turing cards that lack them, although their capability is 7.5."""

_SCALER = "loss scale/"


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the forward pass on it: fp32, bf16 or fp16.

    The head and everything that is scored are computed in float32 whatever the precision: logits of bf16 have 8 binary
    digits, so that classes tie exactly, and those of one device differ from those of another.
    """

    device: torch.device
    precision: str

    @contextmanager
    def autocast(self, *in_float32: nn.Module) -> Iterator[None]:
        """Run a forward pass in the precision, except for the given modules."""
        if self.precision == "fp32":
            yield
            return
        try:
            for module in in_float32:
                module.forward = self._in_float32(module)
            with torch.autocast(self.device.type, dtype=_HALVES[self.precision]):
                yield
        finally:
            for module in in_float32:
                vars(module).pop("forward", None)

    def _in_float32(self, module: nn.Module) -> Callable[..., Tensor]:
        usual = module.forward

        def forward(*inputs: Tensor) -> Tensor:
            with torch.autocast(self.device.type, enabled=False):
                outputs: Tensor = usual(*(each.float() for each in inputs))
                return outputs

        return forward

    def loss_scaler(self) -> torch.amp.GradScaler:
        """Return what keeps small gradients of fp16 from becoming zero; with another precision it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def copy(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device.

        Only CUDA's copies may overlap with other work: its allocator keeps the source. Apple's GPU may read a source
        that was freed meanwhile (pytorch #189690).
        """
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, its weights laid out channels-last: the faster order for convolutions."""
        module.to(self.device)
        to_channels_last(module)


def pick_compute(device: str, precision: str) -> Compute:
    """Choose device and precision, and tune the allocator where the CPU computes.

    `auto` is CUDA, else Apple's MPS, else the CPU; and on CUDA bf16 where the device has it, else fp16 where it has
    tensor cores. Raises UsageError for a device or precision that this machine lacks.
    """
    chosen = _pick_device(device)
    if precision == "auto":
        precision = _fastest_precision() if chosen.type == "cuda" else "fp32"
    if precision in _HALVES and chosen.type == "mps":
        raise UsageError(
            f"{precision} is not supported on Apple's GPU", where="precision", hint="Set precision to auto or fp32."
        )
    if chosen.type == "cpu":
        tune_allocator()
    return Compute(chosen, precision)


def _fastest_precision() -> str:
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    if torch.cuda.get_device_capability() >= _TENSOR_CORES and _NO_TENSOR_CORES not in torch.cuda.get_device_name():
        return "fp16"
    return "fp32"


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """Return the state of a loss scaler, as it is saved with the optimizer's."""
    return {f"{_SCALER}{name}": torch.tensor(value) for name, value in scaler.state_dict().items()}


def restore_scaler(scaler: torch.amp.GradScaler, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore what `scaler_tensors` returned, where there is any; return the other tensors."""
    state = {name.removeprefix(_SCALER): tensors[name].item() for name in tensors if name.startswith(_SCALER)}
    if state and scaler.is_enabled():
        scaler.load_state_dict(state)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_SCALER)}


def _pick_device(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available.get(name, False):
        there = [kind for kind, is_there in available.items() if is_there]
        raise UsageError(
            f"{name} is not available on this machine", where="device", hint=f"Available: auto, {', '.join(there)}."
        )
    return torch.device(name)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_OLD_LIMIT = 32 << 20
"""The largest threshold for mmap that older glibc accepts: half of a heap of 64 MiB."""

_NEVER = (1 << 31) - 1
_OWN_SETTINGS = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)


def tune_allocator() -> bool:
    """Keep freed activations in the heap for the next batch; return whether that was possible.

    By default glibc maps memory for each large activation and unmaps it when it is freed, so that the kernel zeroes
    every page of every layer of every batch. Does nothing with another C library, or where the environment configures
    malloc. The process keeps its peak memory until it ends.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    mmap = library.mallopt(_M_MMAP_THRESHOLD, _NEVER) or library.mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT)
    # Only the first heap grows without limit: threads with heaps of their own would still map and unmap.
    return bool(mmap and library.mallopt(_M_TRIM_THRESHOLD, _NEVER) and library.mallopt(_M_ARENA_MAX, 1))
