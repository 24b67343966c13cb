"""The allocator: large blocks that are freed stay with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from ftcli.engine import device as allocator

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
