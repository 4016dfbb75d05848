"""Every notebook at the smoke profile, through papermill, as the book shows it; its numbers are small but sane."""

import subprocess
import sys
from pathlib import Path

import jupytext
import nbclient
import nbformat
import numpy as np
import papermill
import pytest

from pkdlib.companion import reproduce, tables
from pkdlib.companion.parameters import Parameters
from pkdlib.data.official import preparation, ucf101

ROOT = Path(__file__).resolve().parents[1]
# `make test` builds a book of these.
EXECUTED = ROOT / "_build" / "test" / "_build" / "executed" / "notebooks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parameters(tmp_path_factory) -> Parameters:
    place = tmp_path_factory.mktemp("smoke")
    return Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"))


@pytest.fixture(scope="module")
def execute(parameters):
    """Execute a notebook by its number; what one has trained, the next ones find."""

    def run(number: str, folder: Path = EXECUTED, **changes: str | int) -> str:
        (source,) = reproduce.notebooks([number])
        target = folder / f"{source.stem}.ipynb"
        values = {"profile": "smoke", "runs": parameters.runs, "cache": parameters.cache, **changes}
        reproduce.run_notebook(source, target, values, ROOT)
        cells = nbformat.read(target, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert not [output.text for output in outputs if output.get("name") == "stderr"], "red text on the page"
        texts = (output.get("text") or "\n".join(map(str, output.get("data", {}).values())) for output in outputs)
        return "\n".join(texts)

    return run


def test_01_compressed_domain(execute):
    assert "mpeg4" in execute("01")


def test_02_backbones(execute, parameters):
    execute("02")
    curves = tables.table(parameters, "curves")
    assert set(curves.groupby("modality").epoch.count()) == {parameters.backbone_epochs}
    assert np.isfinite(curves.train_loss).all() and curves.validation_accuracy.between(0, 1).all()


def test_03_flatness(execute, parameters):
    execute("03")
    flatness = tables.table(parameters, "flatness").set_index(["control", "modality", "measure"]).value
    assert np.isfinite(flatness).all()
    assert set(flatness.index.levels[0]) == {"same"}
    assert (flatness.xs("gauss_newton_trace", level="measure") > 0).all()


def test_04_internal_classifiers(execute, parameters):
    execute("04")
    exits = tables.table(parameters, "exits").query("part == 'test'")
    assert (exits.correct <= exits.clips).all()
    assert exits.groupby(["modality", "method", "exit"]).clips.sum().nunique() == 1  # all read the same clips


def test_05_wise(execute, parameters):
    execute("05")
    weights = tables.table(parameters, "weights")
    per_prefix = weights.groupby(["method", "prefix"]).member.nunique().reset_index()
    assert (per_prefix.member == per_prefix.prefix).all()


def test_06_early_exit(execute, parameters):
    execute("06")
    early = tables.table(parameters, "early_exit").query("system == 'cascade'").sort_values("setting")
    for _, group in early.groupby(["kind", "method", "order", "rule", "criterion", "group"]):
        assert group.gmac.is_monotonic_increasing and group.gmac.min() > 0  # a stricter threshold never costs less


def test_07_results(execute):
    assert "verdict" in execute("07").lower()


def test_08_protocol(execute, parameters):
    execute("08")
    audit = tables.table(parameters, "audit").set_index(["gain", "switch", "group"]).difference
    saved = audit["cost saved"].unstack("switch")
    assert (saved["cost of right answers only"] >= saved["clean"]).all()  # what is left out can only cost less


NUMBERS = [source.stem[:2] for source in reproduce.notebooks()]


def executed(cells, allow_errors=False):
    """Execute cells in one kernel, in the order given; return what each puts on the page."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = nbclient.NotebookClient(
        notebook,
        kernel_manager_class=reproduce._Kernel,
        resources={"metadata": {"path": str(ROOT)}},
        allow_errors=allow_errors,
        timeout=None,
    )
    client.execute()
    told = ("data", "evalue", "text")
    return [[next(o[key] for key in told if key in o) for o in cell.outputs] for cell in notebook.cells]


def displayed(outputs):
    return [output for output in outputs if not isinstance(output, str)]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_runs_again_and_out_of_order_with_what_a_reader_adds(parameters, number):
    (source,) = reproduce.notebooks([number])
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    (own,) = (i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    typed = f'\nprofile = "smoke"\nruns = {parameters.runs!r}\ncache = {parameters.cache!r}'
    texts = [cell.source + typed * (i == own) for i, cell in enumerate(cells)]
    whole, middle = range(len(texts)), range(own + 2, len(texts))
    readers = 'mine, size, notes, exit_epochs = "flat", 5, {"a": 1}, "seven"\nfor kind in ("light",):\n    title = kind'
    again = [*whole, own, own + 1, *reversed(middle), own + 1, own, own + 1, middle[0]]
    found = executed([*texts, readers, *(texts[i] for i in again)])
    first, repeated = found[: len(texts)], found[len(texts) + 1 :]
    differing = {i for i, outputs in zip(again, repeated, strict=True) if outputs != repeated[i]}
    # What is printed while something is made is not printed again.
    differing |= {i for i in whole if displayed(first[i]) != displayed(repeated[i])}
    assert not differing, "cells that say something else when they run again"


def test_misspelt_names_are_refused_whenever_a_page_reads_its_parameters():
    (source,) = reproduce.notebooks(["02"])
    own, first = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"][1:3]
    own += '\nprofile = "smoke"'
    wrong, tried = f"{own}\nexit_epoch = 2", "exits = 1\nkind = 'light'"
    cells = [wrong, first, own, first, tried, own, first, wrong, first, first, own, first]
    errors = [output for outputs in executed(cells, allow_errors=True) for output in outputs]
    assert len(errors) == 3 and all("'exit_epoch'; did you mean 'exit_epochs'" in error for error in errors)

    pair = papermill.iorw.load_notebook_node(str(source.with_suffix(".ipynb")))
    injected = papermill.parameterize.parameterize_notebook(pair, {"profile": "smoke", "exit_epoch": 2})
    cells = [cell.source for cell in injected.cells if cell.cell_type == "code"][1:4]
    errors = executed([*cells, cells[-1], *cells], allow_errors=True)
    assert [bool(outputs) for outputs in errors] == [False, False, True, True, False, False, True]


@pytest.mark.parametrize("number", ["02", "03", "04", "05", "06", "07", "08"])
def test_every_page_takes_teamnet(execute, parameters, tmp_path, number):
    text = execute(number, tmp_path, backbone="teamnet")
    assert "joint" in text or "squeezed vectors" in text or number in ("07", "08")
    assert (Path(parameters.runs) / "smoke-teamnet" / "marionette" / "split0" / "seed0" / "backbone-joint").is_dir()


@pytest.fixture(scope="module")
def ucf101_part(ucf101_mini, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ucf101") / "part"
    clips, lists = ucf101_mini
    preparation.prepare_part(ucf101.SPEC, root, clips, lists=lists, log=lambda line: None)
    return root


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "05", "06", "07", "08"])
def test_every_page_takes_a_part_of_ucf101(execute, parameters, ucf101_part, tmp_path, number):
    execute(number, tmp_path, dataset="ucf101", root=str(ucf101_part), split=0)
    trained = list((Path(parameters.runs) / "smoke").glob("ucf101*/split*/seed*"))
    assert trained == ([Path(parameters.runs) / "smoke" / "ucf101-4" / "split0" / "seed0"] if number != "01" else [])


def test_an_unknown_parameter_ends_bare_papermill_with_one_clear_line(tmp_path):
    target = str(tmp_path / "out.ipynb")
    source = "notebooks/02_backbones.ipynb"
    command = [sys.executable, "-m", "papermill", source, target, "-p", "profile", "smoke", "-p", "exit_epoch", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert "unknown parameter 'exit_epoch'; did you mean 'exit_epochs'?" in last
