"""Bring together what the Jupyter Book is built from: pages, executed notebooks, and scripts that work offline.

The staging folder `_build/book` mirrors the repository, so that a page's Binder and Colab buttons, which the
theme makes from the page's own path, lead to the committed notebook of the same path. Files are written only
where their content changed, so that a second build redoes only what did.
"""

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
import vl_convert
import yaml

from pkdlib import _resources
from pkdlib.companion.book import display, effects, numbers, schedule_builder
from pkdlib.companion.book.build import EXECUTED, STAGING, BookError, checkout
from pkdlib.companion.book.page_tables import collected
from pkdlib.companion.experiments import recording

# MathJax 3.2.2's `es5/tex-svg-full.js`, the same bytes as in its npm release: one file that needs no fonts
# and loads nothing further. This distribution carries it.
_MATHJAX = ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js")
_MATHJAX_SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"
# The bundle stays inside one function, so that its names cannot clash with other scripts of a page.
_VEGA_SNIPPET = "window.pkdVega = { embed: vegaEmbed };"


def stage(*, substitutions: Mapping[str, object] | None = None, root: Path | None = None) -> Path:
    """Bring together in the staging folder all that the book is built from.

    Args:
        substitutions: Numbers and tables for the pages, which write them as `{{ name }}`.
        root: The checkout; by default the one that the current working directory lies in.

    Returns:
        The staging folder.

    Raises:
        BookError: If a page of the table of contents is missing, an executed notebook first of all.
    """
    root = root or checkout()
    files = {Path("_toc.yml"): (root / "_toc.yml").read_bytes()}
    files[Path("_config.yml")] = _configuration(root / "_config.yml", substitutions or {})
    for path in sorted((root / "book").rglob("*")):
        if path.is_file():
            files[path.relative_to(root)] = path.read_bytes()
    for page in pages(root / "_toc.yml"):
        if page.startswith("notebooks/"):
            files[Path(f"{page}.ipynb")] = _executed(root, page)
        elif Path(f"{page}.md") not in files:
            raise BookError(f"_toc.yml names the page {page}, but there is no {page}.md")
    files[Path("_assets/vega-bundle.js")] = _vega_bundle(root / STAGING / "_assets/vega-bundle.js")
    for name, place in recording.committed().items():
        files[Path(f"_assets/recording-{name}.js")] = schedule_builder.script(name, recording.load(place)).encode()
    files[Path("_assets/mathjax/tex-svg-full.js")] = _mathjax()
    _mirror(files, root / STAGING)
    return root / STAGING


def collect() -> dict[str, str]:
    """Give all that the pages in `book/` take from the committed results: numbers, effects, tables and a picture.

    Returns:
        Name -> text or Markdown, the `substitutions` of `stage`.
    """
    found = {**numbers.collect(), **effects.collect(), **collected.collect()}
    return {**found, "effects_picture": effects.picture()}


def pages(contents: Path) -> list[str]:
    """List the pages of a table of contents.

    Args:
        contents: A `_toc.yml` of the format jb-book.

    Returns:
        The pages in reading order, each its path without ending.
    """
    table = yaml.safe_load(contents.read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in table["parts"] for chapter in part["chapters"]]
    return [table["root"], *chapters]


def _configuration(path: Path, substitutions: Mapping[str, object]) -> bytes:
    """Return the committed configuration with the repository's address, and what the pages take, filled in."""
    configuration = yaml.safe_load(path.read_text(encoding="utf-8"))
    configuration["repository"]["url"] = _resources.repository_url()
    configuration["parse"]["myst_substitutions"] = dict(substitutions)
    return yaml.safe_dump(configuration, allow_unicode=True, sort_keys=False).encode()


def _executed(root: Path, page: str) -> bytes:
    path = root / EXECUTED / f"{page}.ipynb"
    if not path.is_file():
        raise BookError(f"{path} is missing: execute the notebooks first, `pkd reproduce --profile quick`")
    notebook = nbformat.read(path, as_version=4)
    published = re.compile(rf"{re.escape(_resources.book_url())}/(book|notebooks)/(\w+)\.html")
    endings = {"book": "md", "notebooks": "ipynb"}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # within the book a link leads to the page beside this one
            cell.source = published.sub(lambda link: f"../{link[1]}/{link[2]}.{endings[link[1]]}", cell.source)
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", ()):
                output.data["text/html"] = display.inline(output.data["text/html"])
    return nbformat.writes(notebook).encode()


def _vega_bundle(staged: Path) -> bytes:
    """Return Vega, Vega-Lite and Vega-Embed as one script; a staged one of the same versions is kept."""
    version = display.vegalite_version()
    stamp = f"/* Vega-Lite {version}, bundled by vl-convert {vl_convert.__version__} */\n".encode()
    if staged.is_file():
        bundle = staged.read_bytes()
        if bundle.startswith(stamp):
            return bundle
    script = vl_convert.javascript_bundle(_VEGA_SNIPPET, vl_version=version)
    return stamp + f"(() => {{\n{script}\n}})();\n".encode()


def _mathjax() -> bytes:
    distribution, path = _MATHJAX
    try:
        script = Path(importlib.metadata.distribution(distribution).locate_file(path)).read_bytes()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise BookError(f"MathJax is missing: install pkdlib[book], which brings {distribution}") from error
    if hashlib.sha256(script).hexdigest() != _MATHJAX_SHA256:
        raise BookError(f"{distribution} does not hold MathJax 3.2.2 as released: install version 0.0.2")
    return script


def _mirror(files: Mapping[Path, bytes], target: Path) -> None:
    """Make a folder hold exactly these files, touching only those whose content changed."""
    for path in sorted(target.rglob("*")):
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()
    for name, content in files.items():
        path = target / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
