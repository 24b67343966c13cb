"""The precision of a forward pass, and the allocator: large blocks that are freed stay with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from ftcli.engine import device as allocator
from ftcli.engine.device import Compute, pick_compute, restore_scaler, scaler_tensors
from ftcli.errors import UsageError

ON_GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

FAULTS = """
import os, resource, threading, torch
from ftcli.engine.device import tune_allocator
def work(times):
    for _ in range(times):
        torch.ones(16 << 20)  # 64 MiB
def count():
    work(10)  # what is freed joins until all of a tensor fits
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
def count_in_thread():
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
for run in (count, count_in_thread):
    for tuned in (True, False):
        if os.fork() == 0:
            assert not tuned or tune_allocator()
            run()
            os._exit(0)
        assert os.wait()[1] == 0
"""
"""Prints how many pages the kernel had to provide for tensors of a size that had been freed before.

Tuned and as it was, in the main thread and in another: each in a fork, so that torch is imported once.
"""


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in allocator._OWN_SETTINGS}


@pytest.mark.skipif(not ON_GLIBC, reason="only glibc is tuned")
def test_freed_activations_are_used_again_without_the_kernel():
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    tuned, usual, tuned_in_thread, usual_in_thread = map(int, done.stdout.split())
    assert tuned * 20 < usual
    assert tuned_in_thread * 20 < usual_in_thread


def test_an_allocator_that_the_user_has_set_up_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert allocator.tune_allocator() is False


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    assert allocator.tune_allocator() is False


def test_other_c_libraries_are_left_alone(monkeypatch):
    class Musl:
        """Has neither mallopt nor a glibc version."""

    for name in allocator._OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: Musl())
    assert allocator.tune_allocator() is False


def test_an_older_glibc_gets_the_largest_threshold_that_it_takes(monkeypatch):
    asked: list[tuple[int, int]] = []

    class OldGlibc:
        gnu_get_libc_version = None

        def mallopt(self, option: int, value: int) -> int:
            asked.append((option, value))
            return int(option != -3 or value <= 32 << 20)

    for name in allocator._OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: OldGlibc())
    assert allocator.tune_allocator() is True
    assert asked == [(-3, (1 << 31) - 1), (-3, 32 << 20), (-1, (1 << 31) - 1), (-8, 1)]


class Classifier(nn.Module):
    """A body and a head that remember the precision in which they computed."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 1000)
        self.dtypes: list[torch.dtype] = []

    def forward(self, rows: Tensor) -> Tensor:
        features = self.body(rows)
        logits: Tensor = self.head(features)
        self.dtypes = [features.dtype, logits.dtype]
        return logits


@pytest.mark.parametrize(("precision", "body"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_the_head_is_computed_in_float32_so_that_logits_do_not_tie(precision, body):
    torch.manual_seed(0)
    network, rows = Classifier(), torch.randn(200, 64)

    def ties(logits: Tensor) -> int:
        first, second = logits.topk(2, dim=1).values.T
        return int((first == second).sum())

    compute = Compute(torch.device("cpu"), precision)
    with compute.autocast():
        narrow = network(rows)
    with compute.autocast(network.head):
        logits = network(rows)
    assert network.dtypes == [body, torch.float32]
    assert ties(narrow) > 0 == ties(logits)
    logits.sum().backward()
    assert network(rows).dtype == torch.float32
    assert "forward" not in vars(network.head), "the head is as it was"


def test_an_error_in_a_forward_pass_leaves_the_head_as_it_was():
    network = Classifier()
    with pytest.raises(RuntimeError), Compute(torch.device("cpu"), "bf16").autocast(network.head):
        network(torch.randn(1, 3))
    assert "forward" not in vars(network.head)


@pytest.mark.parametrize(
    ("bf16", "capability", "name", "precision"),
    [
        (True, (9, 0), "H100", "bf16"),
        (False, (7, 5), "Tesla T4", "fp16"),
        (False, (7, 0), "Tesla V100", "fp16"),
        (False, (7, 5), "NVIDIA GeForce GTX 1660", "fp32"),
        (False, (6, 0), "Tesla P100", "fp32"),
    ],
)
def test_auto_is_the_fastest_precision_that_a_gpu_has(monkeypatch, bf16, capability, name, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert pick_compute("auto", "auto") == Compute(torch.device("cuda"), precision)
    assert pick_compute("cuda", "fp32").precision == "fp32"


def test_apples_gpu_computes_in_float32_alone(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_compute("auto", "auto") == Compute(torch.device("mps"), "fp32")
    for precision in ("bf16", "fp16"):
        with pytest.raises(UsageError):
            pick_compute("mps", precision)


@pytest.mark.parametrize(("device", "overlaps"), [("cuda", True), ("mps", False), ("cpu", False)])
def test_only_copies_to_cuda_overlap_with_other_work(device, overlaps):
    class Source:
        def to(self, to: torch.device, *, non_blocking: bool) -> tuple[str, bool]:
            return to.type, non_blocking

    assert Compute(torch.device(device), "fp32").copy(Source()) == (device, overlaps)


def test_the_state_of_a_loss_scaler_is_restored_where_there_is_one():
    half, single = (Compute(torch.device("cpu"), precision) for precision in ("fp16", "fp32"))
    scaler = half.loss_scaler()
    scaler.load_state_dict(scaler.state_dict() | {"scale": 128.0, "_growth_tracker": 7})
    saved = {"weight momentum_buffer": torch.ones(1), **scaler_tensors(scaler)}
    restored = half.loss_scaler()
    assert restore_scaler(restored, saved).keys() == {"weight momentum_buffer"}
    assert restored.state_dict() == scaler.state_dict()
    assert restore_scaler(single.loss_scaler(), saved).keys() == {"weight momentum_buffer"}
    assert scaler_tensors(single.loss_scaler()) == {}
