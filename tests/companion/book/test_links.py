"""Pages of a built book lead to places that exist, and no two have one title."""

import collections
import functools
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import bs4
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def html(request):
    """The smoke book, or the one that PKD_BOOK names."""
    if "PKD_BOOK" not in os.environ:
        return request.getfixturevalue("smoke_book")
    return Path(os.environ["PKD_BOOK"]).resolve()


@functools.cache
def parsed(page: Path) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(page: Path) -> set[str]:
    named = parsed(page).find_all(attrs={"id": True}), parsed(page).find_all("a", attrs={"name": True})
    return {tag["id"] for tag in named[0]} | {tag["name"] for tag in named[1]}


def pages(html: Path) -> list[Path]:
    return sorted([*html.glob("book/**/*.html"), *html.glob("notebooks/*.html")])


def broken(page: Path) -> list[str]:
    """The links of a page to pages of the book, or places in them, that are not there."""
    found = []
    for tag in parsed(page).find_all("a", href=True):
        link = urlsplit(tag["href"])
        if link.scheme or link.netloc:
            continue
        target = (page.parent / unquote(link.path)).resolve() if link.path else page
        whole = target.is_file()
        if not whole or (link.fragment and target.suffix == ".html" and unquote(link.fragment) not in anchors(target)):
            found.append(tag["href"])
    return sorted(set(found) - {"#"})


def test_every_link_within_the_book_leads_somewhere(html):
    assert len(pages(html)) > 20
    assert {page.name: found for page in pages(html) if (found := broken(page))} == {}


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<h1 id="a">A</h1><a href="#a">1</a><a href="#b">2</a><a href="gone.html">3</a>', encoding="utf-8")
    assert broken(page) == ["#b", "gone.html"]


def test_no_two_pages_have_one_title(html):
    titles = collections.Counter(parsed(page).find("h1").get_text().rstrip("#¶ ") for page in pages(html))
    assert [title for title, count in titles.items() if count > 1] == []
