"""Every notebook at the smoke profile, through papermill, as the book shows it; its numbers are small but sane."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import av
import bs4
import jupytext
import nbclient
import nbformat
import numpy as np
import papermill
import pytest
import yaml
from av.video.frame import PictureType

from pkdlib.companion import reproduce, tables, workspace
from pkdlib.companion.book import staging
from pkdlib.companion.book.page_tables import verdict_tables
from pkdlib.companion.claims import verdicts
from pkdlib.companion.claims.claims import CLAIMS
from tests.extent import NIGHTLY

ROOT = Path(__file__).resolve().parents[1]
CLAIM_IDS = [claim.id for claim in CLAIMS]
NUMBERS = [source.stem[:2] for source in reproduce.notebooks()]

pytestmark = pytest.mark.slow


def outputs_of(path):
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_runs_without_red_text(smoke_page, number):
    outputs = outputs_of(smoke_page(number))
    assert outputs
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_executed_page_is_complete_in_itself(smoke_page, number):
    shown = [output.data.get("text/html", "") for output in outputs_of(smoke_page(number)) if "data" in output]
    *_, record = (markup for markup in shown if "<details>" in markup)  # a page may fold other tables before it
    cells = [cell.text for cell in bs4.BeautifulSoup(record, "html.parser").find_all("td")]
    told = dict(zip(cells[::2], cells[1::2], strict=True))
    assert told["profile"] == "'smoke'" and told["torch"] == metadata.version("torch")
    pictures = [image["src"] for markup in shown for image in bs4.BeautifulSoup(markup, "html.parser").find_all("img")]
    assert pictures and all(source.startswith("data:image/") for source in pictures)


def test_01_compressed_domain(smoke_page, smoke):
    """What the page says of a clip's file is what libavcodec says."""
    told = "".join(output.get("text", "") for output in outputs_of(smoke_page("01")))
    with av.open(str(workspace.example_clip(smoke))) as container:
        frames = list(container.decode(video=0))
        codec = container.streams.video[0].codec_context.name
    types = "".join(PictureType(frame.pict_type).name for frame in frames)
    assert f"{codec}, {frames[0].width} x {frames[0].height}\n{len(frames)} frames, {types.count('I')} GOPs\n" in told
    assert f"frame types: {types}\n" in told


def test_02_backbones(smoke_page, smoke):
    smoke_page("02")
    curves = tables.table(smoke, "curves")
    assert set(curves.groupby("modality").epoch.count()) == {smoke.backbone_epochs}
    assert np.isfinite(curves.train_loss).all() and curves.validation_accuracy.between(0, 1).all()


def test_03_flatness(smoke_page, smoke):
    smoke_page("03")
    flatness = tables.table(smoke, "flatness").set_index(["control", "modality", "measure"]).value
    assert np.isfinite(flatness).all()
    assert set(flatness.index.levels[0]) == {"same"}
    assert (flatness.xs("gauss_newton_trace", level="measure") > 0).all()


def test_04_early_exits(smoke_page, smoke):
    smoke_page("04")
    cost = tables.table(smoke, "cost").set_index(["kind", "modality", "exit"])
    assert (cost["gmac_ic"].drop(index=4, level="exit") > 0).all()
    assert (
        cost["gmac"] - cost.groupby(["kind", "modality"])["gmac_ic"].cumsum() <= cost["gmac_bare"] * (1 + 1e-9)
    ).all()


def test_05_teachers(smoke_page, smoke):
    smoke_page("05")
    exits = tables.table(smoke, "exits").query("part == 'test'")
    assert (exits.correct <= exits.clips).all()
    assert exits.groupby(["modality", "method", "exit"]).clips.sum().nunique() == 1  # all read the same clips


def test_06_wise(smoke_page, smoke):
    smoke_page("06")
    weights = tables.table(smoke, "weights")
    per_prefix = weights.groupby(["method", "prefix"]).member.nunique().reset_index()
    assert (per_prefix.member == per_prefix.prefix).all()


def test_07_leaving_early(smoke_page, smoke):
    smoke_page("07")
    early = tables.table(smoke, "early_exit").query("system == 'cascade'").sort_values("setting")
    for _, group in early.groupby(["kind", "method", "order", "rule", "criterion", "group"]):
        assert group.gmac.is_monotonic_increasing and group.gmac.min() > 0  # a stricter threshold never costs less


def test_09_verdicts(smoke_page):
    """Each claim has one row: words, of each data set a verdict that the rule can give, and this run's own figure."""
    markup = "".join(output.get("data", {}).get("text/html", "") for output in outputs_of(smoke_page("09")))
    tables_ = bs4.BeautifulSoup(markup, "html.parser")("table")
    texts = [[[cell.get_text() for cell in row(["th", "td"])] for row in table("tr")] for table in tables_]
    (head, *rows) = next(rows for rows in texts if rows[0][:2] == ["claim", "what was found"])
    assert head[2:] == ["UCF-101", "Marionette", "Marionette 1", "UT-Interaction"]
    assert [row[:2] for row in rows] == [[claim.title, claim.finding] for claim in CLAIMS]
    words = [cell.rpartition(": ")[2] for _, _, *cells in rows for cell in cells]
    assert all(word.startswith(verdicts.WORDS) for word in words), words
    assert all(any(cell != verdict_tables.NOT_MEASURED for cell in row[2:]) for row in rows)  # no empty row
    own = dict(next(rows[1:] for rows in texts if rows[0] == ["claim", verdict_tables.YOURS]))
    assert re.match(r"[+-]\d+\.\d", own[dict(zip(CLAIM_IDS, CLAIMS, strict=True))["ic-gain"].title])


def test_08_protocol(smoke_page, smoke):
    smoke_page("08")
    audit = tables.table(smoke, "audit").set_index(["gain", "switch", "group"]).difference
    saved = audit["cost saved"].unstack("switch")
    assert (saved["cost of right answers only"] >= saved["clean"]).all()  # what is left out can only cost less


@pytest.fixture
def kernel():
    yield from running_kernel()


@pytest.fixture(scope="module")
def shared_kernel():
    """A kernel for all pages, which begins once, and where each finds the variables of those before."""
    yield from running_kernel()


def running_kernel():
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()]),  # a place for each cell in its turn
        kernel_manager_class=reproduce._Kernel,
        resources={"metadata": {"path": str(ROOT)}},
        timeout=None,
    )
    with client.setup_kernel():
        yield client


def executed(kernel, sources, allow_errors=False):
    """Execute cells in the order given; return what each puts on the page."""
    kernel.allow_errors = allow_errors
    cells = [kernel.execute_cell(nbformat.v4.new_code_cell(source), 0) for source in sources]
    told = ("data", "evalue", "text")
    return [[next(o[key] for key in told if key in o) for o in cell.outputs] for cell in cells]


def displayed(outputs):
    return [output for output in outputs if not isinstance(output, str)]


# Each of them takes as long again as the page itself.
SOME = ("01", "02")


@pytest.mark.parametrize("number", NUMBERS if NIGHTLY else SOME)
def test_a_page_runs_again_and_out_of_order_with_what_a_reader_adds(smoke_page, smoke, shared_kernel, number):
    smoke_page(number)  # trains what is lacking
    (source,) = reproduce.notebooks([number])
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    (own,) = (i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    typed = f'\nprofile = "smoke"\nruns = {smoke.runs!r}\ncache = {smoke.cache!r}'
    texts = [cell.source + typed * (i == own) for i, cell in enumerate(cells)]
    middle = range(own + 2, len(texts))
    readers = 'mine, size, notes, exit_epochs = "flat", 5, {"a": 1}, "seven"\nfor kind in ("light",):\n    title = kind'
    readers += "\nthreshold = 0.5"
    again = [*range(len(texts)), own, own + 1, *reversed(middle), own + 1, own, own + 1, middle[0]]
    first = executed(shared_kernel, texts)
    executed(shared_kernel, [readers])
    differing = set()
    for i, outputs in zip(again, executed(shared_kernel, [texts[i] for i in again]), strict=True):
        if displayed(first[i]) != displayed(outputs):  # what is printed while something is made is not printed again
            differing.add(i)
    assert not differing, "cells that say something else when they run again"
    edited = texts[own] + "\nseed = 0\nexit_epochs = 2"
    assert executed(shared_kernel, [edited, texts[own + 1], "p.seed, p.exit_epochs"])[-1] == [{"text/plain": "(0, 2)"}]


def test_misspelt_names_are_refused_whenever_a_page_reads_its_parameters(kernel, shared_kernel):
    (source,) = reproduce.notebooks(["02"])
    own, first = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"][1:3]
    own += '\nprofile = "smoke"'
    wrong, tried = f"{own}\nexit_epoch = 2", "exits = 1\nkind = 'light'"
    cells = [wrong, first, own, first, tried, own, first, wrong, first, first, own, first]
    errors = [output for outputs in executed(kernel, cells, allow_errors=True) for output in outputs]
    assert len(errors) == 3 and all("'exit_epoch'; did you mean 'exit_epochs'" in error for error in errors)

    pair = papermill.iorw.load_notebook_node(str(source.with_suffix(".ipynb")))
    injected = papermill.parameterize.parameterize_notebook(pair, {"profile": "smoke", "exit_epoch": 2})
    cells = [cell.source for cell in injected.cells if cell.cell_type == "code"][1:4]
    errors = executed(shared_kernel, [*cells, cells[-1], *cells], allow_errors=True)
    assert [bool(outputs) for outputs in errors] == [False, False, True, True, False, False, True]


def test_an_unknown_parameter_ends_bare_papermill_with_one_clear_line(tmp_path):
    target = str(tmp_path / "out.ipynb")
    source = "notebooks/02_backbones.ipynb"
    command = [sys.executable, "-m", "papermill", source, target, "-p", "profile", "smoke", "-p", "exit_epoch", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert "unknown parameter 'exit_epoch'; did you mean 'exit_epochs'?" in last


def test_the_book_of_these_pages_is_built_without_a_warning(smoke_book):
    assert not [page for page in staging.pages(ROOT / "_toc.yml") if not (smoke_book / f"{page}.html").is_file()]


def test_its_pages_take_every_number_and_table_and_no_others(smoke_book):
    staged = smoke_book.parents[1] / staging.STAGING / "_config.yml"
    given = yaml.safe_load(staged.read_text(encoding="utf-8"))["parse"]["myst_substitutions"]
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")]
    assert {name for page in pages for name in re.findall(r"{{ (\w+) }}", page)} == set(given)
