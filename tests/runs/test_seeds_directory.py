import json
from pathlib import Path

import pytest

from ftcli.errors import RunDirectoryError
from ftcli.runs.create import check_free
from ftcli.runs.directory import RunDirectory, check_one_run
from ftcli.runs.files import write_text
from ftcli.runs.lock import exclusive
from ftcli.runs.seeds_directory import SeedsDirectory, create_seeds, holds_seeds, runs_at


@pytest.fixture
def seeds(tmp_path: Path) -> SeedsDirectory:
    directory = SeedsDirectory(tmp_path / "s")
    create_seeds(directory, [0, 7], "seeds: [0, 7]\n", overwrite=False)
    return directory


def test_a_new_directory_lists_its_seeds_and_has_no_results(seeds: SeedsDirectory) -> None:
    assert (seeds.seeds(), seeds.runs()) == ((0, 7), [])
    assert json.loads(seeds.summary.read_text()) == {
        "schema": 1,
        "seeds": [0, 7],
        "runs": ["seed-0", "seed-7"],
        "finished": False,
        "metrics": {},
    }
    assert seeds.recipe.read_text() == "seeds: [0, 7]\n"


def test_only_a_run_of_its_own_seeds_belongs_to_it(seeds: SeedsDirectory) -> None:
    assert seeds.holds(seeds.path / "seed-7", seed=7)
    assert not seeds.holds(seeds.path / "seed-7", seed=0)
    assert not seeds.holds(seeds.path / "seed-1", seed=1)
    assert not seeds.holds(seeds.path / "other", seed=0)


@pytest.mark.parametrize(
    "content", ["{}", '{"seeds": []}', '{"seeds": [true]}', '{"seeds": "01"}', "[", '{"schema": 9}']
)
def test_a_damaged_list_of_seeds_is_named(seeds: SeedsDirectory, content: str) -> None:
    seeds.summary.write_text(content)
    with pytest.raises(RunDirectoryError) as caught:
        seeds.seeds()
    assert caught.value.where == str(seeds.summary)


def test_a_run_without_predictions_is_awaited(seeds: SeedsDirectory) -> None:
    first, second = seeds.run(0), seeds.run(7)
    with pytest.raises(RunDirectoryError) as caught:
        runs_at(seeds.path)
    assert caught.value.where == str(seeds.path)
    first.predictions("val").parent.mkdir(parents=True)
    write_text(first.predictions("val"), "predictions")
    found = runs_at(seeds.path)
    assert (found.runs, found.awaited) == ((first.path,), (second.path,))


def test_a_path_that_is_not_a_directory_of_seeds_is_itself(tmp_path: Path) -> None:
    assert not holds_seeds(tmp_path / "a")
    assert runs_at(tmp_path / "a").runs == (tmp_path / "a",)


@pytest.mark.parametrize("begun", [0, 1])
def test_it_is_refused_as_a_single_run_with_a_hint(seeds: SeedsDirectory, begun: int) -> None:
    for seed in seeds.seeds()[:begun]:
        seeds.run(seed).path.mkdir()
    with pytest.raises(RunDirectoryError) as caught:
        check_one_run(seeds.path)
    assert caught.value.where == str(seeds.path)
    assert (str(seeds.run(0).path) in str(caught.value.hint)) == bool(begun)


def test_an_existing_directory_is_replaced_only_on_request(seeds: SeedsDirectory) -> None:
    with pytest.raises(RunDirectoryError) as caught:
        create_seeds(seeds, [1], "", overwrite=False)
    assert caught.value.where == str(seeds.path)
    create_seeds(seeds, [1], "", overwrite=True)
    assert seeds.seeds() == (1,)


def test_a_directory_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunDirectoryError) as caught:
        check_free(SeedsDirectory(tmp_path / "mine"), overwrite=True)
    assert caught.value.where == str(tmp_path / "mine")


def test_a_directory_with_a_run_in_training_is_not_overwritten(
    seeds: SeedsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftcli.runs.lock.PATIENCE_SECONDS", 0)
    run = RunDirectory(seeds.path / "seed-0")
    run.path.mkdir()
    with exclusive(run), pytest.raises(RunDirectoryError) as caught:
        create_seeds(seeds, [1], "", overwrite=True)
    assert caught.value.where == str(run.path)
    assert seeds.seeds() == (0, 7)
