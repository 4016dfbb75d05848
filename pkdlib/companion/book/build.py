"""Build the Jupyter Book of what is staged: HTML by Sphinx, a PDF by Chromium."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from pkdlib import _files, _resources

STAGING = Path("_build/book")
OUTPUT = Path("_build/html")
PDF = OUTPUT / "book.pdf"
EXECUTED = Path("_build/executed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class BookError(Exception):
    """The book cannot be staged or built; the message says what is missing or wrong."""


def build(root: Path | None = None) -> Path:
    """Build the HTML of a book that `staging.stage` has staged, warnings as errors.

    Args:
        root: The checkout; by default the one that the current working directory lies in.

    Returns:
        The path of the built book's first page.

    Raises:
        BookError: If the book is not staged, or the build gives a warning.
    """
    root = root or checkout()
    output = root / OUTPUT
    if not _jupyter_book(root, _staged(root), "-W", "-n", "--keep-going"):
        # Sphinx repeats no warning of a page that it has already read, so the next must read all.
        shutil.rmtree(output.parent / ".doctrees", ignore_errors=True)
        raise BookError("the book was not built without warnings: see the lines with WARNING or ERROR above")
    return output / "index.html"


def print_pdf(root: Path | None = None) -> Path:
    """Print a book that `build` has built as one PDF: all its pages on one, by Chromium.

    Charts are the still ones, and what can only be played with is left out.

    Args:
        root: As in `build`.

    Returns:
        The PDF, beside the book's first page.

    Raises:
        BookError: If there is no browser, or the book is not staged or not printed.
    """
    root = root or checkout()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise BookError(f"the PDF is printed by a browser: install Chromium (none of {', '.join(BROWSERS)} was found)")
    source = _staged(root)
    if not _jupyter_book(root, source, "--builder", "singlehtml"):
        raise BookError("the pages were not joined to one: see the lines with ERROR above")
    first = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))["root"]
    joined = root / "_build" / "singlehtml"
    # Sphinx names the styles of this page as if it lay at the top, whatever the first page's folder.
    page = Path(shutil.copyfile(joined / f"{first}.html", joined / "book.html"))
    options = [
        *("--headless", "--disable-gpu", "--no-pdf-header-footer", "--generate-pdf-document-outline"),
        # Formulas are set by a script, which is given so many milliseconds of the page's own time.
        "--virtual-time-budget=300000",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses to run as root in its sandbox
    ]

    def write(path: Path) -> None:
        call = [browser, *options, f"--print-to-pdf={path}", f"{page.resolve().as_uri()}?still"]
        done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", check=False)
        if done.returncode or not path.is_file():
            told = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise BookError(f"{browser} did not print {page}: it says {told}")

    _files.write_atomically(root / PDF, write)
    return root / PDF


def checkout() -> Path:
    """Find the checkout whose book is built without another's being named.

    Returns:
        The root of the one that the current working directory lies in.

    Raises:
        BookError: If it lies in none.
    """
    if not _resources.in_checkout():
        raise BookError("the book is built from a checkout of the repository: clone it, then run `make book` there")
    return _resources.working_folder()


def _staged(root: Path) -> Path:
    source = root / STAGING
    if not source.is_dir():
        raise BookError(f"{source} is missing: build the book first, `pkd book`")
    return source


def _jupyter_book(root: Path, source: Path, *options: str) -> bool:
    # Jupyter Book has no `python -m`, and adds `_build/<builder>` to the output path by itself.
    call = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", *options]
    # The API pages import this very package, installed or not.
    paths = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([*call, "--path-output", str(root), str(source)], cwd=root, env=environment, check=False)
    return not done.returncode
