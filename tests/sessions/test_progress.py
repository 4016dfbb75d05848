"""Long work says how far it is: in a terminal, on a notebook's page where somebody watches, and where nobody does."""

import sys
import time

import jupytext
import nbclient
import nbformat
import pytest

from pkdlib import _progress
from pkdlib.companion import reproduce
from tests.conftest import REPOSITORY

WORK = """
import time
from pkdlib import _progress
_progress._AT_FIRST = _progress._SPACING = 0.05
_progress._UNATTENDED = {often}
with _progress.tqdm(total=8, desc="motion network", unit="epoch", disable=None) as progress:
    for _ in range(8):
        time.sleep(0.1)
        progress.update()
print("done")
"""


def told(client, source, attended):
    """What a cell puts on the page while it runs, as (kind, text)."""
    client.kc.allow_stdin = attended
    sent, process = [], client.process_message

    def watched(message, *rest):
        content = message["content"]
        if message["msg_type"] in ("display_data", "update_display_data"):
            sent.append((message["msg_type"], content["data"]["text/plain"]))
        return process(message, *rest)

    client.process_message = watched
    client.nb.cells = [nbformat.v4.new_code_cell(source)]
    cell = client.execute_cell(client.nb.cells[0], 0)
    client.process_message = process
    return sent, cell.outputs


@pytest.fixture(scope="module")
def client():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
    resources = {"metadata": {"path": str(REPOSITORY)}}
    own = nbclient.NotebookClient(notebook, kernel_manager_class=reproduce._Kernel, resources=resources, timeout=60)
    with own.setup_kernel():
        yield own


def test_where_somebody_watches_one_line_changes_and_nothing_of_it_is_left(client):
    sent, outputs = told(client, WORK.format(often=60), attended=True)
    kinds, lines = zip(*sent, strict=True)
    assert kinds[0] == "display_data" and set(kinds[1:]) == {"update_display_data"} and len(kinds) > 3
    assert all(line.startswith("motion network, epoch ") and line.endswith(" left") for line in lines[:-1])
    assert " of 8, " in lines[0] and lines[-1] == ""
    assert [output.get("text") or output["data"]["text/plain"] for output in outputs] in (["done\n"], ["", "done\n"])


@pytest.mark.parametrize(("often", "fewest", "most"), [(0.25, 2, 3), (60, 0, 0)])
def test_where_nobody_watches_there_is_a_line_now_and_then(client, often, fewest, most):
    sent, outputs = told(client, WORK.format(often=often), attended=False)
    assert fewest <= len(sent) <= most and {kind for kind, _ in sent} <= {"display_data"}
    marked = [output for output in outputs if reproduce._tells_progress(output)]
    assert len(marked) == len(sent) and len(outputs) == len(sent) + 1


def test_an_executed_notebook_keeps_none_of_these_lines(tmp_path):
    source = jupytext.reads(f"```{{code-cell}}\n{WORK.format(often=0.2)}```\n", "md:myst")
    path = tmp_path / "page.ipynb"
    nbformat.write(source, path)
    reproduce.run_notebook(path, tmp_path / "out.ipynb", {}, tmp_path)
    outputs = [o for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for o in cell.get("outputs", [])]
    assert [output.get("text") for output in outputs] == ["done\n"]


def test_in_a_file_there_is_none_and_in_a_terminal_tqdms_own(monkeypatch, capfd):
    list(_progress.tqdm(range(3), desc="clips", disable=None))
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in _progress.trange(3, desc="clips", disable=None):
        time.sleep(0.11)
    assert "clips: 100%" in capfd.readouterr().err
