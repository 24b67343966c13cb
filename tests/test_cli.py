import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.support import Ftcli

from ftcli import __version__


def test_help_names_every_command_and_the_exit_codes(ftcli: Ftcli) -> None:
    shown = ftcli("--help").out
    for word in ("train", "plan", "eval", "compare", "schema", "130 or 143"):
        assert word in shown


def test_no_command_at_all_shows_the_help(ftcli: Ftcli) -> None:
    assert "Commands:" in ftcli().out


def test_the_version_is_printed(ftcli: Ftcli) -> None:
    assert ftcli("--version").out == f"ftcli {__version__}\n"
    assert ftcli("--version", "schema").out == f"ftcli {__version__}\n"
    for arguments in (("--version", "--json"), ("--json", "--version")):
        assert ftcli(*arguments).json == {"schema": 1, "version": __version__}


def test_python_m_ftcli_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "ftcli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ftcli {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trian", "x.yaml"), "No such command 'trian'"),
        (("train",), "give a recipe, or --resume RUN"),
        (("train", "x.yaml", "--nmae", "a"), "No such option: --nmae"),
        (("train", "missing.yaml"), "missing.yaml: cannot read the recipe"),
        (("train", "missing.yaml", "--name", "a/b"), "not a plain directory name"),
        (("eval", "missing"), "missing: does not exist"),
        (("compare", "a", "b"), "does not exist"),
        (("compare", "a"), "a: does not exist"),
        (("schema", "--version"), "No such option: --version"),
    ],
)
def test_wrong_usage_is_reported_and_exits_2(ftcli: Ftcli, arguments: tuple[str, ...], words: str) -> None:
    outcome = ftcli(*arguments, code=2)
    assert words in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("arguments", [("--json",), ("--json", "schema")])
def test_json_before_the_command_is_refused_and_not_ignored(ftcli: Ftcli, arguments: tuple[str, ...]) -> None:
    outcome = ftcli(*arguments, code=2)
    assert "put --json after the command" in json.loads(outcome.err)["error"]["message"]
    assert outcome.out == ""


def test_errors_are_json_when_json_is_asked_for(ftcli: Ftcli) -> None:
    outcome = ftcli("train", "missing.yaml", "--json", code=2)
    error = json.loads(outcome.err)
    assert error["schema"] == 1
    assert error["error"]["where"] == "missing.yaml"
    assert error["error"]["kind"] == "usage"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_there_is_a_run_is_reported_and_not_swallowed(
    ftcli: Ftcli, tiny: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    def signalled(*_arguments: object) -> None:
        with suppress(Exception):  # as libraries do
            signal.raise_signal(number)

    monkeypatch.setattr("ftcli.commands.train.read_document", signalled)
    Path("recipe.yaml").write_text(f"data: {{root: {tiny}}}\n")
    outcome = ftcli("train", "recipe.yaml", "--json", code=code)
    assert json.loads(outcome.err)["error"]["message"] == f"stopped by {number.name}"


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftcli", "train", "missing.yaml", "--debug"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m ftcli schema | head -c 10"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(("arguments", "code"), [("schema", 0), ("check nowhere", 3), ("--help", 0)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_has_closed_are_no_error(arguments: str, code: int, closed: str) -> None:
    command = f"{sys.executable} -m ftcli {arguments} {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "bug in ftcli" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ftcli_is_being_imported_is_no_traceback(number: signal.Signals) -> None:
    script = (
        "import os, sys, ftcli.cli\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'ftcli.cli.app': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "ftcli.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + number, f"error: stopped by {number.name}\n")
