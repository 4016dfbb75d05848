"""The run store: named steps whose artefacts appear whole or not at all, each with its `run.json`.

The store knows nothing of what a step makes. A step is a folder; it is built under a temporary name and renamed when
it is whole, so that a process killed at any moment leaves either the finished step or a part to resume from.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

RECORD = "run.json"
TIMINGS = "timings.json"
_RECORDED_PACKAGES = ("pkdlib", "av", "numpy", "scipy", "torch", "torchvision", "curvlinops-for-pytorch")


class RunError(Exception):
    """A run folder that cannot be used as asked; the message says which and what to do."""


class Store:
    """A folder of finished steps.

    Args:
        root: The folder, made when the first step is.
    """

    def __init__(self, root: Path | str):
        """Remember where the steps live."""
        self.root = Path(root)

    def step(self, name: str, make: Callable[[Path], None], settings: Mapping[str, Any]) -> Path:
        """Return the folder of a finished step, making it first where it is missing.

        Args:
            name: The step's name, which is its folder's.
            make: Called with the folder to fill. After a kill it is called again with the same, partly filled folder
                and may resume from what lies there.
            settings: All that decides the step's content, JSON-compatible; recorded in `run.json`.

        Returns:
            The folder, whole.

        Raises:
            RunError: If the step was finished with other settings, or the folder cannot be written.
        """
        final = self.root / name
        settings = json.loads(json.dumps(dict(settings)))
        if _is_finished(final, settings):
            return final
        partial = final.with_name(f".{name}.partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            with _lock(self.root / f".{name}.lock"):
                if _is_finished(final, settings):  # another process made it while this one waited
                    return final
                _begin(partial, settings)
                with _own_time() as own_seconds:
                    make(partial)
                _remember_time(partial, own_seconds())
                write_json(partial / RECORD, {"step": name, "settings": settings, **provenance()})
                os.replace(partial, final)
        except OSError as error:
            raise RunError(f"cannot write the run folder {final}: {error.strerror or error}") from error
        return final


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name beside its place, then rename it.

    Args:
        path: The file that is to appear whole or not at all.
        write: Called with the temporary path; it writes the file there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal contents are equal bytes.

    Args:
        path: The file.
        content: Anything JSON-compatible.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.
    """
    return json.loads(Path(path).read_text())


def provenance() -> dict[str, Any]:
    """Say which code, versions and machine a result comes from.

    Returns:
        Git commit (None outside a checkout), whether the tree had uncommitted changes, package versions, Python,
        platform, and device: the processor, after the GPU if one was used.
    """
    versions = {}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "commit": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--", "pkdlib", "notebooks", "profiles")),
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": ", ".join(filter(None, [_gpu(), _processor()])),
    }


def digest(content: Any) -> str:
    """Hash JSON-compatible content.

    Args:
        content: Anything JSON-compatible.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of its canonical JSON.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def peak_memory() -> float:
    """Measure the peak resident memory of this process so far.

    Returns:
        MiB.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


def _is_finished(final: Path, settings: dict[str, Any]) -> bool:
    record = final / RECORD
    if not record.is_file():
        return False
    found = read_json(record)["settings"]
    if found == settings:
        return True
    names = sorted(key for key in found.keys() | settings.keys() if found.get(key) != settings.get(key))
    changes = ", ".join(f"{key} = {found.get(key)!r} (now {settings.get(key)!r})" for key in names[:4])
    raise RunError(
        f"{final} was made with other settings: {changes}; "
        "choose another folder with --runs, or remove this one with `pkd clean`"
    )


def _begin(partial: Path, settings: dict[str, Any]) -> None:
    """Empty a partial folder that was begun with other settings or another version of the code."""
    mark = partial / "begun.json"
    begun = {"settings": settings, "source": source_digest()}
    if mark.is_file() and read_json(mark) == begun:
        return
    for path in sorted(partial.rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else path.rmdir()
    write_json(mark, begun)


def source_digest() -> str:
    """Hash the library's own source, so that a part begun by other code is not resumed.

    Returns:
        16 hexadecimal digits.
    """
    folder = Path(__file__).parent
    texts = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))}
    return digest(texts)


def _remember_time(partial: Path, seconds: float) -> None:
    # Kept apart from run.json and the artefacts, which are compared bit for bit. Of a resumed step, these are the
    # seconds of the process that finished it.
    write_json(partial / TIMINGS, {"seconds": round(seconds, 2), "peak_memory_mib": round(peak_memory(), 1)})


@contextlib.contextmanager
def _own_time() -> Iterator[Callable[[], float]]:
    # A step may make the steps that it needs: their time is theirs, not its own.
    started, before = time.perf_counter(), _nested.seconds
    own = 0.0
    try:
        yield lambda: own
    finally:
        elapsed = time.perf_counter() - started
        own = elapsed - (_nested.seconds - before)
        _nested.seconds = before + elapsed


class _Nested(threading.local):
    seconds = 0.0  # spent so far in the steps that the present one has made


_nested = _Nested()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released by the kernel when the process dies
        yield


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # where it is not loaded, nothing ran on a GPU
    return torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
