"""The report in a real browser: charts render, the keyboard works, no requests are made, no injected code runs."""

import dataclasses
import json
import shutil
import time

import pytest
from srlm.report.compare import write_comparison
from srlm.report.page import write_report
from srlm.rows.records import to_json

from tests.conftest import HANG_SECONDS
from tests.report_run import HOSTILE, candidate, change_manifest, make_run, pair, verdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
MANY = 100_000
COUNT = "#count"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Open a file; fail if the page makes a request or logs to the console."""
    contexts, events = [], []

    def open_file(file, *, width=1280, scheme="light", rendered=False):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(1000 * HANG_SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("request", lambda request: events.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri(), wait_until="domcontentloaded")
        if rendered:
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert events == []


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of 45 pairs: margins 0.0 to 4.4, every third with an unparseable verdict."""
    path = make_run(tmp_path_factory.mktemp("run"))
    write(path / "m2" / "pairs.jsonl", [numbered(i) for i in range(45)])
    outcomes = ["missing" if i % 3 == 0 else "scored" for i in range(45)]
    rows = [verdict(2 * i, 3.0 if kind == "scored" else None, kind) for i, kind in enumerate(outcomes)]
    write(path / "m2" / "verdicts.jsonl", rows)
    return write_report(path)


def numbered(i):
    row = json.loads(to_json(pair(0, 2 * i, 2 * i + 1)))
    row["prompt"][0]["content"] = f"Question number {i}."
    row["chosen_score"], row["rejected_score"] = 0.1 * i, 0.0
    return row


def write(file, rows):
    with file.open("w") as lines:
        lines.writelines(to_json(row) + "\n" for row in rows)


def titles(page):
    return page.locator("#pairs h3").all_text_contents()


def test_every_chart_is_rendered(opened, report):
    page = opened(report)
    first = page.locator("[data-figure]:has(svg.main-svg)").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    charts = page.locator("[data-figure]")
    assert 0 < first < charts.count() == 27  # charts far below render on scrolling
    assert page.locator("[data-figure]:has(svg.main-svg)").count() == 27
    assert page.locator("[role=img]").count() == 27
    assert page.locator("[role=img]:is(:not([aria-label]), [aria-label=''])").count() == 0
    assert page.locator("svg .trace, svg .sankey").count() > 40
    boxes = [chart.bounding_box() for chart in charts.all()]
    assert min(box["height"] for box in boxes) > 100


def test_search_filters_and_order_change_what_is_shown(opened, report):
    page = opened(report)
    count = page.locator(COUNT)
    assert count.text_content() == "Showing 1 to 20 of 45 pairs."
    assert len(titles(page)) == 20
    page.get_by_label("Search prompts, answers and verdicts").fill("NUMBER 4")
    page.wait_for_selector("text=Showing 1 to 6 of 6 pairs that match, out of 45.")
    assert titles(page) == [f"Question number {i}." for i in (4, 40, 41, 42, 43, 44)]
    page.get_by_label("Verdicts", exact=True).select_option("missing")
    page.wait_for_selector("text=Showing 1 to 1 of 1 pairs that match, out of 45.")
    assert titles(page) == ["Question number 42."]
    page.get_by_role("button", name="Clear").click()
    page.wait_for_selector("text=Showing 1 to 20 of 45 pairs.")
    page.get_by_label("Order", exact=True).select_option("margin-down")
    page.wait_for_selector("#pairs article:first-child h3:text('Question number 44.')")
    page.get_by_label("Score at least").fill("2.95")
    page.get_by_label("Score at most").fill("3.25")
    page.wait_for_selector("text=Showing 1 to 3 of 3 pairs")
    assert titles(page) == [f"Question number {i}." for i in (32, 31, 30)]
    page.get_by_label("Length at least").fill("73")
    page.wait_for_selector("text=Showing 1 to 2 of 2 pairs")
    page.get_by_label("Search prompts, answers and verdicts").fill("nowhere")
    page.wait_for_selector("text=No pair matches.")
    assert titles(page) == []


def test_pages_and_verdicts_by_keyboard(opened, report):
    page = opened(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    # The table of contents links to the pairs, and the next focus stop there is the search.
    page.locator("nav a[href='#samples']").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("number")
    assert page.locator("#search").input_value() == "number"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator("#later").focus()
    page.keyboard.press("Enter")
    assert page.locator(COUNT).text_content() == "Showing 21 to 40 of 45 pairs."
    page.locator("#later").focus()
    page.keyboard.press("Space")
    assert page.locator("#page").text_content() == "Page 3 of 3"
    assert page.locator("#later").is_disabled()
    summary = page.locator("#pairs .chosen summary").first
    summary.focus()
    page.keyboard.press("Enter")
    page.locator("#pairs .chosen li .text").first.wait_for(state="visible")


def test_a_page_turned_while_typing_stays_turned(opened, report):
    page = opened(report)
    page.evaluate(
        """() => {
            const search = document.getElementById("search");
            search.value = "number";
            search.dispatchEvent(new Event("input", { bubbles: true }));
            document.getElementById("later").click();
        }"""
    )
    page.wait_for_timeout(400)  # longer than the delay of the search
    assert page.locator(COUNT).text_content() == "Showing 21 to 40 of 45 pairs."


def test_text_of_models_and_users_is_not_executed(opened, tmp_path):
    path = make_run(tmp_path / "run", name=HOSTILE, text=HOSTILE)

    def change(manifest):
        manifest["m2/pairs"]["data_metrics"]["gates"][0]["text"] = HOSTILE
        manifest["m2/pairs"]["drops"][f"<a href='javascript:window.pwned=3'>{HOSTILE}</a>"] = 1
        manifest[f"m2/judge_{HOSTILE}"] = manifest["m2/judge_held_out"]

    change_manifest(path, change)
    page = opened(write_report(path), rendered=True)
    for summary in page.locator("#pairs summary").all():
        summary.click()
    assert HOSTILE in page.locator("#pairs .chosen .text").first.text_content()
    assert HOSTILE in page.locator("#pairs li .text").first.text_content()
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("img, a[href^=javascript]").count() == 0


def test_dark_and_narrow(opened, report, tmp_path):
    page = opened(report, width=400, scheme="dark", rendered=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    expect = pytest.importorskip("playwright.sync_api").expect
    bar = page.locator("[data-figure=candidates-for-M2] .point path").first
    expect(bar).to_have_css("fill", "rgb(121, 179, 242)")
    page.emulate_media(color_scheme="light")
    expect(bar).to_have_css("fill", "rgb(29, 95, 166)")
    beside = opened(write_comparison(report.parent, report.parent, tmp_path / "page.html"), width=400)
    assert beside.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_hundred_thousand_pairs(opened, tmp_path):
    path = make_run(tmp_path)
    folder = path / "m2"
    tokens = [1] * 50
    plain = dataclasses.replace(
        pair(0, 7770, 7771, "An answer of some length. " * 8), chosen_token_ids=tokens, rejected_token_ids=tokens
    )
    row = to_json(plain)
    with (folder / "pairs.jsonl").open("w") as lines:
        lines.writelines(
            row.replace("c7770", f"c{2 * i}").replace("c7771", f"c{2 * i + 1}") + "\n" for i in range(MANY)
        )
    for name, row in (
        ("verdicts", verdict(7770, 3.0)),
        ("candidates", dataclasses.replace(candidate(7770), token_ids=tokens)),
    ):
        text = to_json(row)
        with (folder / f"{name}.jsonl").open("w") as lines:
            lines.writelines(text.replace("c7770", f"c{i}") + "\n" for i in range(2 * MANY))
    began = time.monotonic()
    file = write_report(path)
    built = time.monotonic() - began
    began = time.monotonic()
    page = opened(file)
    ready = page.locator(COUNT).text_content(), time.monotonic() - began
    assert ready[0] == "Showing 1 to 20 of 2,000 pairs."
    assert "2,000 of 100,000 pairs, sampled at random" in " ".join(
        page.locator("#samples .intro").text_content().split()
    )
    assert built < 300
    assert ready[1] < 60
