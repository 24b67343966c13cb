"""Where files may be written that a user names."""

import os
from pathlib import Path

import pytest
from helpers.support import MakeRun

from ftcli.commands.outputs import check_output, make_folder
from ftcli.errors import UsageError


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """A run in the directory of several seeds."""
    path = make_run("seeds/seed-0")
    (path.parent / "seeds.json").write_text("{}")
    (path.parent / "recipe.yaml").write_text("")
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("recipe.yaml", "plan.json", "summary.json", "metrics.jsonl", ".lock", "predictions/val.csv"),
        *("checkpoints/best.safetensors", "checkpoints/new.csv", "tensorboard/events"),
        *("../seeds.json", "../recipe.yaml"),
    ],
)
def test_files_of_a_run_are_refused_whether_or_not_they_are_there(run: Path, name: str) -> None:
    (run / "tensorboard").mkdir()
    with pytest.raises(UsageError, match="is a file of the run") as caught:
        check_output(run / name)
    assert caught.value.where == str(run / name)


def test_a_run_is_known_through_links(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(UsageError, match="is a file of the run"):
        check_output(tmp_path / "link" / "recipe.yaml")


@pytest.mark.parametrize(
    "name", ["report.html", "notes.txt", "predictions/test.csv", "plots/curves.png", "../report.html"]
)
def test_a_run_may_hold_other_files(run: Path, name: str) -> None:
    check_output(run / name)
    make_folder(run / name)
    assert (run / name).parent.is_dir()


def test_one_folder_is_made_and_no_more() -> None:
    check_output(Path("new/page.html"))
    assert not Path("new").exists(), "a check makes nothing"
    make_folder(Path("new/page.html"))
    with pytest.raises(UsageError, match="the folder new/and/deeper does not exist"):
        check_output(Path("new/and/deeper/page.html"))
    with pytest.raises(UsageError, match="the folder /missing does not exist"):
        check_output(Path("/missing/page.html"))


def test_what_is_no_file_is_refused() -> None:
    Path("folder").mkdir()
    Path("file").touch()
    for name in ("folder", os.devnull):
        with pytest.raises(UsageError, match="is not a file"):
            check_output(Path(name))
    with pytest.raises(UsageError, match="the folder file does not exist"):
        check_output(Path("file/page.html"))
