import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from ftcli.runs.create import exchange, put_back, staged, sweep_places


@pytest.fixture
def stopped_while() -> Iterator[Callable[[Callable[[], None]], int]]:
    """Start work in a process of its own, which stops in its middle; return that process, which ends with the test."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    pids = []

    def start(work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                work()
            os._exit(1)
        pids.append(pid)
        _, status = os.waitpid(pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        return pid

    yield start
    for pid in pids:
        with suppress(ProcessLookupError, ChildProcessError):
            kill(pid)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text(text)


def read_only(*_: object) -> None:
    raise OSError(30, "Read-only file system")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_dead_process_was_making_goes_and_what_a_live_one_makes_stays(tmp_path: Path, stopped_while) -> None:
    def make() -> None:
        with staged(tmp_path / "a") as staging:
            write(staging, "half")
            stop()

    live, dead = stopped_while(make), stopped_while(make)
    kill(dead)
    assert len(names(tmp_path)) == 2
    sweep_places(tmp_path)
    assert [path.read_text() for path in tmp_path.rglob("file")] == ["half"]
    kill(live)
    sweep_places(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_a_process_that_dies_while_it_exchanges_two_directories_leaves_one_of_them(
    tmp_path: Path, stopped_while, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    write(tmp_path / "a", "old")
    rename, moves = Path.rename, {"before": 0, "between": 1, "after": 2}

    def stop_at(path: Path, target: Path) -> Path:
        if moves[when] == 0:
            stop()
        moves[when] -= 1
        moved = rename(path, target)
        if when == "after" and moves[when] == 0:
            stop()
        return moved

    def replace() -> None:
        with staged(tmp_path / "a") as staging:
            write(staging, "new")
            exchange(staging, tmp_path / "a")

    monkeypatch.setattr(Path, "rename", stop_at)
    pid = stopped_while(replace)
    monkeypatch.undo()
    sweep_places(tmp_path)
    assert len(names(tmp_path)) == (1 if when == "between" else 2), "it lives still"
    kill(pid)
    sweep_places(tmp_path)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a/file").read_text() == ("new" if when == "after" else "old")


@pytest.mark.parametrize("why", ["the disk is read-only", "a dangling link stands there", "a folder does"])
def test_the_only_copy_of_a_directory_that_cannot_go_back_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    old = tmp_path / ".a.ftcli-0a1b2c3d/old"
    (old.parent / "new").mkdir(parents=True)
    (old.parent / "ftcli.lock").touch()
    write(old, "old")
    if why == "a dangling link stands there":
        (tmp_path / "a").symlink_to("nowhere")
    elif why == "a folder does":
        (tmp_path / "a").mkdir()
    with monkeypatch.context() as patch:
        if why == "the disk is read-only":
            patch.setattr(Path, "rename", read_only)
        sweep_places(tmp_path)
        put_back(tmp_path / "a/checkpoints/best.safetensors")
    assert (old / "file").read_text() == "old"
    if why == "a folder does":
        (tmp_path / "a").rmdir()
    (tmp_path / "a").unlink(missing_ok=True)
    put_back(tmp_path / "a/checkpoints/best.safetensors")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a/file").read_text() == "old"


def test_a_failure_in_the_exchange_leaves_the_old_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "old")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"), staged(tmp_path / "a") as staging:
        exchange(staging, tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a/file").read_text() == "old"


def test_hidden_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    mine = [".a.12345678", ".a.ftcli-12345678", ".venv", "a.ftcli-12345678"]
    for name in mine:
        write(tmp_path / name, "mine")
    (tmp_path / ".b.12345678").mkdir()
    sweep_places(tmp_path)
    assert names(tmp_path) == sorted([*mine, ".b.12345678"])


def test_a_disk_without_room_for_the_lock_keeps_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_lock: FileLock) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileLock, "acquire", fail)
    with pytest.raises(OSError, match="No space left"), staged(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_process_that_dies_before_it_locks_its_place_leaves_nothing_for_long(
    tmp_path: Path, stopped_while, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> None:
        monkeypatch.setattr(FileLock, "acquire", lambda _lock: stop())
        with staged(tmp_path / "a"):
            pass

    kill(stopped_while(make))
    assert len(names(tmp_path)) == 1
    sweep_places(tmp_path)
    assert names(tmp_path) == []


def test_a_place_that_is_swept_just_before_it_is_locked_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = FileLock.acquire

    def sweep_and_acquire(lock: FileLock) -> object:
        sweep_places(tmp_path)
        assert names(tmp_path) == []
        return acquire(lock)

    monkeypatch.setattr(FileLock, "acquire", sweep_and_acquire)
    with staged(tmp_path / "a") as staging:
        assert staging.is_dir()
    assert names(tmp_path) == []


@pytest.mark.parametrize("sweeping", ["done", "in progress"])
def test_a_place_that_is_swept_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweeping: str
) -> None:
    usual, locks = tempfile.mkdtemp, list[FileLock]()

    def made_and_swept(**options: str) -> str:
        place = usual(**options)
        if not locks:
            locks.append(FileLock(f"{place}/ftcli.lock"))
            locks[0].acquire()
            if sweeping == "done":
                shutil.rmtree(place)
        return place

    monkeypatch.setattr(tempfile, "mkdtemp", made_and_swept)
    with staged(tmp_path / "a") as staging:
        assert staging.is_dir()
    locks[0].release()
    sweep_places(tmp_path)
    assert names(tmp_path) == []
