import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.launch import Launch
from helpers.recorded_runs import write_run
from helpers.support import Ftcli, MakeRun, Outcome, write_images

from ftcli.cli import main

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks of these tests are too small for more
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if a shell runs the tests in the background


SLOWEST = ("test_kills.py", "test_configs.py", "test_resume.py", "test_seeds.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that no process waits for another at the end."""
    items.sort(key=lambda item: item.path.name not in SLOWEST)


@pytest.fixture
def ftcli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ftcli]:
    """Call the command line in this process; arguments are converted to text."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object, code: int | None = 0) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ftcli", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        outcome = Outcome(int(left.value.code or 0), *capsys.readouterr())
        assert code is None or outcome.code == code, f"exit code {outcome.code}: {outcome.err}"
        assert "Traceback" not in outcome.err
        return outcome

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Call the command line in a forked process, which may be killed."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    return Launch(tmp_path)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run of this name without training: see `write_run`."""
    return lambda name="run", **settings: write_run(tmp_path / name, **settings)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with train/ and val/ of two classes that a network learns in one epoch."""
    root = tmp_path_factory.mktemp("tiny")
    for split, count in (("train", 9), ("val", 6)):
        write_images(root / split / "blue", count=count, colour=(70, 90, 180))
        write_images(root / split / "red", count=count, colour=(180, 90, 70))
    return root


@pytest.fixture(scope="session")
def hymenoptera() -> Path:
    """The folder of ants and bees, if the environment names it."""
    folder = os.environ.get("FTCLI_HYMENOPTERA")
    if not folder:
        pytest.skip("FTCLI_HYMENOPTERA does not name the folder of ants and bees")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _skip_fsync() -> Iterator[None]:
    """Skip fsync, which protects only against a loss of power.

    Separate processes call the real one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _free_memory() -> Iterator[None]:
    """Free memory after each test file; the tuned allocator of `ftcli train` never returns it."""
    yield
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep runs and data out of the repository, and caches out of the home folder."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
