"""Pages as a person meets them: in headless Chromium. `.ci/run` sees to it that there is one."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers.pages import comparison_of, page_of

from ftcli.commands.compare import compare_runs
from ftcli.evaluation.evaluate import evaluate
from ftcli.records import Gate
from ftcli.report.html.compare import comparison_page
from ftcli.report.html.run import run_page
from ftcli.runs.read_run import read_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev has it)")

HOSTILE = ("<script>document.title = 'run'</script>", '"><img src=x onerror=alert(1)>', "a" * 150)


@dataclass
class Visit:
    """A page in a browser, and what it said and asked for while it was open."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian's package is chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path):
    opened = []

    def open_page(text, *, width=1280, **settings):
        file = tmp_path / "report.html"
        file.write_text(text)
        page = chromium.new_page(viewport={"width": width, "height": 800}, **settings)
        opened.append(page)
        visited = Visit(page)
        page.on("console", lambda message: visited.said.append(message.text))
        page.on("pageerror", lambda error: visited.said.append(str(error)))
        page.on("dialog", lambda dialog: (visited.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: visited.asked_for.append(request.url))
        page.goto(file.as_uri())
        return visited

    yield open_page
    for page in opened:
        page.close()


@pytest.fixture
def pages(make_run):
    """The pages of one run, of two and of three, with names that try to break out."""
    case = {"files": [f"train/{name}" for name in HOSTILE], "note": "a" * 150}
    finding = {"level": "error", "code": "leak", "message": "b" * 150, "advice": HOSTILE[0], "cases": [case]}
    long = {
        "classes": (*HOSTILE, *(f"class {number}" for number in range(9))),
        "images": 60,
        "dataset": {"findings": [finding], "skipped": [{"path": HOSTILE[1], "reason": "c" * 150}]},
        "gates": [Gate("expect > 0", "val_accuracy", "a", holds=holds, sentence=HOSTILE[2]) for holds in (True, False)],
    }
    runs = [
        read_run(make_run(name, wrong=wrong, phases=4, epochs=40, **long))
        for name, wrong in zip("abc", (20, 9, 3), strict=True)
    ]
    evaluations = [evaluate(run.predictions, resamples=20) for run in runs]
    two, three = (compare_runs([run.path for run in runs[:number]]) for number in (2, 3))
    return {
        "run": run_page(runs[0], evaluations[0]),
        "two runs": comparison_page(runs[:2], evaluations[:2], two),
        "several runs": comparison_page(runs, evaluations, three),
    }


def test_a_page_says_nothing_on_the_console_and_asks_the_network_for_nothing(visit, pages):
    for page in pages.values():
        visited = visit(page)
        assert visited.said == []
        assert [url for url in visited.asked_for if not url.startswith("data:image/")] == visited.asked_for[:1]
        assert visited.asked_for[0].startswith("file:")
        assert visited.page.title() != "run"


def test_even_a_script_that_got_in_would_not_run(visit, pages):
    broken = pages["run"].replace("<main", "<script>document.title = 'run'</script><main", 1)
    visited = visit(broken)
    assert visited.page.title() != "run"
    assert any("Content Security Policy" in text for text in visited.said)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_overflows_the_page_at_any_width(visit, pages, width):
    for page in pages.values():
        opened = visit(page, width=width).page
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        shown = opened.locator("svg[role=img]:visible")
        assert shown.count() >= 1
        # Text in a drawing shrinks with it: never below nine pixels.
        scale = "e => e.getBoundingClientRect().width / e.viewBox.baseVal.width"
        assert all(shown.nth(i).evaluate(scale) > 0.75 for i in range(shown.count()))


CUT_OFF = """() => [...document.querySelectorAll("main *")].filter((each) => {
  const box = each.closest(".wide, .halves > *, .pair > *, .chart, main");
  if (each.closest("svg svg, svg *, .quiet, .clamp, .slanted") || !each.getClientRects().length) return false;
  const [inner, outer] = [each, box].map((one) => one.getBoundingClientRect());
  return each.scrollWidth > each.clientWidth + 1 && each.matches(".wide") || inner.right > outer.right + 1;
}).map((each) => each.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("size", [3, 6, 10, 20])
def test_nothing_is_cut_off_on_a_laptop_screen(visit, make_run, size):
    classes = [f"category-{number}" for number in range(size)]
    paths = [make_run(name, classes=classes, images=12 * size, wrong=4 * size + i) for i, name in enumerate("abc")]
    for page in (page_of(paths[0]), comparison_of(*paths[:2]), comparison_of(*paths)):
        opened = visit(page).page
        assert opened.evaluate(CUT_OFF) == []


def test_every_chart_is_shown_once(visit, pages):
    for width in (360, 768, 1280):
        opened = visit(pages["run"], width=width).page
        charts = opened.locator(".chart")
        assert [charts.nth(i).locator("svg:visible").count() for i in range(charts.count())] == [1] * charts.count()


def test_headings_sort_a_table_with_the_mouse_and_the_keyboard(visit, pages):
    page = visit(pages["run"]).page
    table = page.locator("#classes table")
    names = table.locator("tbody th")

    def shown():
        return [names.nth(i).inner_text() for i in range(names.count())]

    heading = table.locator("th", has_text="Class").first
    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert shown() == sorted(shown(), key=str.lower)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert shown() == sorted(shown(), key=str.lower, reverse=True)
    table.get_by_role("button", name="Recall").focus()
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "none"
    values = table.locator("tbody td:nth-child(4)")
    recalls = [float(values.nth(i).get_attribute("data-value")) for i in range(values.count())]
    assert recalls == sorted(recalls)


def test_the_keyboard_reaches_the_content_first_and_shows_where_it_is(visit, pages):
    page = visit(pages["run"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def _contrast(page, selector):
    """Return the contrast of text and page (WCAG 2.2) where a selector points."""
    script = """e => {
      const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3)
        .map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
      const style = getComputedStyle(e);
      const page = getComputedStyle(document.body).backgroundColor;
      const [a, b] = [e.closest("svg") ? style.fill : style.color, page].map(light);
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }"""
    return page.locator(selector).locator("visible=true").first.evaluate(script)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(visit, pages, scheme):
    page = visit(pages["run"], color_scheme=scheme).page
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(21, 24, 27)") == (scheme == "dark")
    drawn = ("svg .tick", "svg .name.a", "svg .name.b", "svg .phase")
    for selector in ("h1", ".soft", "nav a", *drawn, ".good", ".grave"):
        assert _contrast(page, selector) >= 4.5, selector


def test_a_printed_page_holds_what_was_folded_away_and_fits_the_paper(visit, pages):
    paper = 718  # the pixels of A4 between Chromium's margins
    page = visit(pages["run"], width=paper).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details table").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= paper
    assert not page.locator("nav").is_visible()
