"""Open every page of a built book in Chromium with the network off: the smoke book, or the one that PKD_BOOK names.

Each page is loaded at the width of a phone and of a desk, and looked at in the light and the dark theme.
"""

import contextlib
import dataclasses
import importlib.util
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright import sync_api

from pkdlib.companion import results
from pkdlib.companion.book import build
from pkdlib.companion.experiments import recording
from pkdlib.ensemble import wise
from tests.extent import NIGHTLY

WIDTHS = {"phone": 390, "desk": 1400}
SMALLEST_TEXT = 11  # pixels
PLAYABLE = ("01_compressed_domain", "04_early_exits", "06_wise", "07_leaving_early")
FIRST_VIEW = 1_000_000  # bytes of a page itself, without the chart library and MathJax, which all pages share
# Colours of a chart's texts and of the page behind it, as the browser computed them.
COLOURS = """(chart) => [
  [...new Set([...chart.querySelectorAll('svg text')].map((text) => getComputedStyle(text).fill))],
  getComputedStyle(document.body).backgroundColor,
]"""
# What lies behind a chart, from the inside out, up to the page: nothing may be painted there.
PANELS = """(chart) => {
  const painted = [];
  for (let node = chart; node !== document.body; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (colour !== 'rgba(0, 0, 0, 0)' && colour !== getComputedStyle(document.body).backgroundColor)
      painted.push(node.className + ': ' + colour);
  }
  return painted;
}"""
# Text of a chart that is shortened, sticks out of the picture or is small; a picture that is wider than its box.
UNREADABLE = """([chart, smallest]) => {
  const svg = chart.querySelector('svg'), frame = svg.getBoundingClientRect(), found = [];
  if (frame.width > chart.clientWidth + 1) found.push(`picture of ${frame.width} px in ${chart.clientWidth} px`);
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBoundingClientRect(), words = text.textContent;
    if (!box.width || getComputedStyle(text).opacity === '0') continue;
    if (words.includes('…')) found.push(`shortened: ${words}`);
    const [left, top] = [frame.left - box.left, frame.top - box.top];
    const [right, bottom] = [box.right - frame.right, box.bottom - frame.bottom];
    if (Math.max(left, top, right, bottom) > 1.5) found.push(`cut: ${words}`);
    const scale = frame.width / svg.width.baseVal.value;
    if (parseFloat(getComputedStyle(text).fontSize) * scale < smallest - 0.1) found.push(`small: ${words}`);
    if (/^[\\d.]+[a-zµ]$/i.test(words)) found.push(`number: ${words}`);
  }
  return found;
}"""
# A chart is one picture to whoever hears a page: axe judges its description, COLOURS and SYMBOLS what is in it.
AXE = """([included, rules]) => axe.run(
  { include: included, exclude: [['.pkd-chart svg > *']] },
  { resultTypes: ['violations'], preload: false, ...rules },
)"""
# The contrast of each text takes axe most of its time. Texts whose elements have the same classes up to the page's have
# the same colours: the first of each kind answers for all, but at night.
KINDS = """(all) => {
  const seen = new Set();
  for (const element of document.body.querySelectorAll('*')) {
    if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
    let kind = '';
    for (let node = element; node !== document.body; node = node.parentElement)
      kind += `${node.tagName}.${node.className} `;
    if (all || !seen.has(kind)) element.dataset.kind = '';
    seen.add(kind);
  }
}"""
STRUCTURE = {"rules": {"color-contrast": {"enabled": False}}}
CONTRAST = {"runOnly": ["color-contrast"]}
# Colours of what stands beside a legend's words.
SYMBOLS = """(chart) => [...chart.querySelectorAll('.mark-symbol.role-legend-symbol path')].map((symbol) => {
  const style = getComputedStyle(symbol);
  return style.fill.startsWith('rgb') && style.fill !== 'rgba(0, 0, 0, 0)' ? style.fill : style.stroke;
})"""
# Tables that are wider than their box, and cannot be seen to scroll.
HIDDEN_COLUMNS = """() => [...document.querySelectorAll('.bd-article table')].filter((table) => {
  let box = table.parentElement;
  if (!table.checkVisibility()) return false;
  const scrolls = (node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  while (box !== document.body && !scrolls(box)) box = box.parentElement;
  const wide = table.getBoundingClientRect().right > box.getBoundingClientRect().right + 2;
  return wide && box.scrollLeft === 0 && !(box.classList.contains('pkd-scrolls') && box.tabIndex === 0);
}).map((table) => table.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def html(browser, request):
    if "PKD_BOOK" not in os.environ:
        return request.getfixturevalue("smoke_book")
    folder = Path(os.environ["PKD_BOOK"]).resolve()
    if not (folder / "index.html").is_file():
        pytest.skip(f"no book at {folder}: build one first (`make book`)")
    return folder


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, build.BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(build.BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, which comes in a package and is loaded from there."""
    package = importlib.util.find_spec("axe_playwright_python")
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def page(browser):
    with _opened(browser, WIDTHS["desk"]) as page:
        yield page


@contextlib.contextmanager
def _opened(browser, width):
    """A page that records in `page.troubles` whatever went wrong, with all but local files out of reach."""
    # Colours change at once, so that none is judged on its way from one theme to the other.
    still = {"color_scheme": "light", "reduced_motion": "reduce"}
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **still)
    page = context.new_page()
    page.troubles = []
    page.on("console", lambda message: message.type == "error" and page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("requestfailed", lambda sent: page.troubles.append(f"{sent.url}: {sent.failure}"))
    page.on("request", lambda sent: _is_local(sent.url) or page.troubles.append(f"asked for {sent.url}"))
    yield page
    context.close()


def _is_local(address):
    return address.startswith(("file:", "data:", "blob:"))


def _contrast(one, other):
    """WCAG 2.1's contrast ratio of two colours written as CSS rgb()."""
    luminances = []
    for colour in (one, other):
        channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    low, high = sorted(luminances)
    return (high + 0.05) / (low + 0.05)


def _pages(html):
    """All pages with content of their own, not the redirect, the index and the search."""
    found = sorted([*html.glob("book/**/*.html"), *html.glob("notebooks/*.html")])
    assert found
    return found


def _open(page, path):
    """Open a page and bring all of its charts to life."""
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    page.evaluate("() => document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    charts = page.locator(".pkd-chart").filter(visible=True).all()
    for chart in charts:
        chart.scroll_into_view_if_needed()
        chart.and_(page.locator("[data-state=interactive]")).wait_for(timeout=30_000)
    return charts


@dataclasses.dataclass
class Visit:
    """What was seen of one page."""

    charts: int
    formulas: int
    faults: list[str]
    serious: dict[str, list[str]]  # of axe, by its rule
    moved: int
    stuck: list[str]


@pytest.fixture(scope="module")
def visits(html, browser, axe):
    """Look at every page once at each width; at a desk's also by axe, and moving every control."""
    seen = {}
    for place, width in WIDTHS.items():
        with _opened(browser, width) as page:
            for path in _pages(html):
                name = str(path.relative_to(html).with_suffix(""))
                seen[place, name] = _visit(page, path, axe if place == "desk" and _is_judged(name) else None)
    return seen


def _is_judged(name):
    # The pages of the API are made alike, and long: one answers for all, but at night.
    return NIGHTLY or not name.startswith("book/api/") or name == "book/api/ensemble"


def _visit(page, path, axe):
    charts = _open(page, path)
    faults, serious, stuck, moved = [], {}, [], 0
    if axe:
        page.evaluate(axe)
        page.evaluate(KINDS, NIGHTLY)
        serious |= _serious(page, "html", STRUCTURE, "either theme")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for number, chart in enumerate(charts):
            faults += [f"chart {number}, {scheme}: {fault}" for fault in _faults_of_colour(chart)]
        if axe:
            serious |= _serious(page, "[data-kind]", CONTRAST, scheme)
    page.emulate_media(color_scheme="light")
    for number, chart in enumerate(charts):
        drawn = chart.locator("svg").first
        if drawn.get_attribute("role") != "img" or not drawn.get_attribute("aria-label"):
            faults.append(f"chart {number}: not described")
        unreadable = page.evaluate(UNREADABLE, [chart.element_handle(), SMALLEST_TEXT])
        faults += [f"chart {number}: {fault}" for fault in unreadable]
    width = page.evaluate("() => document.documentElement.scrollWidth")
    faults += [f"page of {width} px"] if width > page.viewport_size["width"] + 1 else []
    faults += [f"hidden column: {' '.join(table.split())}" for table in page.evaluate(HIDDEN_COLUMNS)]
    if page.locator(".system-message, .cell_output .stderr, .cell_output .traceback").count():
        faults.append("a cell went wrong")
    formulas, untold = _formulas(page)
    for chart in charts if axe else ():
        for control in chart.locator(".pkd-binds :is(input, select)").all():
            moved += 1
            if not _moves(page, chart, control):
                stuck.append(control.evaluate("(element) => element.labels[0]?.textContent ?? element.name"))
    faults += untold + page.troubles
    page.troubles.clear()
    return Visit(len(charts), formulas, faults, serious, moved, stuck)


def _serious(page, included, rules, scheme):
    violations = page.evaluate(AXE, [[[included]], rules])["violations"]
    found = [fault for fault in violations if fault["impact"] in ("serious", "critical")]
    return {f"{fault['id']}, {scheme}": [node["html"][:160] for node in fault["nodes"]][:3] for fault in found}


def _moves(page, chart, control):
    before = chart.locator("svg").first.inner_html()
    _move(control)
    try:
        page.wait_for_function(
            "([chart, before]) => chart.querySelector('svg').innerHTML !== before",
            arg=[chart.element_handle(), before],
            timeout=10_000,
        )
    except sync_api.TimeoutError:
        return False
    if control.get_attribute("type") == "checkbox":
        control.press("Space")  # switched off it would hide what the next controls change
    return True


def _move(control):
    """By keys alone, as a reader without a mouse does it; a menu goes to its last choice."""
    control.focus()
    if control.evaluate("(element) => element.tagName") == "SELECT":
        control.press("End")
    elif control.get_attribute("type") == "checkbox":
        control.press("Space")
    else:
        lowest = control.evaluate("(element) => element.value === element.min")
        control.press("ArrowRight" if lowest else "ArrowLeft")


@pytest.mark.slow
def test_every_page_can_be_read_at_either_width_and_theme(visits):
    assert {page: visit.faults for page, visit in visits.items() if visit.faults} == {}
    assert sum(visit.charts for visit in visits.values()) and sum(visit.formulas for visit in visits.values())


@pytest.mark.slow
def test_axe_finds_nothing_serious_in_either_theme(visits):
    assert {page: visit.serious for page, visit in visits.items() if visit.serious} == {}


@pytest.mark.slow
def test_every_control_moves_its_picture_by_keys(visits):
    assert {page: visit.stuck for page, visit in visits.items() if visit.stuck} == {}
    playable = {page for place, page in visits if visits[place, page].moved}
    assert {f"notebooks/{name}" for name in PLAYABLE} <= playable


def _faults_of_colour(chart):
    inks, paper = chart.evaluate(COLOURS)
    faults = [f"text of {ink} on {paper}" for ink in inks if _contrast(ink, paper) < 4.5]
    faults += [f"legend of {colour} on {paper}" for colour in chart.evaluate(SYMBOLS) if _contrast(colour, paper) < 3]
    return faults + [f"painted: {panel}" for panel in chart.evaluate(PANELS)]


def _formulas(page):
    formulas = page.locator("span.math, div.math")
    count = formulas.count()
    if count:
        page.wait_for_function("() => window.MathJax?.startup?.promise")
        page.evaluate("() => MathJax.startup.promise")
    unset = [own.inner_text() for own in formulas.all() if not own.locator("mjx-container svg").count()]
    return count, [f"formula: {text}" for text in unset] + ["mathjax"] * page.locator(
        "[data-mjx-error], mjx-merror"
    ).count()


@pytest.mark.slow
def test_charts_are_there_without_scripts(html, browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    seen = builders = 0
    for path in html.glob("notebooks/*.html"):
        page.goto(path.as_uri())
        for svg in page.locator(".pkd-chart svg").all():
            assert svg.bounding_box()["height"] > 40, path.name
            seen += 1
        builders += page.locator(".pkd-schedules .pkd-chart svg[aria-label]").count()
    context.close()
    assert seen and builders


def _play(page, html, stem, number):
    """Open a page and give its chart of so many controls."""
    (path,) = html.glob(f"notebooks/{stem}.html")
    charts = _open(page, path)
    return next(own for own in charts if own.locator(".pkd-binds :is(input, select)").count() == number)


def _said(chart, pattern):
    return re.search(pattern, chart.locator("svg").first.text_content())


@pytest.mark.slow
def test_the_cascade_says_what_the_table_says(html, page):
    chart = _play(page, html, "07_leaving_early", 3)
    table = results.published("full-lite", "ucf101-25")["early_exit"]
    run = table[(table["split"] == 0) & (table["seed"] == 0) & (table["kind"] == "light") & (table["method"] == "ce")]
    rows = run[(run["order"] == "residual motion iframe") & (run["rule"] == "wise") & (run["setting"] == 0.9)]
    for choice, criterion in (("the most likely class", "max_softmax"), ("its lead over the second", "margin")):
        chart.locator("select").last.select_option(choice)
        page.wait_for_timeout(500)
        own = rows[rows["criterion"] == criterion]
        accuracy, gmac = (np.average(own[name], weights=own["clips"]) for name in ("accuracy", "gmac"))
        found = _said(chart, r"([\d.]+) % for ([\d.]+) GMAC")
        # Logits are rounded to a 128th, which may turn one clip of 346.
        assert float(found[1]) == pytest.approx(100 * accuracy, abs=0.35)
        assert float(found[2]) == pytest.approx(gmac, rel=0.01)


@pytest.mark.slow
def test_the_weights_give_what_the_table_says(html, page):
    chart = _play(page, html, "06_wise", 17)
    table = results.published("full-lite", "ucf101-25")["ensembles"]
    rows = table[(table["split"] == 0) & (table["seed"] == 0) & (table["part"] == "test") & (table["prefix"] == 12)]
    for choice, rule in (("learned (WISE)", "wise"), ("equal", "uniform")):
        chart.locator("select").select_option(choice)
        page.wait_for_timeout(500)
        own = rows[(rows["kind"] == "light") & (rows["method"] == "pkd") & (rows["rule"] == rule)]
        accuracy = 100 * own["correct"].sum() / own["clips"].sum()
        assert float(_said(chart, r"([\d.]+) %")[1]) == pytest.approx(accuracy, abs=0.35)
    # By hand: the I-frame network's own end alone.
    recorded = recording.load(recording.committed()["ucf101-25"])
    order = ("residual", "motion", "iframe")
    ends = np.rint(16 * recorded.stacked("test", "pkd", order))[:, wise.visiting_order(order).index("iframe-4")]
    chart.locator("select").select_option("the three ends alone")
    for name in ("residual", "motion vectors"):
        chart.get_by_label(name, exact=True).press("Space")
    page.wait_for_timeout(500)
    alone = 100 * (ends.argmax(axis=1) == recorded.labels("test")).mean()
    assert float(_said(chart, r"([\d.]+) %")[1]) == pytest.approx(alone, abs=0.35)


@pytest.mark.slow
def test_the_scrubber_shows_the_frame_that_it_names(html, page):
    chart = _play(page, html, "01_compressed_domain", 5)
    rows = chart.evaluate(
        "(chart) => Object.values(JSON.parse(chart.querySelector('script').textContent).datasets).flat()"
    )
    told = {(row["since"], row["position"], row["modality"]): row["told"] for row in rows}
    last = max(row["position"] for row in rows)
    for since in ("the I-frame", "the frame before"):
        chart.locator("select").select_option(since)
        for key, position in (("Home", 0), ("End", last), ("ArrowLeft", last - 1)):
            chart.get_by_label("frame of the GOP").press(key)
            page.wait_for_timeout(500)
            shown = chart.locator("svg").first.text_content()
            for modality in ("motion", "residual"):
                assert told[since, position, modality] in shown, (since, position)


SCHEDULES = {
    "pkd": [],
    "ce": ["labels"],
    "motion_only": ["motion"],
    "anti": ["iframe", "residual", "motion"],
}


@pytest.mark.slow
def test_the_schedule_builder_trains_what_the_library_trains(html, page):
    place = recording.committed()["ucf101-25"]
    counts = pd.read_csv(place / recording.ACCURACY)
    counts["accuracy"] = 100 * counts["correct"] / counts["clips"]
    (path,) = html.glob("notebooks/05_teachers.html")
    page.goto(path.as_uri())
    builder = page.locator(".pkd-schedules")
    means = {}
    for method, teachers in SCHEDULES.items():
        for number, teacher in enumerate(teachers):
            builder.locator("select").nth(number).select_option(teacher)
        if len(teachers) == 1:  # to the last epoch
            builder.locator("input[type=range]").first.press("End")
        elif teachers:  # the paper's shares of the epochs
            for slider in builder.locator("input[type=range]").all()[:2]:
                slider.press("Home")
                slider.press("ArrowRight")
                slider.press("ArrowRight")
        builder.get_by_role("button").press("Enter")
        page.wait_for_function("() => document.querySelector('.pkd-schedules').dataset.state === 'trained'")
        found = builder.locator("td[data-value^=yours]").evaluate_all(
            "(cells) => Object.fromEntries(cells.map((cell) => [cell.dataset.value, parseFloat(cell.textContent)]))"
        )
        own = counts[counts["method"] == method]
        assert len(found) == len(own) == 9
        for row in own.itertuples():
            assert found[f"yours/{row.modality}/{row.exit}"] == pytest.approx(row.accuracy, abs=1), method
        means[method] = np.mean(list(found.values()))
        builder.evaluate("(builder) => { builder.dataset.state = 'changed'; }")
    library = counts[counts["method"].isin(SCHEDULES)].groupby("method")["accuracy"].mean()
    assert sorted(means, key=means.get) == list(library.sort_values().index)
    assert page.troubles == []


@pytest.mark.slow
def test_the_first_view_of_a_page_is_light(html):
    heavy = {path.name: path.stat().st_size for path in _pages(html) if path.stat().st_size > FIRST_VIEW}
    assert heavy == {}
