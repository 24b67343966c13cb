"""A few networks through plan, train, resume and eval: the short part of `make sweep`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import timm
from network_page import outcome_of, render
from network_trial import CACHED, CRASHED, REFUSED, STRATEGIES, try_network, write_noise

ODD = {
    "mnasnet0_5": "converts older weights while it loads",
    "timm/test_maxvit": "has buffers that are not saved",
    "timm/vit_tiny_patch16_dinov3_qkvb": "computes a table of rotations from such a buffer",
    "timm/coat_lite_tiny": "takes the size of a map, and the number of images, from the frozen part",
}
SOME = tuple(f"timm/{name}" for name in random.Random(0).sample(timm.list_models("test_*"), 2))  # noqa: S311 - no secret
"""Two of timm's smallest networks, of different kinds."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("noise")
    write_noise(root)
    return root


@pytest.mark.parametrize("name", [*ODD, *SOME])
def test_a_network_trains_with_the_cache_and_eval_reproduces_its_figures(name: str, images: Path) -> None:
    row = try_network(name, images=images, folder=Path(), strategies={"last group": STRATEGIES["last group"]})
    assert outcome_of(row) == (CACHED, None)


def test_a_network_that_cannot_be_trained_is_refused_before_anything_is_written(images: Path) -> None:
    outcome, reason = outcome_of(try_network("timm/gemma4_vit_167m_enc", images=images, folder=Path()))
    assert outcome == REFUSED
    assert reason
    assert not Path("runs").exists()


def test_the_page_says_how_each_family_did_and_what_was_not_run() -> None:
    row = {"network": "a_small", "image_size": 64, "parameters": 1_500_000, "groups": ["stem", "head"]}
    outcomes = {
        "head": {"outcome": CACHED, "reason": None},
        "last group": {"outcome": CRASHED, "reason": "KeyError: 'a|b'"},
    }
    page = render([{**row, "outcomes": outcomes}], {"lib a": "a_small", "lib b": "b_small", "lib c": None})
    assert "| lib a | `a_small` | 1.5 | 64 | crashed: KeyError: 'a\\|b' (last group) | 2: `stem` `head` |" in page
    assert "Not run yet: lib b" in page
    assert "more than 40 million parameters: lib c" in page
