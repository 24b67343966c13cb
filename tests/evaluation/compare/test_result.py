from ftcli.evaluation.compare.result import recipe_changes


def test_recipe_changes_are_named_by_dotted_keys():
    a = {"strategy": {"kind": "fine-tune", "lr": {"head": 0.01, "layer4": 1e-4}}, "seed": 0, "patience": None}
    b = {"strategy": {"kind": "fine-tune", "lr": {"head": 0.02}}, "seed": 0, "epochs": 3}
    assert recipe_changes(a, b) == {
        "strategy.lr.head": {"a": 0.01, "b": 0.02},
        "strategy.lr.layer4": {"a": 1e-4, "b": None},
        "epochs": {"a": None, "b": 3},
    }


def test_recipe_changes_distinguish_a_section_from_a_value_and_true_from_one():
    assert recipe_changes({"lr": {"head": 1}}, {"lr": 1}) == {"lr": {"a": {"head": 1}, "b": 1}}
    assert recipe_changes({"x": True}, {"x": 1}) == {"x": {"a": True, "b": 1}}
    assert recipe_changes({"x": [1, 2]}, {"x": [1, 3]}) == {"x": {"a": [1, 2], "b": [1, 3]}}
    assert recipe_changes({"x": 1e-3}, {"x": 0.001}) == {}
