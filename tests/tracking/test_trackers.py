import sys
from pathlib import Path

import pytest
from helpers.support import Ftcli


@pytest.mark.parametrize("names", [["tensorboard"], ["mlflow"], ["tensorboard", "mlflow"]], ids=",".join)
def test_a_missing_library_is_reported_first_with_the_extra_to_install(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    outcome = ftcli("train", recipe, f"tracking=[{', '.join(names)}]", "data.root=nowhere", code=2)
    assert f"pip install 'ftcli[{','.join(names)}]'" in outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("tracking", "part"),
    [
        ("[tensorbord]", "'tensorboard'"),
        ("[mlflow, mlflow]", "tracking:"),
        ("mlflow", "tracking:"),
    ],
)
def test_wrong_trackers_are_refused(ftcli: Ftcli, recipe: Path, tracking: str, part: str) -> None:
    assert part in ftcli("train", recipe, f"tracking={tracking}", code=2).err


def test_neither_library_is_imported_unless_the_recipe_names_it(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would fail
    ftcli("train", recipe, "--name", "a", "epochs=2")
    assert not Path("runs/a/tensorboard").exists()
