"""Open every page of a built book in Chromium with the network off: the smoke book, or the one that PKD_BOOK names."""

import os
import re
import shutil
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Colour of a chart's text and of the page behind it, as the browser computed them.
COLOURS = """(chart) => [
  getComputedStyle(chart.querySelector('svg text')).fill,
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
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    """A page that records in `page.troubles` whatever went wrong, with all but local files out of reach."""
    context = browser.new_context(color_scheme=request.param, offline=True)
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
    return sorted([*html.glob("book/*.html"), *html.glob("notebooks/*.html")])


@pytest.mark.slow
def test_every_page_works_offline(html, page):
    pages = _pages(html)
    assert pages
    charts = formulas = 0
    for path in pages:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        charts += _check_charts(page, path.name)
        formulas += _check_formulas(page, path.name)
        assert page.locator(".system-message, .cell_output .stderr, .cell_output .traceback").count() == 0, path.name
        assert page.troubles == [], path.name
    assert charts and formulas


def _check_charts(page, name):
    charts = page.locator(".pkd-chart").all()
    for chart in charts:
        chart.scroll_into_view_if_needed()
        chart.and_(page.locator("[data-state=interactive]")).wait_for(timeout=20_000)
        box = chart.locator("svg").bounding_box()
        assert box["width"] > 100 and box["height"] > 40, name
        assert chart.locator("svg").get_attribute("role") == "img", name
        assert chart.locator("svg").get_attribute("aria-label"), name
        ink, paper = chart.evaluate(COLOURS)
        assert _contrast(ink, paper) >= 4.5, name
        assert chart.evaluate(PANELS) == [], name
    return len(charts)


def _check_formulas(page, name):
    formulas = page.locator("span.math, div.math")
    count = formulas.count()
    if count:
        page.wait_for_function("() => window.MathJax?.startup?.promise")
        page.evaluate("() => MathJax.startup.promise")
    for formula in formulas.all():
        assert formula.locator("mjx-container svg").count() >= 1, (name, formula.inner_text())
    assert page.locator("[data-mjx-error], mjx-merror").count() == 0, name
    return count


@pytest.mark.slow
def test_charts_are_there_without_scripts(html, browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    seen = 0
    for path in html.glob("notebooks/*.html"):
        page.goto(path.as_uri())
        for svg in page.locator(".pkd-chart svg").all():
            assert svg.bounding_box()["height"] > 40, path.name
            seen += 1
    context.close()
    assert seen


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(html, browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, offline=True)
    page = context.new_page()
    wide = {}
    for path in _pages(html):
        page.goto(path.as_uri())
        width = page.evaluate("() => document.documentElement.scrollWidth")
        if width > 391:
            wide[path.name] = width
    context.close()
    assert wide == {}
