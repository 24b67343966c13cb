"""Any strategy over any groups gives a plan that covers every group, or an error with the reason."""

import itertools
import math
from collections import Counter

from helpers.fuzzing import attempt, cases
from hypothesis import given
from hypothesis import strategies as st

from ftcli.errors import FtcliError, PlanError
from ftcli.plan import Plan
from ftcli.recipe.keys import FeatureExtract, FineTune, FromScratch, Gradual, Phases, Strategy
from ftcli.strategies import HEAD, make_plan

NAMES = [
    "stem",
    "layer1",
    "layer4",
    "features.0",
    "features.1",
    "features.16",
    "blocks.5",
    "classifier.0",
    "a.b.c",
    "x",
]
GROUPS = st.lists(st.sampled_from(NAMES), unique=True, max_size=10).map(lambda names: (*names, HEAD))
PATTERNS = st.one_of(st.sampled_from([*NAMES, HEAD, "features", "*", "features.*", "l*", "classifier", "[", "?"]))
RATE = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
DECAY = st.floats(min_value=0, max_value=1, exclude_min=True)
COUNT = st.one_of(st.integers(1, 3), st.integers(1, 12), st.just("all"))
EPOCHS = st.integers(1, 40)
RATES = st.dictionaries(PATTERNS, RATE, min_size=1, max_size=4)

KINDS = {"feature-extract", "from-scratch", "fine-tune", "gradual", "phases"}
NEVER_REFUSED = {"feature-extract", "from-scratch"}
STRATEGIES: st.SearchStrategy[Strategy] = st.one_of(
    st.builds(FeatureExtract, kind=st.just("feature-extract"), lr=RATE, solver=st.sampled_from(["sgd", "lbfgs"])),
    st.builds(FromScratch, kind=st.just("from-scratch"), lr=RATE),
    st.builds(
        FineTune,
        kind=st.just("fine-tune"),
        lr=RATE,
        unfreeze=st.none() | COUNT,
        lr_decay=st.none() | DECAY,
        head_epochs=st.integers(0, 5),
    ),
    st.builds(FineTune, kind=st.just("fine-tune"), lr=RATES, head_epochs=st.integers(0, 5)),
    st.builds(
        Gradual,
        kind=st.just("gradual"),
        lr=RATE,
        lr_decay=DECAY,
        epochs_per_phase=st.integers(1, 5),
        groups_per_phase=st.integers(1, 5),
        unfreeze=COUNT,
    ),
    st.lists(
        st.fixed_dictionaries({"epochs": EPOCHS, "lr": RATES, "patience": st.none() | st.integers(1, 9)}),
        min_size=1,
        max_size=4,
    ).map(lambda phases: Phases.model_validate({"kind": "phases", "phases": phases})),
)


def test_a_plan_covers_every_group_in_every_phase() -> None:
    planned: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    @given(strategy=STRATEGIES, groups=GROUPS, epochs=EPOCHS, patience=st.none() | st.integers(1, 9))
    @cases(quick=600, stress=10_000)
    def attempts(strategy: Strategy, groups: tuple[str, ...], epochs: int, patience: int | None) -> None:
        knows_its_epochs = isinstance(strategy, Phases) or getattr(strategy, "solver", "sgd") == "lbfgs"
        total = None if knows_its_epochs else epochs
        plan = attempt(lambda: make_plan(strategy, groups, epochs=total, patience=patience, default_lr=0.01))
        (refused if isinstance(plan, FtcliError) else planned)[strategy.kind] += 1
        if isinstance(plan, FtcliError):
            assert isinstance(plan, PlanError)
            assert plan.where is not None
            assert plan.where.startswith(("strategy.", "epochs"))
            return
        check(plan, strategy, groups)
        if not knows_its_epochs:
            assert plan.epochs == epochs

    attempts()
    assert min(planned[kind] for kind in KINDS) >= 5, planned
    assert min(refused[kind] for kind in KINDS - NEVER_REFUSED) >= 5, refused


def check(plan: Plan, strategy: Strategy, groups: tuple[str, ...]) -> None:
    """Check the rules of every plan, and those of its strategy."""
    assert plan.groups == groups
    assert len({phase.name for phase in plan.phases}) == len(plan.phases)
    for phase in plan.phases:
        assert tuple(phase.lr) == groups
        assert phase.epochs >= 1
        assert phase.trainable
        assert all(rate is None or (rate > 0 and math.isfinite(rate)) for rate in phase.lr.values())
    thawed = [set(phase.trainable) for phase in plan.phases]
    if not isinstance(strategy, Phases):
        assert all(a <= b for a, b in itertools.pairwise(thawed)), "no group is frozen again"
    if isinstance(strategy, FeatureExtract):
        assert thawed == [{HEAD}]
    if isinstance(strategy, FromScratch):
        assert thawed == [set(groups)]
    if isinstance(strategy, FineTune) and not isinstance(strategy.lr, dict) and strategy.head_epochs:
        assert (thawed[0], plan.phases[0].epochs) == ({HEAD}, strategy.head_epochs)
    if isinstance(strategy, Gradual):
        assert thawed[0] == {HEAD}
        rates = [rate for rate in plan.phases[-1].lr.values() if rate is not None]
        assert rates == sorted(rates), "rates fall with the distance from the head"
