"""A full disk, and a kill, at every single write of a run."""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.same_runs import assert_same_runs
from helpers.support import Ftcli


class Writes:
    """Counts the writes to a directory, and makes one of them fail."""

    def __init__(self, directory: Path, fail: Callable[[Callable[[], None]], None], *, at: int) -> None:
        self.directory = directory.absolute()
        self.fail = fail
        self.at = at
        self.count = 0

    def install(self) -> None:
        """Wrap the standard library's functions that write."""
        for owner, name in (
            (Path, "write_bytes"), (Path, "replace"), (Path, "rename"), (Path, "hardlink_to"), (Path, "mkdir"),
            (os, "fsync"), (Path, "open"), *(((Path, "unlink"),) if self.fail is be_killed else ()),
        ):  # fmt: skip
            setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    def _wrapped(self, name: str, usual: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            reads = name == "open" and not {"a", "w"} & set(str([*arguments[1:], *options.values()]))
            if reads or not self._is_below(arguments[0]):
                return usual(*arguments, **options)
            self.count += 1
            if self.count == self.at:

                def half() -> None:
                    """Fail in the middle of a write, like a full disk or a killed process."""
                    if name == "write_bytes":
                        usual(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    elif name == "open":
                        with usual(*arguments, **options) as file:
                            file.write(b"half" if "b" in file.mode else '{"half')

                self.fail(half)
            return usual(*arguments, **options)

        return call

    def _is_below(self, what: object) -> bool:
        path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else what
        return Path(path).absolute().is_relative_to(self.directory)


def be_full(half: Callable[[], None]) -> None:
    half()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def be_killed(half: Callable[[], None]) -> None:
    half()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def writes(launch, recipe: str) -> int:
    """The number of writes of an undisturbed run, which stays as runs/whole."""
    counting = Writes(Path("runs"), be_killed, at=0)

    def count() -> None:
        counting.install()
        leave = sys.exit
        sys.exit = lambda code: (Path("count").write_text(str(counting.count)), leave(code))

    launch("train", recipe, "--name", "whole", fault=count)
    return int(Path("count").read_text())


def check_fault(launch, runs, recipe: str, fail: Callable[[Callable[[], None]], None], *, at: int) -> str:
    """Make this write fail; check what is left, resume, and compare. Return what could be resumed."""
    run = Path("runs/a")
    shutil.rmtree(run, ignore_errors=True)
    outcome = launch("train", recipe, "--name", "a", fault=Writes(Path("runs"), fail, at=at).install, code=None)
    if fail is be_full and outcome.code != 0:  # a file that only is to be removed may stay
        assert outcome.code == 1
        assert "No space left on device" in outcome.err
        assert "error: runs/a" in outcome.err, "no hidden place"
        assert "Free some space on that disk" in outcome.err
    if not run.exists():
        if fail is be_full:
            assert sorted(path.name for path in Path("runs").iterdir()) == ["whole"], "nothing is left behind"
        launch("train", recipe, "--name", "a")
        assert_same_runs(run, Path("runs/whole"))
        assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "whole"], "the next one tidies up"
        return "nothing"
    runs.assert_valid(run)
    launch("train", "--resume", run)
    assert_same_runs(run, Path("runs/whole"))
    return "a run"


@pytest.mark.parametrize("fail", [be_full, be_killed])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.75])
def test_a_run_is_valid_after_a_failed_write_and_resumes_to_the_same_result(
    launch, runs, recipe: str, writes: int, fail, share: float
) -> None:
    check_fault(launch, runs, recipe, fail, at=max(round(writes * share), 1))


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_disk_is_reported_with_a_hint(ftcli: Ftcli, recipe: str, monkeypatch) -> None:
    ftcli("train", recipe, "--name", "a")
    with monkeypatch.context() as patch:
        patch.setattr("ftcli.runs.lock.FileLock.acquire", read_only)
        resumed = ftcli("train", "--resume", "runs/a", "epochs=3", code=1).err
    assert "runs/a: cannot lock the run: Read-only file system" in resumed
    assert "Make that disk writable, or copy the directory to another one." in resumed
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", read_only)
        page = ftcli("report", "runs/a", code=1).err
        anew = ftcli("train", recipe, "--name", "b", code=1).err
    assert "runs/a/report.html: cannot write: Read-only file system" in page
    assert "Write the page elsewhere: --out FILE" in page
    assert "error: runs/b: cannot write: Read-only file system" in anew
    assert "or choose another folder with --runs; nothing was made" in " ".join(anew.split())
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a"]
    ftcli("report", "runs/a", "--out", "page.html")


@pytest.mark.stress
@pytest.mark.parametrize("fail", [be_full, be_killed])
def test_a_fault_at_every_single_write_loses_nothing(launch, runs, recipe: str, writes: int, fail) -> None:
    left = [check_fault(launch, runs, recipe, fail, at=number) for number in range(1, writes + 1)]
    print(f"{fail.__name__}: {len(left)} writes, {left.count('a run')} runs that went on, nothing lost")  # noqa: T201
    assert left.count("a run") > writes / 2
