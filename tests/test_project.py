"""What is said in more than one place is said alike: versions, addresses, notebook pairs, commands, and the layers."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupytext.compare import compare_notebooks
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pkdlib import results

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = sorted((ROOT / "notebooks").glob("*.md"))

# The floors of the house, ground floor first: an import points down, or to a neighbour, and never in a circle.
FLOORS = {
    "__init__": 0,
    "processes": 1,
    "container": 1,
    "h264": 1,
    "files": 0,
    "orientation": 1,
    "sources": 1,
    "motion": 1,
    "views": 1,
    "mpeg": 1,
    "headers": 1,
    "decoder": 1,
    "index": 1,
    "indexing": 1,
    "bitstream": 1,
    "cost": 1,
    "statistics": 1,
    "runs": 1,
    "measure": 1,
    "parameters": 1,
    "methods": 1,
    "controls": 1,
    "plans": 1,
    "logits": 1,
    "resources": 1,
    "fingerprints": 1,
    "transcode": 2,
    "pictures": 2,
    "datasets": 2,
    "places": 3,
    "data": 3,
    "banks": 3,
    "clips": 3,
    "ranks": 3,
    "feeding": 4,
    "devices": 3,
    "pretrained": 3,
    "lite": 3,
    "networks": 3,
    "teamnet": 3,
    "classifiers": 3,
    "architectures": 3,
    "levels": 4,
    "training": 4,
    "distillation": 4,
    "wise": 4,
    "stacking": 4,
    "early_exit": 4,
    "objective": 4,
    "estimates": 4,
    "operators": 4,
    "spectra": 4,
    "traces": 4,
    "sharpness": 4,
    "landscape": 4,
    "flatness": 4,
    "cascades": 5,
    "experiments": 5,
    "tallies": 5,
    "models": 5,
    "ensembles": 5,
    "trade_offs": 5,
    "latency": 5,
    "audit": 5,
    "crossfit": 5,
    "minima": 5,
    "tables": 5,
    "claims": 5,
    "differences": 5,
    "advantages": 5,
    "advantage_reports": 5,
    "regime": 5,
    "teachers": 5,
    "flatness_comparisons": 5,
    "comparisons": 5,
    "verdicts": 5,
    "encodings": 5,
    "charts": 5,
    "cascade_charts": 5,
    "flatness_charts": 5,
    "flatness_reports": 5,
    "cascade_reports": 5,
    "second_backbone": 5,
    "display": 5,
    "reports": 5,
    "speeds": 5,
    "paper_scale": 5,
    "coverage": 5,
    "facts": 5,
    "summaries": 5,
    "results": 5,
    "study": 5,
    "reproduce": 6,
    "book": 6,
    "cli": 6,
}
BASE = (
    "files",
    "container",
    "sources",
    "orientation",
    "h264",
    "mpeg",
    "headers",
    "motion",
    "views",
    "decoder",
    "index",
    "indexing",
)
BASE += ("bitstream", "transcode", "pictures")


def requirements(*extras: str) -> dict[str, SpecifierSet]:
    lines = [line for extra in extras for line in EXTRAS[extra]] + PROJECT["dependencies"]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


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
    (pip,) = (entry["pip"] for entry in environment if isinstance(entry, dict))
    conda = dict(entry.partition(" ")[::2] for entry in environment if isinstance(entry, str))
    assert pip == ["-e .[train,pretrained,book]"]
    assert conda.keys() == {"python", "pip", "pytorch-cpu", "torchvision"}
    declared = requirements("train", "book")
    assert SpecifierSet(conda["pytorch-cpu"]) == declared["torch"]
    assert SpecifierSet(conda["torchvision"]) == declared["torchvision"]
    python = SpecifierSet(conda["python"])
    assert [minor for minor in range(20) if f"3.{minor}" in python] == [11, 12, 13]
    assert python & SpecifierSet(PROJECT["requires-python"]) == python & SpecifierSet(">=3.11")
    classifiers = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if ":: Python :: 3." in c]
    assert classifiers == ["3.11", "3.12", "3.13"]


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

    def test_its_cells_may_be_run_in_any_order(self, source):
        """What a cell takes from others comes from one of them alone, so that it does not hang on which ran last."""
        _, *sources = (cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code")
        cells = [ast.parse(text) for text in sources]  # but for the first one, which installs by a magic command
        names = [[node for node in ast.walk(cell) if isinstance(node, ast.Name)] for cell in cells]
        bound = [{node.id for node in own if isinstance(node.ctx, ast.Store)} for own in names]
        for own, nodes in zip(bound, names, strict=True):
            for name in {node.id for node in nodes} - own:
                assert sum(name in other for other in bound) <= 1, f"{name} is bound by several cells"
        assert "profile" in bound[0] and not bound[0] & set().union(*bound[1:])

    def test_header_names_the_command_that_reruns_it(self, source):
        text = source.read_text(encoding="utf-8")
        assert f"papermill notebooks/{source.stem}.ipynb" in text or f"--only {source.stem[:2]}" in text


def test_results_take_less_than_30_megabytes():
    assert sum(path.stat().st_size for path in (ROOT / "results").rglob("*") if path.is_file()) < 30e6
    assert not [path for path in (ROOT / "results").glob("*/*/*.csv") if path.stem in results.NAMES]  # those are packed


def test_the_chapters_are_all_there():
    assert [source.stem[:2] for source in SOURCES] == [f"{number:02}" for number in range(1, 9)]


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


def room(path: Path) -> str:
    return path.relative_to(ROOT / "pkdlib").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def rooms_below() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in sorted((ROOT / "pkdlib").rglob("*.py")):
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("pkdlib.")}
        # A name of the package itself (`from pkdlib import __version__`) is the ground's.
        ours = {"__init__" if name.startswith("__") else name for name in ours}
        graph.setdefault(room(path), set()).update(ours - {room(path)})
    return graph


def test_imports_only_point_down():
    graph = rooms_below()
    assert graph.keys() <= FLOORS.keys(), "give each new module its floor"
    upward = [(a, b) for a, below in graph.items() for b in below if FLOORS[b] > FLOORS[a]]
    assert not upward
    settled: set[str] = set()
    while ready := {name for name, below in graph.items() if name not in settled and below <= settled}:
        settled |= ready
    assert settled == graph.keys(), f"these import each other in a circle: {sorted(graph.keys() - settled)}"


@pytest.mark.parametrize("name", BASE)
def test_the_base_needs_av_and_numpy_alone(name):
    path = ROOT / "pkdlib" / f"{name}.py"
    foreign = {module.partition(".")[0] for module in imports(path)} - sys.stdlib_module_names
    assert foreign <= {"av", "numpy", "pkdlib"}
    assert rooms_below()[name] <= {*BASE, "runs", "resources"}


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
