"""What is said in more than one place is said alike: versions, addresses, notebook pairs, commands; and contracts."""

import ast
import collections
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import jupytext
import nbformat
import pytest
import yaml
from jupytext.compare import compare_notebooks
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pkdlib.companion import results

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
BOOK = PROJECT["urls"]["Documentation"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = sorted((ROOT / "notebooks").glob("*.md"))


def declared(*extras: str) -> list[Requirement]:
    """What the project needs with these extras, and with those that they name in turn."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for requirement in (Requirement(line) for extra in extras for line in EXTRAS[extra]):
        found += declared(*requirement.extras) if requirement.name == PROJECT["name"] else [requirement]
    return found


def requirements(*extras: str) -> dict[str, SpecifierSet]:
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in declared(*extras)}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(words) == 2 for words in found), "constraints.txt holds exact pins only"
    return {canonicalize_name(name): version for name, version in found}


def test_every_dependency_is_pinned_inside_its_range():
    pinned = pins()
    for name, allowed in requirements("train", "pretrained", "book", "grid", "test").items():
        assert name in pinned, f"{name} of pyproject.toml is not in constraints.txt"
        assert pinned[name] in allowed, f"{name}=={pinned[name]} is outside {allowed}"
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_conda_environment_has_the_same_names_and_ranges():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python, pip, *others = environment
    conda = dict(entry.split(" ") for entry in others)
    ranges = requirements("train")
    assert pip == "pip" and conda.keys() == {"pytorch-cpu", "torchvision"}
    assert SpecifierSet(conda["pytorch-cpu"]) == ranges["torch"]
    assert SpecifierSet(conda["torchvision"]) == ranges["torchvision"]
    classifiers = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if ":: Python :: 3." in c]
    assert classifiers == ["3.11", "3.12", "3.13"]
    assert python.removeprefix("python=") in classifiers


@pytest.mark.filterwarnings("ignore:pythonjsonlogger:DeprecationWarning")
def test_binder_reads_which_python_to_build_on(monkeypatch):
    from repo2docker.buildpacks import conda

    monkeypatch.chdir(ROOT)
    version = conda.CondaBuildPack(base_image="").python_version
    assert version == "3.13"
    assert Path(conda.HERE, f"environment.py-{version}-linux-64.lock").is_file()


def test_binder_keeps_condas_torch_and_pins_all_else(tmp_path):
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\ncat "$4"\n', encoding="utf-8")
    (tmp_path / "pip").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    asked = subprocess.run(["./postBuild"], cwd=ROOT, env={"PATH": path}, check=True, capture_output=True)
    words = asked.stdout.decode().splitlines()
    assert words[:3] == ["install", "--no-cache-dir", "-c"] and words[4:6] == ["-e", ".[train,pretrained,book]"]
    pinned = {canonicalize_name(line.split("==")[0]) for line in words[6:] if not line.startswith("#")}
    assert pinned == pins().keys() - {"torch", "torchvision"}


def test_the_base_install_has_no_torch():
    assert requirements().keys() == {"av", "numpy"}


def test_the_address_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == ADDRESS
    assert citation["version"] == PROJECT["version"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
class TestNotebook:
    def test_its_pair_is_equal_and_has_no_outputs(self, source):
        pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
        compare_notebooks(pair, jupytext.read(source), fmt="md:myst")
        code = [cell for cell in pair.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)

    def test_installs_itself_on_colab_from_the_projects_address(self, source):
        first = next(cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code")
        assert "google.colab" in first
        assert re.findall(r"git\+(https://[^\s\"'@]+)", first) == [ADDRESS]

    def test_its_links_lead_to_the_published_book_from_wherever_it_is_opened(self, source):
        cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "markdown"]
        links = re.findall(r"\]\(([^)]+)\)", "\n".join(cell.source for cell in cells))
        assert links and all(link.startswith("https://") for link in links)
        for link in links:
            if link.startswith(BOOK):
                page = ROOT / link.partition("#")[0].removeprefix(f"{BOOK}/")
                assert page.suffix == ".html" and page.with_suffix(".md").is_file()

    def test_its_cells_may_be_run_in_any_order(self, source):
        """What a cell takes from others comes from one of them alone, so that it does not hang on which ran last."""
        _, *sources = (cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code")
        cells = [ast.parse(text) for text in sources]  # but for the first one, which installs by a magic command
        names = [[node for node in ast.walk(cell) if isinstance(node, ast.Name)] for cell in cells]
        bound = [{node.id for node in own if isinstance(node.ctx, ast.Store)} for own in names]
        for own, nodes in zip(bound, names, strict=True):
            for name in {node.id for node in nodes} - own:
                assert sum(name in other for other in bound) <= 1, f"{name} is bound by several cells"
        assert {"profile", "device"} <= bound[0] and not bound[0] & set().union(*bound[1:])

    def test_header_names_the_command_that_reruns_it(self, source):
        text = source.read_text(encoding="utf-8")
        assert f"papermill notebooks/{source.stem}.ipynb" in text or f"--only {source.stem[:2]}" in text


def test_results_take_less_than_30_megabytes():
    files = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert not [path for path in (ROOT / "results").glob("*/*/*.csv") if path.stem in results.NAMES]  # those are packed


def test_the_chapters_are_all_there():
    assert [source.stem[:2] for source in SOURCES] == [f"{number:02}" for number in range(1, 10)]


def test_readme_names_the_commands_of_the_makefile():
    readme, makefile = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("book", "test"):
        assert f"make {command}" in readme
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_workflow_tests_the_oldest_and_the_newest_python_and_publishes():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))["jobs"]
    assert workflow["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    steps = [step for job in workflow.values() for step in job["steps"]]
    assert {"make book", ".ci/run"} <= {step.get("run") for step in steps}
    assert any("deploy-pages" in step.get("uses", "") for step in steps)


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("training/tuning.py", "from pkdlib.companion.runs import store", "between packages only point down"),
        ("companion/runs/store.py", "from pkdlib.companion.claims import verdicts", "Within the companion"),
        ("video/motion.py", "import scipy", "av and numpy alone"),
        ("newcomer.py", "import json", "between packages only point down"),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path, module, statement, contract):
    shutil.copytree(ROOT / "pkdlib", tmp_path / "pkdlib", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "pkdlib" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{statement}\n")
    done = lint_imports(tmp_path)
    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert done.returncode == 1 and any(contract in line for line in broken), done.stdout + done.stderr


def test_every_public_module_has_its_place_on_the_pages_of_the_library():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "book/api").glob("*.md"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES]
    public = {name for name in names if "._" not in name} - {"pkdlib", "pkdlib.cli"}
    assert set(re.findall(r"automodule:: (\S+)", pages)) == public


MODULES = sorted((ROOT / "pkdlib").rglob("*.py"))
LONGEST_MODULE, MOST_FILES, LONGEST_CHAIN = 400, 16, 9  # lines; in a folder; packages that import one another


def test_no_module_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not [f"{path}: {length} lines" for path, length in lengths.items() if length > LONGEST_MODULE]


def test_no_folder_is_crowded():
    folders = collections.Counter(path.parent for top in ("pkdlib", "tests") for path in (ROOT / top).rglob("*.py"))
    assert not [f"{folder}: {count} files" for folder, count in folders.items() if count > MOST_FILES]


def longest_chain(graph: grimp.ImportGraph) -> tuple[str, ...]:
    """The modules of the longest chain in which each imports the next; they must not import in a circle."""

    @functools.cache
    def below(module: str) -> tuple[str, ...]:
        return module, *max(map(below, graph.find_modules_directly_imported_by(module)), key=len, default=())

    return max(map(below, graph.modules), key=len)


def test_imports_are_shallow_and_in_no_circle():
    graph = grimp.build_graph("pkdlib", cache_dir=None, exclude_type_checking_imports=True)
    assert len(longest_chain(graph)) > 1
    for package in graph.find_children("pkdlib"):
        graph.squash_module(package)
    chain = longest_chain(graph)
    assert "pkdlib.companion" in chain and len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


def test_the_longest_chain_of_a_small_graph_is_found():
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")):
        graph.add_import(importer=importer, imported=imported)
    assert longest_chain(graph) == ("a", "b", "c")


def test_readme_states_the_measured_times():
    file = ROOT / "results" / "quick" / "marionette" / "timings.json"
    timings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    book, tested = (
        f"{timings[seconds] / 60:.0f} minutes | {timings[memory] / 1024:.1f} GB"
        if seconds in timings
        else "not yet measured on this version"
        for seconds, memory in (("total_seconds", "peak_memory_mib"), ("test_seconds", "test_peak_memory_mib"))
    )
    assert f"| `make book` | {book} |" in text
    assert f"| `make test` | {tested} |" in text


@pytest.mark.slow
def test_every_benchmark_finds_what_it_imports():
    # In one process, for most of the time goes into torch; what a benchmark does stands under `if __name__`.
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    found = subprocess.run(
        [sys.executable, "-c", program, *names], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert names and not found.returncode, found.stderr
