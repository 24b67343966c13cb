"""Failures of memory, workers, disks, datasets and other processes during a run."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import torch
from helpers.same_runs import assert_same_runs

from ftcli.cli import app as program
from ftcli.errors import FtcliError
from ftcli.report.progress import LineProgress

UNCACHED = ("data.cache=off", "data.views=fresh")


def after_epoch(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a fault that acts in the run's process after an epoch is written."""

    def fault() -> None:
        usual = LineProgress.epoch

        def epoch(self, record, **options) -> None:
            usual(self, record, **options)
            if record.epoch == number:
                act()

        LineProgress.epoch = epoch

    return fault


def in_batch(epoch: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a fault that acts in the run's process between two batches of an epoch."""

    def fault() -> None:
        def step(self, what: str, *_: int) -> None:
            if what.startswith(f"epoch {epoch}"):
                act()

        LineProgress.step = step

    return fault


def test_a_missing_image_folder_is_named_and_the_run_resumes_once_it_is_back(launch, runs, recipe, tiny) -> None:
    root = shutil.copytree(tiny, "images")
    arguments = ("train", recipe, f"data.root={root}", *UNCACHED)
    launch(*arguments, "--name", "whole")
    vanish = after_epoch(1, lambda: Path("images").rename("elsewhere"))
    outcome = launch(*arguments, "--name", "a", fault=vanish, code=3)
    assert "images/train" in outcome.err
    assert "ftcli resume runs/a" in outcome.err
    runs.assert_valid(Path("runs/a"))
    assert "images" in launch("train", "--resume", "runs/a", code=3).err
    Path("elsewhere").rename("images")
    launch("train", "--resume", "runs/a")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


@pytest.mark.parametrize("cached", [(), UNCACHED], ids=["cached", "uncached"])
def test_images_that_change_during_training_are_refused_and_never_stored(
    launch, recipe, tiny, tmp_path, monkeypatch, cached
) -> None:
    """As a file sync may do: stored features and hashes must belong to the bytes that were checked."""
    images = Path(shutil.copytree(tiny, "images"))
    arguments = ("train", recipe, f"data.root={images}", *cached)
    of_red = sorted((images / "train/red").iterdir())
    kept = [path.read_bytes() for path in of_red]

    def exchange_after_the_check() -> None:
        usual = LineProgress.stage

        def stage(self, text: str) -> None:
            usual(self, text)
            for path in of_red if text.startswith("training into") else ():
                path.write_bytes((images / "train/blue" / path.name).read_bytes())

        LineProgress.stage = stage

    outcome = launch(*arguments, "--name", "a", fault=exchange_after_the_check, code=3)
    assert "images/train/red/" in outcome.err
    assert "the file was changed since it was checked" in outcome.err
    for path, content in zip(of_red, kept, strict=True):
        path.write_bytes(content)
    launch("train", "--resume", "runs/a")
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "another cache"))
    launch(*arguments, "--name", "whole")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


def test_a_run_on_stored_features_does_not_need_the_images(launch, runs, recipe, tiny) -> None:
    root = shutil.copytree(tiny, "images")
    arguments = ("train", recipe, f"data.root={root}")
    launch(*arguments, "--name", "whole")
    launch(*arguments, "--name", "a", fault=after_epoch(1, lambda: shutil.rmtree("images")))
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


def test_a_cache_that_vanishes_changes_nothing(launch, runs, recipe) -> None:
    launch("train", recipe, "--name", "whole")
    remove = after_epoch(1, lambda: shutil.rmtree(os.environ["FTCLI_CACHE"]))
    launch("train", recipe, "--name", "a", fault=remove)
    launch("train", recipe, "--name", "b")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))
    assert_same_runs(Path("runs/b"), Path("runs/whole"))


def kill_a_worker() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)


def test_a_killed_worker_is_reported_and_the_run_resumes(launch, runs, recipe) -> None:
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("needs /proc")
    arguments = ("train", recipe, *UNCACHED, "data.workers=1")
    launch(*arguments, "--name", "whole")
    outcome = launch(*arguments, "--name", "a", fault=in_batch(2, kill_a_worker), code=1)
    assert "a process that decodes images" in outcome.err
    assert "ftcli resume runs/a" in outcome.err
    runs.assert_valid(Path("runs/a"))
    launch("train", "--resume", "runs/a")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


def run_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB")


def test_running_out_of_memory_on_a_batch_is_reported_and_the_run_resumes(launch, runs, recipe) -> None:
    launch("train", recipe, "--name", "whole")
    outcome = launch("train", recipe, "--name", "a", fault=in_batch(2, run_out), code=1)
    assert "2.50 GiB" in outcome.err
    assert "data.batch_size" in outcome.err
    assert "ftcli resume runs/a" in outcome.err
    runs.assert_valid(Path("runs/a"))
    launch("train", "--resume", "runs/a")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


def test_a_real_memory_limit_is_reported(launch, recipe) -> None:
    def limit() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    large = ("data.image_size=1024", "data.batch_size=18", "strategy={kind: from-scratch}")
    outcome = launch("train", recipe, *UNCACHED, *large, fault=limit, code=1)
    assert "error: out of memory" in outcome.err


def test_a_removed_run_directory_is_named(launch, recipe) -> None:
    remove = after_epoch(1, lambda: shutil.rmtree("runs/a"))
    outcome = launch("train", recipe, "--name", "a", fault=remove, code=1)
    assert "error: runs/a: this run directory was moved, removed or replaced" in outcome.err
    assert "ftcli resume runs/a" not in outcome.err
    assert not Path("runs/a").exists()


def obey_permissions() -> None:
    """Drop CAP_DAC_OVERRIDE, so that file permissions apply to root, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for which in (0, 1):  # effective and permitted; bit 1 is the capability, bit 2 the one to read
            sets[which] &= ~0b110
        libc.capset(header, sets)


def test_a_read_only_folder_is_reported_before_anything_is_computed(launch, recipe) -> None:
    Path("runs").mkdir(mode=0o555)
    outcome = launch("train", recipe, "--name", "a", fault=obey_permissions, code=2)
    assert f"{Path('runs').absolute()}: is not writable" in outcome.err
    assert "checking" not in outcome.err


def test_a_run_that_becomes_read_only_is_named_and_resumes_once_writable(launch, runs, recipe) -> None:
    launch("train", recipe, "--name", "whole")

    def lock_up() -> None:
        obey_permissions()
        Path("runs/a/checkpoints").chmod(0o555)

    outcome = launch("train", recipe, "--name", "a", fault=after_epoch(1, lock_up), code=1)
    assert "runs/a/checkpoints/resume.2.safetensors: cannot write: Permission denied" in outcome.err
    runs.assert_valid(Path("runs/a"))
    Path("runs/a/checkpoints").chmod(0o755)
    launch("train", "--resume", "runs/a")
    assert_same_runs(Path("runs/a"), Path("runs/whole"))


@pytest.mark.parametrize("name", ["checkpoints/best.safetensors", "plan.json", "predictions/val.csv"])
def test_an_unreadable_file_of_a_run_is_not_called_damaged(launch, recipe, name: str) -> None:
    launch("train", recipe, "--name", "a")
    Path("runs/a", name).chmod(0)
    command = "eval" if name.startswith("checkpoints") else "report"
    err = launch(command, "runs/a", fault=obey_permissions, code=2).err
    assert f"error: runs/a/{name}: cannot be read: Permission denied" in err
    assert "Check the file's permissions" in err
    assert "train the run again" not in err


def test_an_unreadable_image_is_named(launch, recipe, tiny) -> None:
    shutil.copytree(tiny, "images")
    Path("images/train/red/003.png").chmod(0)
    outcome = launch("train", recipe, "data.root=images", fault=obey_permissions, code=3)
    assert "train/red/003.png" in outcome.err
    assert not Path("runs").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, less than a checkpoint and its state."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or "mount"
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "ftcli-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    yield folder
    subprocess.run([shutil.which("umount") or "umount", "--lazy", str(folder)], check=True)


def test_a_real_full_disk_stops_the_run_which_resumes_once_there_is_room(launch, runs, recipe, disk) -> None:
    launch("train", recipe, "--name", "whole")
    outcome = launch("train", recipe, "--runs", disk, "--name", "a", code=1)
    assert f"error: {disk}/a/checkpoints/" in outcome.err
    assert "No space left on device" in outcome.err
    runs.assert_valid(disk / "a")
    assert not list(disk.rglob("*.tmp"))
    subprocess.run([shutil.which("mount") or "mount", "-o", "remount,size=64m", str(disk)], check=True)
    launch("train", "--resume", disk / "a")
    assert_same_runs(disk / "a", Path("runs/whole"))


def in_little_shared_memory() -> None:
    """Give this process and its workers a /dev/shm of 64 KiB; exit with 77 where only root may."""
    mount, new_mounts = shutil.which("mount"), 0x20000  # CLONE_NEWNS; os.unshare needs Python 3.12
    if mount is None or ctypes.CDLL(None).unshare(new_mounts):
        sys.exit(77)
    for command in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=64k", "ftcli-test", "/dev/shm"]):  # noqa: S108
        if subprocess.run([mount, *command], capture_output=True, check=False).returncode:
            sys.exit(77)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's namespaces")
def test_too_little_shared_memory_is_reported(launch, recipe) -> None:
    command = ("train", recipe, *UNCACHED, "data.workers=1", "--name", "a")
    outcome = launch(*command, fault=in_little_shared_memory, code=None)
    if outcome.code == 77:
        pytest.skip("only root can mount")
    assert outcome.code == 1
    assert "not enough shared memory" in outcome.err
    assert "--shm-size" in outcome.err


def without_a_reader() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 2)


def on_a_full_disk() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("lose_stderr", [without_a_reader, on_a_full_disk])
def test_progress_that_cannot_be_written_is_dropped(launch, runs, recipe, lose_stderr) -> None:
    launch("train", recipe, "--name", "whole")
    outcome = launch("train", recipe, "--name", "a", fault=lose_stderr)
    assert outcome.out.splitlines()[-1] == "runs/a"
    assert_same_runs(Path("runs/a"), Path("runs/whole"))
    launch("train", "nowhere.yaml", fault=lose_stderr, code=2)


def test_a_signal_after_the_result_changes_nothing(launch, recipe) -> None:
    def press_ctrl_c_at_the_exit() -> None:
        leave = program._leave

        def interrupted(code: int) -> None:
            signal.raise_signal(signal.SIGINT)
            leave(code)

        program._leave = interrupted

    outcome = launch("train", recipe, "--name", "a", fault=press_ctrl_c_at_the_exit)
    assert outcome.out.splitlines()[-1] == "runs/a"


def test_signals_while_an_error_or_a_signal_is_reported_show_no_traceback(launch) -> None:
    def press_ctrl_c_at_the_end() -> None:
        known, heard = program._known, list[int]()

        def interrupted(error: Exception) -> FtcliError:
            if not heard:
                heard.append(1)
                signal.raise_signal(signal.SIGINT)
            return known(error)

        program._known = interrupted
        encodable = program.encodable

        def interrupted_again(text: str, stream: IO[str]) -> str:
            signal.raise_signal(signal.SIGINT)
            return encodable(text, stream)

        program.encodable = interrupted_again

    outcome = launch("train", "nowhere.yaml", fault=press_ctrl_c_at_the_end, code=130)
    assert outcome.err == "error: stopped by SIGINT\n"
