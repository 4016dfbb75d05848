"""How soon a page that is opened alone, where nothing is there, shows its first picture; and pages in Colab's versions.

    python benchmarks/sessions.py [--tree DIR --name before --first] [--pages 01 05]
    python benchmarks/sessions.py --together [--pages 05 07]
    python benchmarks/sessions.py --colab

The first runs pages of a checkout, each in a kernel and an empty folder of its own, notes when a cell has shown the
first picture, and adds them under a name to results/sessions/pages.csv. What importing takes is measured beside it, in
a kernel that imports what a page does, since that is the machine's and torch's.

The second opens two pages at once, runs both to their ends, and adds the memory that they took together to
results/sessions/together.csv: of pages that processes share, each process counts its part.

The third makes an environment of Python 3.13 with Colab's versions of what pages touch, and opens pages there as Colab
does, with the package alone: the first cell installs it, with its address replaced by a wheel of this checkout. It
writes what pip changed and when the first pictures came to results/sessions/colab.txt, and ends with 1 if pip changed
what was there or a page failed. The versions are tests/sessions/colab.txt's, or those of the list that PKD_COLAB names.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pandas as pd
import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pkdlib import _files
from pkdlib.companion.runs import measure, store

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(os.environ.get("PKD_COLAB", ROOT / "tests" / "sessions" / "colab.txt"))
TARGET = ROOT / "results" / "sessions"
COLUMNS = ["version", "page", "import_seconds", "first_result_seconds", "whole_seconds", "peak_memory_mib"]
IMPORTS = "from pkdlib.companion import tables, workspace\nfrom pkdlib.companion.book import charts\n"
ON_COLAB = 'import sys, types\nsys.modules["google.colab"] = types.ModuleType("google.colab")'
ADDRESS = "git+https://github.com/pkd-companion/pkd-companion"


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout whose pages are opened (this one)")
    parser.add_argument("--name", default="now", help="what the table calls it (%(default)s)")
    parser.add_argument("--pages", nargs="+", metavar="NN", help="only these")
    parser.add_argument("--first", action="store_true", help="stop each page at its first picture")
    parser.add_argument("--together", action="store_true", help="open the pages at once and measure their memory")
    parser.add_argument("--colab", action="store_true", help="rehearse Colab")
    parser.add_argument("--python", default="python3.13", help="of --colab, the Python to make its environment with")
    chosen = parser.parse_args()
    if chosen.colab:
        raise SystemExit(rehearse(chosen.pages or ["01", "05", "07"], chosen.python))
    if chosen.together:
        add("together.csv", [together(pages(chosen.tree, chosen.pages or ["05", "07"]), chosen)])
    else:
        add("pages.csv", [opened(path, chosen) for path in pages(chosen.tree, chosen.pages)])


def add(name: str, rows: list[dict]) -> None:
    """Add rows to a table, each in the place of one of the same version and page."""
    table = TARGET / name
    others = [pd.read_csv(table)] if table.is_file() else []
    found = pd.concat([*others, pd.DataFrame(rows)])
    TARGET.mkdir(parents=True, exist_ok=True)
    found.drop_duplicates(COLUMNS[:2], keep="last").to_csv(table, index=False)
    _files.write_json(table.with_suffix(f".{store.RECORD}"), store.provenance())


def pages(tree: Path, only: list[str] | None) -> list[Path]:
    """List a checkout's pages."""
    paths = sorted((tree / "notebooks").glob("[0-9][0-9]_*.md"))
    return [path for path in paths if not only or path.stem[:2] in only]


def opened(path: Path, chosen: argparse.Namespace) -> dict:
    """Open a page alone, in an empty folder."""
    environment = {"PYTHONPATH": str(chosen.tree.resolve())}
    cells = cells_of(path)
    with tempfile.TemporaryDirectory() as folder:
        imported, _, _ = run([IMPORTS], Path(folder), sys.executable, environment)
    with tempfile.TemporaryDirectory() as folder, measure.measured() as cost:
        whole, first, _ = run(cells, Path(folder), sys.executable, environment, to_the_end=not chosen.first)
    row = [chosen.name, path.stem, imported, first, None if chosen.first else whole, cost().peak_memory_mib]
    print(dict(zip(COLUMNS, row, strict=True)), flush=True)
    return dict(zip(COLUMNS, row, strict=True))


def cells_of(path: Path) -> list[str]:
    """Give the sources of a page's cells of code."""
    return [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def together(paths: list[Path], chosen: argparse.Namespace) -> dict:
    """Open pages at once, each in an empty folder, and let all run to the end before one is closed."""
    environment = {"PYTHONPATH": str(chosen.tree.resolve())}
    ended, peak = threading.Barrier(len(paths)), 0.0

    def open_one(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            *_, failed = run(cells_of(path), Path(folder), sys.executable, environment, then=ended.wait)
        if failed:
            ended.abort()  # so that no other page waits for this one
            raise SystemExit(f"{path.stem}: {failed}")

    with ThreadPoolExecutor(len(paths)) as pool:
        opened = [pool.submit(open_one, path) for path in paths]
        while not all(own.done() for own in opened):
            peak = max(peak, sum(map(proportional, psutil.Process().children(recursive=True))))
            time.sleep(0.5)
    for own in opened:
        own.result()
    row = {"version": chosen.name, "page": " ".join(path.stem for path in paths), "peak_memory_mib": round(peak)}
    print(row)
    return row


def proportional(process: psutil.Process) -> float:
    """Return the MiB that a process takes, with its part of what it shares."""
    try:
        return process.memory_full_info().pss / 2**20
    except psutil.Error:  # it ended meanwhile
        return 0.0


def run(
    cells: list[str],
    folder: Path,
    python: str,
    environment: dict[str, str],
    *,
    to_the_end: bool = True,
    then: Callable[[], object] = lambda: None,
) -> tuple[float, float | None, str]:
    """Run cells in a kernel of their own; return seconds to the end and to the first picture, and what failed."""

    class Kernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python", env=environment)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, kernel_manager_class=Kernel, resources={"metadata": {"path": str(folder)}}, timeout=None
    )
    first = None
    with client.setup_kernel(stderr=subprocess.DEVNULL):
        began = time.perf_counter()
        for number, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, number)
            except nbclient.exceptions.CellExecutionError as error:
                return round(time.perf_counter() - began, 1), first, str(error).strip().splitlines()[-1]
            if first is None and any(is_picture(output) for output in cell.outputs):
                first = round(time.perf_counter() - began, 1)
                if not to_the_end:
                    break
        then()
        return round(time.perf_counter() - began, 1), first, ""


def is_picture(output: dict) -> bool:
    """Say whether an output is a chart or a picture: tables of words come at once."""
    data = output.get("data", {})
    return "image/png" in data or any(mark in data.get("text/html", "") for mark in ("<img", "<svg"))


def rehearse(wanted: list[str], base: str) -> int:
    """Open pages in Colab's versions; return the exit status."""
    lines = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = environment_of_colab(folder, base)
        wheel = build(folder)
        before = installed(python)
        say(f"Python {version_of(python)}, {len(before)} packages in Colab's versions ({colab_date()})")
        failed = False
        for page in pages(ROOT, wanted):
            (place := folder / page.stem).mkdir()
            cells = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
            cells[0] = cells[0].replace(ADDRESS, wheel.as_uri())
            whole, first, wrong = run(
                [ON_COLAB, *cells], place, str(python), {"PATH": f"{python.parent}:/usr/bin:/bin"}
            )
            failed |= bool(wrong)
            say(f"{page.stem}: first picture after {first} s, whole {whole} s{': ' * bool(wrong)}{wrong}")
            after = installed(python)
            for name, version in after.items():
                if before.get(name) != version:
                    failed |= name in before
                    say(f"  pip {'changed' if name in before else 'added'} {name} {before.get(name, '')} {version}")
            before = after
    TARGET.mkdir(parents=True, exist_ok=True)
    _files.write_atomically(
        TARGET / "colab.txt", lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    )
    return int(failed)


def environment_of_colab(folder: Path, base: str) -> Path:
    """Make an environment with Colab's versions of what pages touch; return its interpreter."""
    constraints = folder / "colab.txt"
    # The index's build of torch brings NVIDIA's libraries, in versions of its own; Colab's, for processors, does not.
    listed = {name: version for name, version in colab().items() if not name.startswith("nvidia-")}
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in listed.items()), encoding="utf-8")
    python = folder / "environment" / "bin" / "python"
    subprocess.run([base, "-m", "venv", str(python.parents[1])], check=True)
    there = [name for name in (*needed(), "ipykernel", "ipython", "pip", "setuptools") if name in colab()]
    command = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints), *there]
    subprocess.run(command, check=True)
    return python


def needed() -> list[str]:
    """List what the extras ask for that a page's first cell installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["train"], *extras["notebooks"]]
    return [canonicalize_name(Requirement(line).name) for line in asked]


def colab() -> dict[str, str]:
    """Read Colab's list of packages."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def colab_date() -> str:
    """Say of when that list is."""
    first = LIST.read_text(encoding="utf-8").splitlines()[0]
    return first.partition(" on ")[2].partition(",")[0] or LIST.name


def build(folder: Path) -> Path:
    """Build a wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(python: Path) -> dict[str, str]:
    """List what an environment holds."""
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    return {canonicalize_name(entry["name"]): entry["version"] for entry in json.loads(listed)}


def version_of(python: Path) -> str:
    """Say which Python that is."""
    told = subprocess.run([str(python), "--version"], check=True, capture_output=True, text=True, encoding="utf-8")
    return told.stdout.split()[1]


if __name__ == "__main__":
    main()
