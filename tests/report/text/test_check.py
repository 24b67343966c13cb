import pytest

from ftcli.data.checks.contents import Contents
from ftcli.data.checks.findings import Case, Finding, finding_notices
from ftcli.report.plain import as_text
from ftcli.report.text.check import check_sections


def check_text(root, contents, findings, *, width=80):
    return as_text(check_sections(contents, findings, None), title=root, width=width)


def finding(level="warning", cases=(), **more):
    return Finding(
        **{"level": level, "code": "leak", "message": "It leaks.", "advice": "Mend it.", **more}, cases=cases
    )


def test_the_gravest_findings_come_first_and_are_counted_last():
    text = check_text("data", None, [finding("info"), finding("warning"), finding("error"), finding("error")])
    lines = [line.split(" [")[0] for line in text.splitlines() if "[leak]" in line]
    assert lines == ["error", "error", "warning", "info"]
    assert text.endswith("2 errors, 1 warning.")


def test_findings_of_level_info_are_not_counted_as_wrong():
    assert check_text("data", None, [finding("info")]).endswith("Nothing wrong was found.")


def test_many_cases_and_many_files_of_one_are_counted_and_not_all_shown():
    cases = tuple(Case((f"{number}.png",)) for number in range(12))
    text = check_text("data", None, [finding(cases=cases)])
    assert "7.png" in text
    assert "8.png" not in text
    assert "and 4 more; --json has them all" in text
    copies = check_text("data", None, [finding(cases=(Case(tuple(f"{n}.png" for n in range(6))),))])
    assert "0.png = 1.png = 2.png = 3.png and 2 more" in copies


@pytest.mark.parametrize(("code", "sign"), [("duplicate", "="), ("near-duplicate", "~"), ("look-alike", "~")])
def test_copies_and_alike_images_have_different_signs(code, sign):
    found = finding(code=code, cases=(Case(("a.png", "b.png", *"cdef"), "so near"),))
    assert f"a.png {sign} b.png {sign} c {sign} d and 2 more: so near\n" in check_text("data", None, [found])
    (notice,) = finding_notices([found])
    assert f"First: a.png {sign} b.png {sign} c {sign} d and 2 more." in notice


def test_what_names_could_do_to_a_terminal_is_shown_as_text():
    text = check_text("da\x1bta", None, [finding(cases=(Case(("a\nb.png",), "\x07"),), message="\x1b[31mred")])
    assert not set(text) & {"\x1b", "\x07"}
    assert "a\\nb.png: \\x07" in text


def test_the_smallest_of_many_classes_are_shown():
    counts = {f"c{number:02}": number + 1 for number in range(25)}
    text = check_text("data", Contents({"train": counts, "val": counts}, 25.0, None), [])
    assert "c00" in text
    assert "c24" not in text
    assert "5 larger ones" in text
    assert f"{sum(counts.values())}" in text


def test_lines_keep_to_the_width():
    long = finding(message="many words " * 30, advice="more words " * 30)
    assert max(map(len, check_text("data", None, [long], width=60).splitlines())) <= 60
