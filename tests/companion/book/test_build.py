import re
import shutil
from pathlib import Path

import altair as alt
import nbformat
import pandas as pd
import pytest
import yaml

from pkdlib import _resources
from pkdlib.companion.book import build, charts, staging

REPOSITORY = Path(__file__).resolve().parents[3]
CONTENTS = """
format: jb-book
root: book/intro
parts:
  - caption: Part
    chapters:
      - file: notebooks/01_first
"""


def _notebook(text):
    """An executed notebook with one chart."""
    chart = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x:Q")
    output = nbformat.v4.new_output(
        "execute_result", data=charts.show(chart, "Points.")._repr_mimebundle_(), execution_count=1
    )
    cells = [
        nbformat.v4.new_markdown_cell(f"# First\n\n{text}"),
        nbformat.v4.new_code_cell("chart", outputs=[output], execution_count=1),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}))


@pytest.fixture
def root(tmp_path):
    """A checkout with the real settings and style, one page of prose and one notebook."""
    shutil.copy(REPOSITORY / "_config.yml", tmp_path)
    shutil.copytree(REPOSITORY / "book" / "_static", tmp_path / "book" / "_static")
    (tmp_path / "_toc.yml").write_text(CONTENTS, encoding="utf-8")
    (tmp_path / "book" / "intro.md").write_text(
        "# Intro\n\nIt holds in {{ share }}: $a^2$ {cite:p}`one`.\n", encoding="utf-8"
    )
    (tmp_path / "book" / "references.bib").write_text(
        "@article{one, author={Ada Author}, title={T}, journal={J}, year={2020}}\n", encoding="utf-8"
    )
    with (tmp_path / "book" / "intro.md").open("a", encoding="utf-8") as page:
        page.write("\n```{bibliography}\n```\n")
    executed = tmp_path / "_build" / "executed" / "notebooks" / "01_first.ipynb"
    executed.parent.mkdir(parents=True)
    executed.write_text(_notebook(f"See [the beginning]({_resources.book_url()}/book/intro.html)."), encoding="utf-8")
    return tmp_path


def test_the_table_of_contents_leads_to_pages_that_exist():
    listed = staging.pages(REPOSITORY / "_toc.yml")
    assert len(set(listed)) == len(listed)
    missing = [page for page in listed if not (REPOSITORY / f"{page}.md").is_file()]
    assert not missing


def test_every_notebook_page_is_committed_where_its_buttons_lead():
    notebooks = [page for page in staging.pages(REPOSITORY / "_toc.yml") if page.startswith("notebooks/")]
    assert notebooks
    assert not [page for page in notebooks if not (REPOSITORY / f"{page}.ipynb").is_file()]


def test_staging_mirrors_the_repository(root):
    staged = staging.stage(root=root, substitutions={"share": "12.5 %"})
    assert staged == root / "_build" / "book"
    page = nbformat.read(staged / "notebooks" / "01_first.ipynb", as_version=4)
    executed = nbformat.read(root / "_build" / "executed" / "notebooks" / "01_first.ipynb", as_version=4)
    (drawn,), (still,) = page.cells[1].outputs, executed.cells[1].outputs
    assert "<svg " in drawn.data["text/html"] and "<svg " not in still.data["text/html"]
    still.data["text/html"] = drawn.data["text/html"]
    executed.cells[0].source = "# First\n\nSee [the beginning](../book/intro.md)."
    assert page == executed
    assert (staged / "book" / "intro.md").read_bytes() == (root / "book" / "intro.md").read_bytes()
    configuration = yaml.safe_load((staged / "_config.yml").read_text(encoding="utf-8"))
    assert configuration["repository"]["url"] == _resources.repository_url()
    assert configuration["parse"]["myst_substitutions"] == {"share": "12.5 %"}
    # Jupyter Book would load each script of such a folder on every page.
    assert not (staged / "_static").exists()


def test_the_chart_script_is_one_function_without_addresses_to_load_from(root):
    script = (staging.stage(root=root) / "_assets" / "vega-bundle.js").read_text(encoding="utf-8")
    body = script.split("\n", 1)[1].strip()
    assert body.startswith("(() => {") and body.endswith("})();")
    assert not re.search(r"\bimport\s*\(|^\s*import\s|^\s*export\s", body, re.MULTILINE)


def test_staging_again_touches_only_what_changed(root):
    staged = staging.stage(root=root)
    (staged / "notebooks" / "old.ipynb").write_text("{}", encoding="utf-8")
    times = {path: path.stat().st_mtime_ns for path in staged.rglob("*") if path.is_file()}
    (root / "book" / "intro.md").write_text("# Intro\n\nNew.\n", encoding="utf-8")
    staging.stage(root=root)
    after = {path: path.stat().st_mtime_ns for path in staged.rglob("*") if path.is_file()}
    changed = {path.relative_to(staged).as_posix() for path in times if times[path] != after.get(path)}
    assert changed == {"book/intro.md", "notebooks/old.ipynb"}
    assert staged / "notebooks" / "old.ipynb" not in after


def test_a_notebook_that_was_not_executed_is_named_with_the_remedy(root):
    (root / "_build" / "executed" / "notebooks" / "01_first.ipynb").unlink()
    with pytest.raises(build.BookError, match=r"01_first.ipynb is missing: .*pkd reproduce"):
        staging.stage(root=root)


def test_a_listed_page_that_is_missing_is_named(root):
    (root / "book" / "intro.md").unlink()
    with pytest.raises(build.BookError, match=r"there is no book/intro.md"):
        staging.stage(root=root)


def test_another_mathjax_than_the_known_one_is_refused(root, monkeypatch):
    monkeypatch.setattr(staging, "_MATHJAX_SHA256", "0" * 64)
    with pytest.raises(build.BookError, match=r"MathJax 3\.2\.2"):
        staging.stage(root=root)


def test_missing_mathjax_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr(staging, "_MATHJAX", ("no-such-distribution", "mathjax.js"))
    with pytest.raises(build.BookError, match=r"install pkdlib\[book\]"):
        staging.stage(root=root)


@pytest.mark.slow
def test_a_warning_fails_the_build_until_it_is_mended_and_the_pages_load_nothing_from_outside(root):
    source = root / "book" / "intro.md"
    good = source.read_text(encoding="utf-8")
    source.write_text(good + "\nSee {doc}`nowhere`.\n", encoding="utf-8")
    staging.stage(root=root, substitutions={"share": "12.5 %"})
    for _ in range(2):
        with pytest.raises(build.BookError, match="warnings"):
            build.build(root)
    source.write_text(good, encoding="utf-8")
    staging.stage(root=root, substitutions={"share": "12.5 %"})
    index = build.build(root)
    assert index == root / "_build" / "html" / "index.html"
    assert "book/intro.html" in index.read_text(encoding="utf-8")
    page = (root / "_build" / "html" / "notebooks" / "01_first.html").read_text(encoding="utf-8")
    address = _resources.repository_url().removeprefix("https://github.com/")
    binder = f"https://mybinder.org/v2/gh/{address}/main?urlpath=lab/tree/notebooks/01_first.ipynb"
    colab = f"https://colab.research.google.com/github/{address}/blob/main/notebooks/01_first.ipynb"
    assert binder in page and colab in page
    assert 'href="../book/intro.html"><span class="std std-doc">the beginning' in page
    assert "thebe-button" not in page and "initThebe" not in page

    prose = (root / "_build" / "html" / "book" / "intro.html").read_text(encoding="utf-8")
    assert "12.5 %" in prose
    assert "mybinder.org" not in prose and "colab.research" not in prose
    for text in (page, prose):
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link\b(?=[^>]*rel=\"stylesheet\")[^>]*href=\"([^\"]+)\"", text)
        assert loaded
        assert not [source for source in loaded if re.match(r"(https?:)?//", source)]


@pytest.mark.slow
def test_the_book_is_printed_as_one_pdf(root):
    if not any(map(shutil.which, build.BROWSERS)):
        pytest.skip(f"no browser: none of {', '.join(build.BROWSERS)} is installed")
    staging.stage(root=root, substitutions={"share": "12.5 %"})
    pdf = build.print_pdf(root).read_bytes()
    assert pdf.startswith(b"%PDF-") and len(re.findall(rb"/Type /Page\b", pdf)) >= 2
    assert b"/Outlines" in pdf


def test_a_book_that_is_not_staged_says_what_to_do(tmp_path):
    with pytest.raises(build.BookError, match="book is missing: build the book first, `pkd book`"):
        build.build(tmp_path)


def test_a_pdf_without_a_browser_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(build.BookError, match="install Chromium"):
        build.print_pdf(root)
