"""Run the notebooks in order through papermill, redoing only what changed, and keep what each one takes.

A notebook's source is its MyST `.md`; papermill reads only `.ipynb`, so jupytext reads the source and
papermill is handed the notebook. An executed notebook appears whole or not at all, and carries a digest of
everything that it was made from: an output whose digest is still right is kept.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError, strip_color
from traitlets import CaselessStrEnum, default

from pkdlib import _files, _processes, _progress, _resources
from pkdlib.companion import folders
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import measure, store
from pkdlib.companion.runs.measure import Cost

#: Where the notebooks of the book itself (the unchanged `quick` profile) are executed to.
BOOK_FOLDER = Path("_build/executed")
#: Where `make test` leaves how long it took.
TEST_TIMINGS = Path("_build/test/timings.json")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class NotebookError(Exception):
    """A notebook that failed; the message names it and repeats the last line of its error."""


def reproduce(
    parameters: Parameters,
    *,
    only: Sequence[str] = (),
    folder: Path | None = None,
    log: Callable[[str], None] = print,
) -> list[Path]:
    """Execute the notebooks with these parameters, in order, skipping those whose output is up to date.

    The parameters' `root` and `clip`, and `folder`, are relative to the current working directory; `runs` and `cache`
    to `_resources.working_folder`, which is told where that is no checkout's root. Beside the outputs `timings.json`
    keeps each notebook's `Cost`, apart from everything that is compared.

    Args:
        parameters: The checked parameters of all notebooks.
        only: Names of notebooks, or the numbers that they begin with; empty means all.
        folder: Where they go, in `notebooks`; None for `output_folder`. Two that run at the same time, of two seeds
            say, need a folder each.
        log: Called with one line of progress at a time.

    Returns:
        The executed notebooks' paths.

    Raises:
        NotebookError: If a notebook fails, or `only` names none.
        OSError: If the outputs' folder cannot be written.
    """  # noqa: DOC502
    sources = notebooks(only)
    folder = folder or output_folder(parameters)
    _check_writable(folder / "notebooks")
    if place := folders.sentence(parameters):
        log(place)
    targets = []
    for number, source in enumerate(sources, start=1):
        target = folder / "notebooks" / f"{source.stem}.ipynb"
        targets.append(target)
        made_from = _made_from(source, parameters)
        title = f"[{number}/{len(sources)}] {source.stem}"
        if _digest_in(target) == made_from:
            log(f"{title}: up to date")
            continue
        log(f"{title}: running")
        cost = run_notebook(source, target, _injected(parameters), Path.cwd(), made_from=made_from)
        measure.remember(folder / store.TIMINGS, "notebooks", source.stem, cost)
        memory = "" if cost.peak_memory_mib is None else f", {cost.peak_memory_mib:.0f} MiB at the peak"
        log(f"{title}: done in {cost.seconds:.1f} s{memory}")
    return targets


def publish(parameters: Parameters, target: Path, names: Sequence[str] = ()) -> Path:
    """Write the tables of finished runs as results to commit; with all of them goes what the notebooks took.

    Args:
        parameters: The notebooks' parameters.
        target: The folder of results.
        names: Tables to write; empty means all. Beside exits and ensembles go the accuracies of all systems.

    Returns:
        `<target>/<profile>/<dataset>`.

    Raises:
        ValueError: If there is no table of a name.
    """
    from pkdlib.companion import tables  # these need torch, which otherwise the notebooks' kernels alone load
    from pkdlib.companion.claims import aggregate

    for name in names:
        if name not in tables.TABLES:
            raise ValueError(f"there is no table {name!r}; the tables are: {', '.join(tables.TABLES)}")
    where = tables.publish(parameters, target, names or tuple(tables.TABLES))
    if not names or {"exits", "ensembles"} <= set(names):
        summary = aggregate.accuracy_table({name: tables.table(parameters, name) for name in ("exits", "ensembles")})
        _files.write_atomically(
            where / "accuracy.csv", lambda path: summary.to_csv(path, index=False, float_format="%.6g")
        )
    timings = output_folder(parameters) / "timings.json"
    if timings.is_file() and not names:
        # `make test` leaves its own time; the book states it beside the book's.
        tests = _resources.place(TEST_TIMINGS)
        tested = _files.read_json(tests) if tests.is_file() else {}
        _files.write_json(where / "timings.json", _files.read_json(timings) | tested)
    return where


def run_notebook(
    source: Path, target: Path, parameters: Mapping[str, Any], cwd: Path, *, made_from: str | None = None
) -> Cost:
    """Execute one notebook through papermill and write the result whole.

    The kernel is this interpreter, whatever kernels are registered, and does not outlive this process,
    however that one ends.

    Args:
        source: The notebook, MyST `.md` or `.ipynb`.
        target: The executed `.ipynb`; its folder is made.
        parameters: Flat values that papermill injects after the notebook's `parameters` cell.
        cwd: The kernel's working directory.
        made_from: Digest to keep in the executed notebook's metadata.

    Returns:
        What it took.

    Raises:
        NotebookError: If a cell raises or the kernel dies.
    """
    name = f"notebook {source.stem.partition('_')[0]}"
    notebook = jupytext.read(source)
    logging.getLogger("papermill").setLevel(logging.ERROR)  # its warnings of names that a notebook does not list
    try:
        with measure.measured() as cost:
            executed = papermill.execute_notebook(
                notebook,
                None,
                parameters=dict(parameters),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=180,
                cwd=cwd,
                kernel_manager_class=_Kernel,
            )
    except PapermillExecutionError as error:
        raise NotebookError(f"{name}: {_last_line(error)}") from error
    except DeadKernelError as error:
        raise NotebookError(f"{name}: its kernel died (killed, or out of memory); run it again to go on") from error
    for cell in executed.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _tells_progress(output)]
    executed.metadata["papermill"]["input_path"] = f"notebooks/{source.name}"  # papermill repeats the notebook here
    if made_from:
        executed.metadata["pkdlib"] = {"made_from": made_from}
    # A parameter's path need not be UTF-8; of its other bytes this makes JSON's own escapes.
    content = f"{nbformat.writes(executed)}\n".encode(errors="backslashreplace")
    _files.write_atomically(target, lambda temporary: temporary.write_bytes(content))
    return cost()


def notebooks(only: Sequence[str] = ()) -> list[Path]:
    """List the notebooks' sources in reading order.

    Args:
        only: Names of notebooks, or the numbers that they begin with; empty means all.

    Returns:
        The `.md` sources.

    Raises:
        NotebookError: If a name in `only` is no notebook's.
    """
    sources = sorted(_resources.folder("notebooks").glob("[0-9][0-9]_*.md"))
    for name in only:
        if not any(_is_named(source, name) for source in sources):
            known = ", ".join(source.stem for source in sources)
            raise NotebookError(f"there is no notebook {name!r}; there are {known}")
    return [source for source in sources if not only or any(_is_named(source, name) for name in only)]


def output_folder(parameters: Parameters) -> Path:
    """Say where notebooks with these parameters are executed to.

    Args:
        parameters: The notebooks' parameters.

    Returns:
        `_build/executed` for the book's own run, which is the unchanged `quick` profile; else the folder of the runs.
    """
    if parameters == Parameters.for_profile("quick"):
        return _resources.place(BOOK_FOLDER)
    return folders.run_folder(parameters)


class _Kernel(AsyncKernelManager):
    """A kernel of this very interpreter, which does not outlive the process that started it."""

    # No port that others on the machine could reach.
    transport = CaselessStrEnum(["ipc"], default_value="ipc")

    @default("ip")
    def _ip_default(self) -> str:
        # By default the sockets lie in the working directory, and stay there when a kernel is killed.
        return str(Path(tempfile.mkdtemp(prefix="pkd-", dir=_processes.socket_folder())) / "kernel")

    def cleanup_ipc_files(self) -> None:
        super().cleanup_ipc_files()
        shutil.rmtree(Path(self.ip).parent, ignore_errors=True)

    @property
    def kernel_spec(self) -> KernelSpec:
        arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=arguments, display_name="Python 3", language="python")

    async def start_kernel(self, **options: Any) -> None:
        # What a cell prints is in the notebook; on standard error the kernel only tells of itself.
        options["stderr"] = subprocess.DEVNULL
        if sys.platform == "linux":
            options["preexec_fn"] = functools.partial(_end_with, os.getpid(), ctypes.CDLL(None, use_errno=True))
        await super().start_kernel(**options)


def _end_with(parent: int, libc: ctypes.CDLL) -> None:
    # ipykernel's own watch over its parent looks once a second, and misses one that is gone before it starts.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _check_writable(folder: Path) -> None:
    # Before the work, not after it.
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"room for one block")


def _injected(parameters: Parameters) -> dict[str, Any]:
    # No more than is needed, so that the cell that papermill injects into a page stays short.
    profile = parameters.own_profile.flat()
    # By their names a notebook knows what the profile says of them.
    profile |= {name: Parameters.model_fields[name].default for name in ("dataset", "backbone")}
    profile["recompute"] = False  # as every page's own cell says
    changed = {name: value for name, value in parameters.flat().items() if value != profile[name]}
    return {"profile": parameters.profile, **changed}


def _is_named(source: Path, name: str) -> bool:
    return name in (source.stem, source.stem.partition("_")[0], source.stem.partition("_")[0].lstrip("0"))


def _tells_progress(output: nbformat.NotebookNode) -> bool:
    return _progress.MARK.items() <= output.get("metadata", {}).items()


def _last_line(error: PapermillExecutionError) -> str:
    text = strip_color("\n".join(error.traceback)) or f"{error.ename}: {error.evalue}"
    return [line for line in text.splitlines() if line.strip()][-1].strip()


def _made_from(source: Path, parameters: Parameters) -> str:
    # All that decides an executed notebook.
    results = _resources.folder("results")
    return store.digest(
        {
            "source": source.read_text(encoding="utf-8"),
            "parameters": parameters.flat(),
            "library": store.source_digest(),
            "results": {
                str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(results.rglob("*"))
                if path.is_file()
            },
            "data": [_stamps(path) for path in (parameters.root, parameters.clip) if path],
        }
    )


def _stamps(path: str) -> list[tuple[str, int, int]]:
    top = Path(path)
    files = sorted(file for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file())
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _digest_in(target: Path) -> str | None:
    try:
        return nbformat.read(target, as_version=4).metadata["pkdlib"]["made_from"]
    except (OSError, KeyError, ValueError, nbformat.reader.NotJSONError):
        return None
