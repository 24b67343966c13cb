import pytest

from ftcli.errors import PlanError
from ftcli.plan import Plan
from ftcli.recipe.keys import Cosine, FeatureExtract, FineTune, FromScratch, Gradual, Phases, PhaseSection, Strategy
from ftcli.strategies import check_warmup, make_plan, rates_of

GROUPS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
MOBILE = ("features.0", "features.1", "features.2", "classifier.0", "head")


def plan_of(strategy: object, groups: tuple[str, ...] = GROUPS, epochs: int | None = 10) -> Plan:
    return make_plan(strategy, groups, epochs=epochs, patience=None, default_lr=0.01)  # type: ignore[arg-type]


def rates(plan: Plan, phase: int = 0) -> dict[str, float]:
    return {group: rate for group, rate in plan.phases[phase].lr.items() if rate is not None}


def test_feature_extraction_trains_the_head_alone() -> None:
    plan = plan_of(FeatureExtract(kind="feature-extract", lr=0.01))
    assert rates(plan) == {"head": 0.01}
    assert plan.epochs == 10


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (FeatureExtract(kind="feature-extract"), {"head": 0.001}),
        (FineTune(kind="fine-tune", lr_decay=0.1), {"layer4": 0.0001, "head": 0.001}),
        (Gradual(kind="gradual", lr_decay=0.1, unfreeze=1), {"layer4": 0.0001, "head": 0.001}),
        (FromScratch(kind="from-scratch"), dict.fromkeys(GROUPS, 0.001)),
    ],
)
def test_a_strategy_without_a_rate_takes_the_default_one(strategy: Strategy, expected: dict[str, float]) -> None:
    plan = make_plan(strategy, GROUPS, epochs=10, patience=None, default_lr=0.001)
    assert rates(plan, -1) == expected


def test_from_scratch_trains_everything_at_one_rate() -> None:
    assert rates(plan_of(FromScratch(kind="from-scratch", lr=0.1))) == dict.fromkeys(GROUPS, 0.1)


def test_fine_tuning_unfreezes_the_groups_nearest_to_the_head_at_falling_rates() -> None:
    plan = plan_of(FineTune(kind="fine-tune", lr=0.01, unfreeze=2, lr_decay=0.1))
    assert rates(plan) == {"layer3": 0.0001, "layer4": 0.001, "head": 0.01}


def test_fine_tuning_all_reaches_the_input() -> None:
    plan = plan_of(FineTune(kind="fine-tune", lr=1.0, unfreeze="all", lr_decay=0.5))
    assert rates(plan) == {g: 0.5 ** (5 - i) for i, g in enumerate(GROUPS)}


def test_head_epochs_come_first_and_are_part_of_the_total() -> None:
    plan = plan_of(FineTune(kind="fine-tune", lr={"head": 0.01, "layer4": 0.001}, head_epochs=3))
    assert [phase.epochs for phase in plan.phases] == [3, 7]
    assert rates(plan, 0) == {"head": 0.01}
    assert rates(plan, 1) == {"layer4": 0.001, "head": 0.01}


def test_gradual_unfreezing_goes_from_the_head_down_and_the_last_phase_takes_the_rest() -> None:
    plan = plan_of(Gradual(kind="gradual", lr=1.0, lr_decay=0.1, epochs_per_phase=2, unfreeze=3))
    assert [phase.epochs for phase in plan.phases] == [2, 2, 2, 4]
    assert [phase.trainable for phase in plan.phases] == [GROUPS[5:], GROUPS[4:], GROUPS[3:], GROUPS[2:]]
    assert rates(plan, 3) == {"layer2": 0.001, "layer3": 0.01, "layer4": 0.1, "head": 1.0}


def test_gradual_unfreezing_can_take_several_groups_at_once() -> None:
    plan = plan_of(Gradual(kind="gradual", groups_per_phase=2, unfreeze="all", epochs_per_phase=1))
    assert [len(phase.trainable) for phase in plan.phases] == [1, 3, 5, 6]


def test_explicit_phases_have_their_own_epochs_and_patience() -> None:
    sections = (
        PhaseSection(epochs=3, lr={"head": 0.01}),
        PhaseSection(epochs=4, lr={"*": 0.001, "head": 0.01}, patience=2),
    )
    plan = make_plan(Phases(kind="phases", phases=sections), GROUPS, epochs=None, patience=5, default_lr=0.01)
    assert [(phase.epochs, phase.patience) for phase in plan.phases] == [(3, 5), (4, 2)]
    assert rates(plan, 1) == {**dict.fromkeys(GROUPS[:-1], 0.001), "head": 0.01}


def test_a_module_name_matches_all_groups_in_it_but_never_the_head() -> None:
    assert rates_of({"features": 0.1, "classifier": 0.2}, MOBILE, key="lr") == {
        "features.0": 0.1, "features.1": 0.1, "features.2": 0.1, "classifier.0": 0.2, "head": None,
    }  # fmt: skip


def test_head_matches_the_new_layer_alone_and_not_modules_whose_names_start_so() -> None:
    groups = ("stem", "head.conv", "head.norm", "head")
    assert list(rates_of({"head": 0.1}, groups, key="lr").values()) == [None, None, None, 0.1]
    assert list(rates_of({"head": 0.1, "head.*": 0.2}, groups, key="lr").values()) == [None, 0.2, 0.2, 0.1]


def test_a_name_takes_precedence_over_a_module_and_a_module_over_a_glob() -> None:
    lr = {"*": 0.1, "features": 0.2, "features.1": 0.3}
    assert list(rates_of(lr, MOBILE, key="lr").values()) == [0.2, 0.3, 0.2, 0.1, 0.1]


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (FineTune(kind="fine-tune", lr={"layer5": 0.1}), "strategy.lr.layer5: matches no group.*layer4, head"),
        (FineTune(kind="fine-tune", lr={"*": 0.1, "layer*": 0.1}), "'layer1' is matched by"),
        (FineTune(kind="fine-tune", unfreeze=6), "has 5 groups before the head"),
        (FineTune(kind="fine-tune", head_epochs=10), "leave none"),
        (FineTune(kind="fine-tune", lr={"layer4": 0.1}, head_epochs=1), "gives it no rate"),
        (Gradual(kind="gradual", epochs_per_phase=4), "need at least 13 epochs"),
        (Gradual(kind="gradual", unfreeze=9), "at most 5"),
    ],
)
def test_what_does_not_fit_together_is_refused(strategy: object, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan_of(strategy)


def test_warming_up_for_a_whole_phase_is_refused() -> None:
    plan = plan_of(FeatureExtract(kind="feature-extract"), epochs=2)
    check_warmup(plan, Cosine(kind="cosine", warmup_epochs=1).warmup_epochs)
    with pytest.raises(PlanError, match="do not fit into phase 'head'"):
        check_warmup(plan, 2)


def test_rates_that_fall_to_zero_are_refused() -> None:
    with pytest.raises(PlanError, match="underflows to zero at stem"):
        plan_of(FineTune(kind="fine-tune", lr=0.01, unfreeze="all", lr_decay=1e-70))
