from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

from ftcli.engine.solvers import SOLVERS, epochs_shown
from ftcli.plan import Phase
from ftcli.recipe.keys import FeatureExtract

PHASE = Phase("head", 4, {"stem": None, "head": 0.1})


def test_every_solver_of_the_recipe_and_of_a_phase_has_its_row() -> None:
    assert set(SOLVERS) == set(get_args(get_type_hints(Phase)["solver"]))
    assert set(SOLVERS) == set(get_args(FeatureExtract.model_fields["solver"].annotation))


def test_sgd_shows_one_view_per_epoch_and_lbfgs_all_of_them() -> None:
    assert epochs_shown(PHASE, first_epoch=3, views=8) == range(3, 7)
    assert epochs_shown(replace(PHASE, epochs=1, solver="lbfgs"), first_epoch=3, views=8) == range(8)
