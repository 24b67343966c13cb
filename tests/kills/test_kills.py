"""A run that is killed at any instant and resumed is bitwise equal to an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[1] / "helpers" / "kills.py"


def kill(*options: str, seconds: float) -> dict[str, float]:
    """Run helpers/kills.py in the current directory, and return its figures."""
    tests = KILLS.parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(KILLS), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_run_killed_at_any_instant_and_resumed_equals_the_undisturbed_one() -> None:
    figures = kill(
        *("--strategies", "gradual", "--caches", "cold"),
        *("--every", "80", "--batches", "4", "--moments", "1"),
        seconds=600,
    )
    assert figures["runs_compared"] >= 8
    assert figures["kills_at_changes"] >= 8
    assert figures["kills_in_epochs"] >= 4


@pytest.mark.stress
def test_runs_of_every_strategy_killed_many_times_equal_the_undisturbed_one() -> None:
    figures = kill("--every", "7", "--batches", "1", "--moments", "8", seconds=3600)
    print(f"{figures}, nothing lost")  # noqa: T201
    assert figures["kills_at_changes"] + figures["kills_in_epochs"] + figures["kills_at_moments"] >= 500
