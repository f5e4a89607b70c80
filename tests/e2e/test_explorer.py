"""The explorer in a real browser: pages without errors, filters, drill-down, SQL, accessibility, light and dark.

Screenshots go to XLWH_SCREENSHOTS where that is set. Needs Playwright (a dev extra) and a Chromium of the system.
"""

from __future__ import annotations

import html
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from browser import CHROMIUM, why_not

if (REASON := why_not()) is not None:
    pytest.skip(REASON, allow_module_level=True)
from playwright import sync_api

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "overview": "/",
    "scores": "/paper/scores",
    "ccta": "/paper/ccta",
    "faithfulness": "/paper/faithfulness",
    "concepts": "/paper/concepts",
    "heads": "/paper/heads",
    "together": "/paper/together",
    "examples": "/examples",
    "concept-list": "/concepts",
    "tables": "/tables",
    "table": "/table/examples",
    "sql": "/sql?q=select%20model%2C%20language%2C%20value%20from%20task_scores",
}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    spec = importlib.util.spec_from_file_location(
        "explorer_data", ROOT / "tests" / "benchmarks" / "explorer_data.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.build(tmp_path_factory.mktemp("explore") / "warehouse")


@pytest.fixture(scope="module")
def address(warehouse, tmp_path_factory):
    """A running `xlwh explore`; it must end cleanly on Ctrl-C."""
    log = tmp_path_factory.mktemp("log") / "explore.log"
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-u",
                "-c",
                program,
                "explore",
                "--port",
                "0",
                "--warehouse",
                str(warehouse.root),
            ],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 60
            while "http://" not in log.read_text() and time.monotonic() < deadline:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            found = log.read_text().split()[0]
            while True:
                try:
                    urllib.request.urlopen(found, timeout=10).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=30)
    assert code in (0, 130), log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser, request):
    """A page that may not complain; `scheme` by indirect parameter."""
    scheme = getattr(request, "param", "light")
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    complaints = []
    opened.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    # ERR_ABORTED is the browser's own giving up: of what a page left behind still loads, or of a
    # navigation that becomes a download. What a server does wrong has other names.
    opened.on(
        "requestfailed",
        lambda r: None if r.failure == "net::ERR_ABORTED" else complaints.append(f"{r.url}: {r.failure}"),
    )
    yield opened
    context.close()
    assert complaints == []


def _settled(page):
    # No wait_for_function: it evaluates texts, which the page's policy refuses.
    page.wait_for_timeout(30)
    page.wait_for_selector("[aria-busy=true]", state="detached")


def _kept(page, name):
    folder = os.environ.get("XLWH_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def _axe(page):
    """Serious and critical findings of axe; the test skips where it is not installed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    # The page's own policy refuses foreign scripts; the test's goes in past it.
    results = axe.Axe().run(page).response
    return [
        (found["id"], [node["html"][:200] for node in found["nodes"]][:3])
        for found in results["violations"]
        if found["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True, ids=["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_pages_load_and_are_accessible(page, address, name, request):
    page.goto(address + PAGES[name])
    _settled(page)
    assert page.locator("h1").count() == 1
    _kept(page, f"{name}-{request.node.callspec.params['page']}")
    assert _axe(page) == []


def test_a_filter_changes_its_figure_and_no_other(page, address):
    page.goto(f"{address}/paper/ccta")
    _settled(page)
    figures = page.locator("section[data-figure]")
    before = [figures.nth(i).locator("svg").inner_html() for i in range(figures.count())]
    assert len(before) == 5
    page.locator("section[data-figure=ccta_excess] select[name=model]").select_option("beta")
    _settled(page)
    after = [figures.nth(i).locator("svg").inner_html() for i in range(figures.count())]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, False, False, False]
    # The swapped part has filters that work too.
    page.locator("section[data-figure=ccta_excess] select[name=model]").select_option("alpha")
    _settled(page)
    page.wait_for_timeout(50)
    assert figures.nth(1).locator("svg").inner_html() == before[1]


def test_from_the_matrix_to_one_example(page, address):
    page.goto(f"{address}/paper/ccta")
    _settled(page)
    cell = page.locator("[data-drill*='target=ar']").first
    cell.hover()
    assert "ar" in page.locator("#tip").inner_text()
    cell.click()
    page.wait_for_url("**/examples?**")
    assert page.locator("select[name=target_language]").input_value() == "ar"
    page.locator("tbody a").first.click()
    page.wait_for_url("**/example?**")
    stored, drawn = page.locator(".card b").nth(0).inner_text(), page.locator(".card b").nth(1).inner_text()
    assert stored == drawn
    ribbons = page.locator(".ribbon")
    assert ribbons.count() > 5
    page.locator("g.word[data-node=s0]").hover()
    assert 0 < page.locator(".ribbon.dim").count() < ribbons.count()
    assert page.locator(".sentence .words").nth(1).evaluate("e => getComputedStyle(e).direction") == "rtl"
    _kept(page, "example")
    assert _axe(page) == []


def test_from_the_heat_maps_to_what_one_head_attends_to(page, address):
    page.goto(f"{address}/paper/heads")
    _settled(page)
    cell = page.locator("section[data-figure=head_values] [data-drill*='layer=1&head=1']").first
    cell.click()
    page.wait_for_url("**/head?**")
    assert page.locator("h1").inner_text() == "Layer 1, head 1"
    drawing = page.locator("section.figure", has_text="What it attends to").locator("svg")
    before = drawing.inner_html()
    assert "<script>document" not in before
    drawing.locator("g.mark").first.hover()
    assert "→" in page.locator("#tip").inner_text()
    page.locator("select[name=example_id]").select_option("000001")
    _settled(page)
    assert "example_id=000001" in page.url
    assert drawing.inner_html() != before
    _kept(page, "head")
    assert _axe(page) == []


def test_hostile_text_is_shown_as_text(page, address):
    page.goto(f"{address}/examples?text=000000")
    page.locator("tbody a").first.click()
    page.wait_for_url("**/example?**")
    assert "<script>document.title='pwned'</script>" in page.locator(".sentence .words").first.inner_text()
    page.goto(f"{address}/sql?q=" + "select%20text%20from%20examples%20where%20example_id%3D'000000'")
    _settled(page)
    assert "<img src=x onerror" in page.locator("#result").inner_text()
    assert "pwned" not in page.title()
    assert page.locator("main img").count() == 0


def test_sql_completes_runs_and_is_downloaded(page, address):
    page.goto(f"{address}/sql")
    area = page.locator("#sql")
    area.fill("")
    area.press_sequentially("select mod")
    area.press("Escape")
    area.press_sequentially("el from task_sc")
    assert page.locator("#complete li").first.inner_text().startswith("task_scores")
    assert _axe(page) == []
    area.press("Enter")
    assert area.input_value() == "select model from task_scores"
    area.press("Control+Enter")
    page.wait_for_selector("#result table")
    assert page.locator("#result tbody tr").count() > 10
    with page.expect_download() as download:
        page.locator("[data-format=csv]").click()
    header, *models = Path(download.value.path()).read_text().splitlines()
    assert (header, set(models)) == ("model", {"alpha", "beta"})
    area.fill("drop table ccta")
    area.press("Control+Enter")
    page.wait_for_selector("#result .error")


def test_theme_and_tables(page, address):
    page.goto(f"{address}/paper/scores")
    _settled(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert light != dark
    page.goto(f"{address}/tables")
    assert page.evaluate(ground) == dark
    page.goto(f"{address}/table/task_scores")
    _settled(page)
    page.wait_for_selector("[data-load] tbody tr")
    head = page.locator("[data-load] th", has_text="value").locator("button").first
    head.click()
    at = page.locator("[data-load] th").evaluate_all("hs => hs.findIndex(h => h.textContent === 'value')")
    values = page.locator("[data-load] tbody tr").evaluate_all(
        f"rs => rs.map(r => parseFloat(r.cells[{at}].textContent))"
    )
    assert values == sorted(values, reverse=True)


def test_the_report_opens_from_disk(page, warehouse, tmp_path):
    from xlwh.report.static_report import write_report

    write_report(warehouse, tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("svg.chart").count() >= 8
    page.locator("#theme").click()
    assert page.locator("th button").count() > 10
    _kept(page, "report")
    assert _axe(page) == []


def _boxes(pdf):
    """Words of a PDF with their boxes, by page: (left, top, right, bottom, text)."""
    out = subprocess.run(["pdftotext", "-bbox", pdf, "-"], check=True, capture_output=True, text=True).stdout
    word = re.compile(r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>')
    return [
        [(*map(float, found[:4]), html.unescape(found[4])) for found in word.findall(part)]
        for part in out.split("<page ")[1:]
    ]


def _covered(words):
    """Pairs of words that are printed over one another."""
    found = []
    words = sorted(words, key=lambda word: word[1])
    for number, (left, top, right, bottom, text) in enumerate(words):
        for other in words[number + 1 :]:
            if other[1] >= bottom:
                break
            wide = min(right, other[2]) - max(left, other[0])
            high = min(bottom, other[3]) - max(top, other[1])
            if wide > 0.3 * min(right - left, other[2] - other[0]) and high > 0.4 * (bottom - top):
                found.append((text, other[4]))
    return found


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler's pdftotext is not installed")
def test_the_printed_report_has_every_row(page, warehouse, tmp_path):
    """The last row of every table is on paper, and nothing is printed over it."""
    from xlwh.report.static_report import write_report

    write_report(warehouse, tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    tables = page.locator("table").evaluate_all(
        "ts => ts.map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))"
    )
    page.emulate_media(media="print")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    pages = _boxes(tmp_path / "report.pdf")
    said = re.sub(r"\s", "", "".join(word[4] for words in pages for word in words))
    assert len(tables) > 8
    for rows in tables:
        for row in rows[1:]:
            longest = max((re.sub(r"\s", "", cell) for cell in row), key=len)
            assert longest[:12] in said
    assert [pair for words in pages for pair in _covered(words)] == []
    # A4 is 595 points wide: a column beyond that is lost.
    assert [word for words in pages for word in words if word[0] < 0 or word[2] > 595] == []
