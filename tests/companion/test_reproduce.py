"""The notebooks' runner: what it redoes, leaves and says; no kill leaves half a file or an orphan."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from pkdlib.companion import reproduce, workspace
from pkdlib.companion.parameters import Parameters
from tests.extent import NIGHTLY

HEADER = "---\njupytext:\n  text_representation:\n    extension: .md\n    format_name: myst\n---\n\n"
ROOT = Path(__file__).resolve().parents[2]
PKD = "import sys; from pkdlib.cli import main; sys.exit(main())"
TINY = ("marionette_actors=6", "marionette_actions=2", "input_size=32", "backbone_epochs=1", "exit_epochs=1")
CELLS = {
    "01_first": ["seed = 0", "print('seed', seed); import os; print(os.getcwd())"],
    "02_second": ["seed = 0", "print('second', seed)"],
}


def write_notebook(folder: Path, name: str, cells: list[str]) -> Path:
    tags = ["parameters", *[""] * len(cells)]
    blocks = [
        f"```{{code-cell}} ipython3\n:tags: [{tag}]\n\n{cell}\n```\n" for tag, cell in zip(tags, cells, strict=False)
    ]
    path = folder / f"{name}.md"
    path.write_text(HEADER + "\n".join(blocks), encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of two tiny notebooks in the place of the project's own."""
    (tmp_path / "results").mkdir()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, cells in CELLS.items():
        write_notebook(folder, name, cells)
    shipped = reproduce._resources.folder("profiles")
    monkeypatch.setattr(reproduce._resources, "folder", lambda name: shipped if name == "profiles" else tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def parameters():
    return Parameters.for_profile("smoke", seed=3)


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_runs_in_order_in_the_working_directory_with_the_parameters(project, parameters):
    lines = []
    paths = reproduce.reproduce(parameters, log=lines.append)
    assert [path.name for path in paths] == ["01_first.ipynb", "02_second.ipynb"]
    assert str(project) in lines.pop(0)  # of no checkout: where runs and cache lie is told, once
    assert not any(str(project) in line for line in lines)
    assert printed(paths[0]) == f"seed 3\n{project}\n"
    assert printed(paths[1]) == "second 3\n"
    assert [line.split(":")[0] for line in lines] == ["[1/2] 01_first"] * 2 + ["[2/2] 02_second"] * 2
    timings = json.loads((project / "runs/smoke/marionette/timings.json").read_text(encoding="utf-8"))["notebooks"]
    assert timings.keys() == CELLS.keys()
    assert 0 < timings["01_first"]["seconds"] < 60
    if sys.platform == "linux":
        own = psutil.Process().memory_full_info().uss / 2**20  # what no other process shares
        assert own < timings["01_first"]["peak_memory_mib"] < own + 1000  # this process and the kernel


@pytest.mark.slow
def test_redoes_only_what_changed(project, parameters, monkeypatch):
    def executed(**overrides) -> list[str]:
        lines = []
        changed = Parameters.for_profile("smoke", **{"seed": 3, **overrides})
        reproduce.reproduce(changed, log=lines.append)
        return [line.split()[1].rstrip(":") for line in lines if line.endswith("running")]

    assert executed() == ["01_first", "02_second"]
    assert executed() == []
    write_notebook(project / "notebooks", "02_second", ["seed = 0", "print('changed', seed)"])
    assert executed() == ["02_second"]
    assert executed(seed=4) == ["01_first", "02_second"]
    (project / "results" / "claims.csv").write_text("a,b\n", encoding="utf-8")
    assert executed(seed=4) == ["01_first", "02_second"]
    monkeypatch.setattr(reproduce.store, "source_digest", lambda: "another library")
    assert executed(seed=4) == ["01_first", "02_second"]
    clip = project / "clip.avi"
    clip.write_bytes(b"1")
    assert executed(seed=4, clip="clip.avi") == ["01_first", "02_second"]
    assert executed(seed=4, clip="clip.avi") == []
    clip.write_bytes(b"12")
    assert executed(seed=4, clip="clip.avi") == ["01_first", "02_second"]


def test_only_chooses_by_number_or_name_and_refuses_others(project):
    assert [path.stem for path in reproduce.notebooks(["2"])] == ["02_second"]
    assert [path.stem for path in reproduce.notebooks(["02_second", "01"])] == ["01_first", "02_second"]
    with pytest.raises(reproduce.NotebookError, match=r"no notebook '09'; there are 01_first, 02_second"):
        reproduce.notebooks(["02", "09"])


def test_the_error_is_the_last_line_of_the_cells_and_leaves_no_output(project, parameters):
    write_notebook(project / "notebooks", "01_first", ["seed = 0", "raise ValueError('two\\nlines of trouble')"])
    with pytest.raises(reproduce.NotebookError) as caught:
        reproduce.reproduce(parameters, log=lambda line: None)
    assert str(caught.value) == "notebook 01: lines of trouble"
    assert not list(project.rglob("*.ipynb"))


def test_a_kernel_that_dies_is_said(project, parameters):
    write_notebook(project / "notebooks", "01_first", ["seed = 0", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(reproduce.NotebookError, match="notebook 01: its kernel died"):
        reproduce.reproduce(parameters, log=lambda line: None)
    assert not [path for path in project.iterdir() if path.is_socket()]  # nor does it leave its sockets there


@pytest.mark.parametrize("length", [60, 84, 240])
def test_a_temporary_folder_of_any_length_will_do(project, parameters, monkeypatch, length):
    folder = project / ("t" * max(1, length - len(str(project)) - 1))
    folder.mkdir()
    monkeypatch.setattr(reproduce.tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    (path,) = reproduce.reproduce(parameters, only=["01"], log=lambda line: None)
    assert printed(path).startswith("seed 3")
    assert not list(folder.iterdir())  # no socket is left there


def test_a_path_need_not_be_utf_8(project):
    write_notebook(project / "notebooks", "01_first", ["clip = ''", "import os; print(os.fsencode(clip))"])
    parameters = Parameters.for_profile("smoke", clip=os.fsdecode(b"caf\xe9.avi"))
    lines = []
    for _ in range(2):
        (path,) = reproduce.reproduce(parameters, only=["01"], log=lines.append)
    assert printed(path) == "b'caf\\xe9.avi'\n"
    assert lines[-1].endswith("up to date")
    path.read_bytes().decode()


def test_the_books_own_run_has_its_own_folder(monkeypatch):
    monkeypatch.chdir(ROOT / "tests")  # anywhere in the checkout
    assert reproduce.output_folder(Parameters.for_profile("quick")) == ROOT / "_build/executed"
    others = [{"profile": "smoke"}, {"seed": 1}, {"runs": "elsewhere"}, {"runs": "/elsewhere"}]
    folders = {reproduce.output_folder(Parameters.for_profile(**{"profile": "quick", **other})) for other in others}
    assert folders == {
        ROOT / "runs/smoke/marionette",
        ROOT / "runs/quick/marionette",
        ROOT / "elsewhere/quick/marionette",
        Path("/elsewhere/quick/marionette"),
    }


def test_executed_notebooks_of_a_data_folder_lie_beside_its_runs(tmp_path):
    def parameters(root, **values) -> Parameters:
        return Parameters.for_profile("quick", dataset="folder", root=str(root), runs=str(tmp_path), **values)

    one, other = (parameters(tmp_path / name, pattern="(s1)") for name in ("one", "other"))
    places = {reproduce.output_folder(p) for p in (one, other, parameters(tmp_path / "one", pattern="(s2)"))}
    assert len(places) == 3 and all(place.name.startswith("folder-") for place in places)
    assert reproduce.output_folder(one) == workspace.Run(one, 0, 0).store.root.parents[1]


@pytest.mark.parametrize("moment", ["starting", "busy"])
def test_no_kernel_outlives_a_killed_parent(tmp_path, moment):
    source = write_notebook(tmp_path, "01_busy", ["seed = 0", "open('begun', 'w').close()\nwhile True: pass"])
    code = (
        "import sys; from pathlib import Path; from pkdlib.companion import reproduce\n"
        "reproduce.run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {'seed': 1}, Path(sys.argv[3]))"
    )
    target = tmp_path / "out" / "01_busy.ipynb"
    parent = start(["-c", code, str(source), str(target), str(tmp_path)])
    kernels = wait_for(lambda: [child.pid for child in psutil.Process(parent.pid).children(recursive=True)])
    if moment == "busy":
        wait_for(lambda: (tmp_path / "begun").exists())
    kill(parent)
    wait_for(lambda: not any(is_running(kernel) for kernel in kernels))
    assert not target.parent.exists()
    assert not [path for path in tmp_path.iterdir() if path.is_socket()]


# What there is once a run has begun on its data (killed there at night alone) and on its exits.
MOMENTS = ("cache/**/*.mp4", "**/.exits-*")


@pytest.mark.slow
def test_killed_anywhere_and_run_again_gives_the_same_bits(tmp_path):
    def command(name: str) -> list[str]:
        # Each run generates its data anew, so that a kill falls there, too.
        own = [*TINY, f"cache={tmp_path / name / 'cache'}"]
        words = [word for value in own for word in ("--set", value)]
        return ["-c", PKD, "reproduce", "--profile", "smoke", "--only", "04", *words, "--runs", str(tmp_path / name)]

    assert start(command("undisturbed")).wait() == 0
    for moment in MOMENTS if NIGHTLY else MOMENTS[1:]:  # each goes on where the last one was killed
        parent = start(command("killed"))
        wait_for(lambda there=moment: next((tmp_path / "killed").glob(there), None), seconds=300)
        assert parent.poll() is None
        kill(parent)
    assert start(command("killed")).wait() == 0
    expected, found = digests(tmp_path / "undisturbed"), digests(tmp_path / "killed")
    assert any(name.endswith(".csv") for name in expected)
    assert found == expected


def digests(folder: Path) -> dict[str, str]:
    """Hash all that a run computed; records and timings tell of the process, and notebooks hold timings."""
    kinds = {".csv", ".npz", ".npy", ".safetensors", ".avi", ".mp4"}
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in kinds)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(arguments: list[str]) -> subprocess.Popen:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(condition, seconds: float = 60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s")
