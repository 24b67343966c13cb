"""Every recipe in configs/ trains, shortened by overrides and without downloaded weights."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import Ftcli, write_images

from ftcli.recipe.loading import load_recipe

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with only train/ and test/, like CIFAR-10, and one with train/ and val/."""
    root = tmp_path_factory.mktemp("small")
    for folder in ("cifar10/train", "cifar10/test", "hymenoptera/train", "hymenoptera/val"):
        write_images(root / folder / "ants", count=6, colour=(120, 90, 70))
        write_images(root / folder / "bees", count=6, colour=(180, 150, 70))
    return root


def shortened(recipe_file: Path, images: Path) -> list[str]:
    recipe = load_recipe(recipe_file)
    overrides = ["data.image_size=64", "data.workers=0"]
    if recipe.data.root != "digits":
        overrides.append(f"data.root={images / Path(recipe.data.root).name}")
    if recipe.strategy.kind == "phases":
        overrides += [f"strategy.phases.{number}.epochs=1" for number in range(len(recipe.strategy.phases))]
    elif recipe.strategy.kind == "gradual":
        overrides += ["epochs=8", "strategy.epochs_per_phase=1"]
    elif recipe.total_epochs is not None:
        overrides.append("epochs=3")
    if recipe.model.name != "efficientnet_lite0" and recipe.model.weights == "default":
        overrides.append("model.weights=none")
    return overrides


@pytest.fixture(autouse=True)
def _networks_are_freed() -> Iterator[None]:
    """Free the networks of one recipe before the next: traced networks form reference cycles."""
    yield
    gc.collect()


@pytest.mark.parametrize("recipe_file", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_the_recipe_trains(ftcli: Ftcli, recipe_file: Path, small_images: Path) -> None:
    overrides = shortened(recipe_file, small_images)
    if load_recipe(recipe_file).model.weights == "runs/ants-bees-head":
        head = recipe_file.with_name("5_ants_bees_head.yaml")
        ftcli("train", head, *shortened(head, small_images), "--name", "ants-bees-head")
    if recipe_file.stem == "quickstart":
        overrides[0], overrides[-1] = "data.image_size=32", "epochs=1"
    result = ftcli("train", recipe_file, *overrides, "--name", "a", "--json").json
    assert 0 <= result["metrics"]["accuracy"]["value"] <= 1
    assert ftcli("eval", "runs/a", "--json").json["images"] == result_images()


def result_images() -> int:
    return len(Path("runs/a/predictions/val.csv").read_text().splitlines()) - 1


def test_every_recipe_starts_with_a_comment_on_its_purpose() -> None:
    assert all(path.read_text().startswith("# ") for path in RECIPES)


def test_every_tutorial_has_a_recipe() -> None:
    assert {path.name[0] for path in RECIPES if path.parent.name == "tutorials"} == set("12345")
