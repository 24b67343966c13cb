import errno
import os
import subprocess
import sys

import pytest
import torch

from ftcli.errors import failure_of


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError(), "out-of-memory", "Lower data.batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0"), "out-of-memory", "2.50 GiB"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), "out-of-memory", "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out-of-memory", "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory", "out of memory"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "worker",
            "killed by signal killed",
        ),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "worker", "died\n"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"),
            "worker",
            "shared memory",
        ),
        (
            RuntimeError("unable to write to file </torch_7_1>: No space left on device (28)"),
            "worker",
            "--shm-size",
        ),
        (OSError(errno.EACCES, "Permission denied", "a/b"), "run", "a/b: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), "usage", "aaa: the name is too long"),
        (OSError("cannot identify"), "run", "cannot identify"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_failure_of_the_machine_has_an_error_of_its_own(error: Exception, kind: str, words: str) -> None:
    shown = failure_of(error)
    assert shown is not None
    assert shown.kind == kind
    assert words in str(shown)


def test_a_real_allocation_that_fails_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    shown = failure_of(caught.value)
    assert shown is not None
    assert shown.kind == "out-of-memory"
    assert "1152921504606846976 bytes" in str(shown)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), AssertionError("a bug"), ValueError("x")])
def test_bugs_are_not_reported_as_failures_of_the_machine(error: Exception) -> None:
    assert failure_of(error) is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_result_that_cannot_be_printed_is_an_error() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "ftcli", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: cannot print the result: No space left on device\n")


def test_a_closed_pipe_is_not_an_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ftcli", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)
    process.stderr.close()
