"""A page opens on Google Colab: its first cell adds packages beside Colab's own, and changes none of those."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jupytext
import pytest
from IPython.core.interactiveshell import InteractiveShell
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.test_project import SOURCES, declared

FIRST_CELL = next(cell.source for cell in jupytext.read(SOURCES[0]).cells if cell.cell_type == "code")
(EXTRAS,) = re.findall(r"pkdlib\[([\w,]+)\]", FIRST_CELL)
NEEDED = declared(*EXTRAS.split(","))


# A later list than the committed one can be tried, as the nightly workflow does.
LIST = Path(os.environ.get("PKD_COLAB", REPOSITORY / "tests" / "sessions" / "colab.txt"))


def colab() -> dict[str, str]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def python313() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (sys.executable, "python3.13", *map(str, pyenv.glob("versions/3.13.*/bin/python"))):
        try:
            told = subprocess.run([python, "--version"], capture_output=True, text=True, encoding="utf-8").stdout
        except OSError:
            continue
        if told.startswith("Python 3.13."):
            return python
    pytest.skip("no Python 3.13, which is Colab's, is installed")


def would_install(python: Path, *requirements: str) -> list[dict] | str:
    """What pip would install for this Python, each with its name and version; or why it cannot."""
    words = ["install", "--quiet", "--dry-run", "--report", "-", *requirements]
    command = [sys.executable, "-m", "pip", "--python", str(python), *words]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    return done.stderr if done.returncode else [entry["metadata"] for entry in json.loads(done.stdout)["install"]]


def test_what_a_page_needs_admits_colabs_versions():
    versions = {canonicalize_name(name): version for name, version in colab().items()}
    there = [requirement for requirement in NEEDED if canonicalize_name(requirement.name) in versions]
    assert {"altair", "numpy", "pandas", "torch"} <= {requirement.name for requirement in there}
    refused = [str(r) for r in there if versions[canonicalize_name(r.name)] not in r.specifier]
    assert not refused


@pytest.mark.slow
def test_the_first_cell_changes_none_of_colabs_packages(tmp_path):
    python = tmp_path / "colab" / "bin" / "python"
    subprocess.run([python313(), "-m", "venv", "--without-pip", tmp_path / "colab"], check=True)
    (packages,) = tmp_path.glob("colab/lib/python3.13/site-packages")
    for name, version in colab().items():  # to pip, a package is there if its metadata are
        metadata = packages / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    found = would_install(python, *map(str, NEEDED))
    if isinstance(found, str) and isinstance(would_install(python, "--force-reinstall", "packaging"), str):
        pytest.skip("no package index can be reached")
    assert not isinstance(found, str), found
    added = {canonicalize_name(entry["name"]): entry["version"] for entry in found}
    assert {"av", "vl-convert-python"} <= added.keys()
    assert not added.keys() & {canonicalize_name(name) for name in colab()}, "pip would replace Colab's own"


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    return InteractiveShell()


def test_the_first_cell_says_in_one_line_that_pip_failed(shell, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "")  # pip finds no git
    with pytest.warns(UserWarning, match="To exit"):  # IPython's, to any SystemExit
        failed = shell.run_cell(FIRST_CELL).error_in_exec
    assert "git" in capfd.readouterr().out
    assert isinstance(failed, SystemExit) and re.fullmatch("pkdlib was not installed: .*", str(failed))


def test_the_first_cell_goes_on_where_pip_has_done_its_work(shell, monkeypatch):
    monkeypatch.setattr(shell, "system", lambda command: shell.user_ns.update(_exit_code=0, asked=command))
    shell.run_cell(FIRST_CELL).raise_error()
    assert "git+https://" in shell.user_ns["asked"]
