from pathlib import Path

from helpers.mistakes import GOLDEN, errors_text


def test_typical_mistakes_get_the_messages_of_the_golden_text(tmp_path: Path) -> None:
    assert errors_text(tmp_path).split("\n") == GOLDEN.read_text().split("\n"), "if the new text is better: make golden"
