from ftcli.records import Gate
from ftcli.report.markdown import as_markdown
from ftcli.report.sections import Gates, Prose, Section, Table, numbers, texts


def test_names_are_shown_as_they_are():
    table = Table(texts("image"), [("a|b_<i>[c](d)`@e\n",)])
    text = as_markdown([Section("", (Prose("*x*", tone="alert"), table))], title="# a")
    assert text.startswith("## \\# a\n\n**\\*x\\***\n\n| image |\n|---|\n")
    assert r"| a\|b\_\<i\>\[c\](d)\`\@e\\n |" in text


def test_the_verdict_comes_first_and_long_parts_are_folded():
    rows = [(str(number), str(number)) for number in range(30)]
    table = Table((*texts("name"), *numbers("number")), rows, most_folded=20)
    gate = Gate("worse", "accuracy", "b", holds=False, sentence="b is worse.")
    sections = [
        Section("Details", (table,), folded=True),
        Section("", (Gates((gate,)),), verdict=True),
        Section("<More>", (Prose("open"),)),
    ]
    text = as_markdown(sections, title="a page")
    assert text.startswith(
        "## a page\n\n* **fails** `worse`: b is worse.\n\n<details><summary>Details</summary>\n\n| name |"
    )
    assert "|---|---:|\n" in text
    assert "| 19 | 19 |\n\nand 10 more\n\n</details>" in text
    assert text.endswith("### \\<More\\>\n\nopen")
