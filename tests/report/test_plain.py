from ftcli.report.plain import as_text
from ftcli.report.sections import Bullets, Facts, Lines, Prose, Section, Table, numbers, prose, texts


def test_sections_and_parts_are_separated_by_a_blank_line_and_titles_are_not():
    sections = [Section("A title", (Prose("one"), Prose("two"))), Section("", ()), Section("", prose("", "three"))]
    assert as_text(sections, title="a page") == "a page\n\nA title\none\n\ntwo\n\nthree"


def test_prose_is_broken_at_the_width_and_lines_are_not():
    long = "many words " * 9
    first, _, second = as_text([Section("", (Prose(long), Lines((long,))))], width=40).partition("\n\n")
    assert max(map(len, first.splitlines())) <= 40
    assert second == long


def test_long_tables_and_lists_say_how_many_rows_they_leave_out():
    rows = [(f"name {number}", str(number)) for number in range(1500)]
    table = Table((*texts("name"), *numbers("number")), rows, most=2)
    assert "and 1,498 more; --json has them all" in as_text([Section("", (table,))])
    items = Bullets(("a", "b", "c"), 2, "dataset.json")
    assert as_text([Section("", (items,))]) == "  a\n  b\n  and 1 more; dataset.json has them all"


def test_a_table_may_show_its_rows_as_lines():
    table = Table(texts("key", "A", "B"), [("lr", "1", "2\n")], line="{0}: {1} -> {2}")
    assert as_text([Section("", (table,))]) == "  lr: 1 -> 2\\n"


def test_facts_are_aligned():
    assert as_text([Section("", (Facts((("size", "big"), ("format", "PNG"))),))]) == "  size    big\n  format  PNG"
