from ftcli.recipe.keys import Recipe
from ftcli.recipe.problems import keys_by_home, sections_of


def test_every_key_is_documented() -> None:
    def undocumented(section: type, home: str) -> list[str]:
        names = []
        for key, field in section.model_fields.items():
            if key != "kind" and not field.description:
                names.append(f"{home}{key}")
            for inner in sections_of(field.annotation):
                names += undocumented(inner, f"{home}{key}.")
        return names

    assert undocumented(Recipe, "") == []


def test_keys_know_where_they_belong() -> None:
    assert keys_by_home()["batch_size"] == ["data.batch_size"]
    assert "strategy.lr" in keys_by_home()["lr"]
