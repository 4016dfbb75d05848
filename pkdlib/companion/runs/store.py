"""The run store: named steps whose artefacts appear whole or not at all, each with its `run.json`.

The store knows nothing of what a step makes. A step is a folder; it is built under a temporary name and renamed when
it is whole, so that a process killed at any moment leaves either the finished step or a part to resume from.

A store may have another one behind it, which is only read: the steps that come with the library. One of those stands
in for a step that is not there, if it was made of the same choices, whatever machine and version of the code made it.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pkdlib import __version__, _files, _processes, _resources
from pkdlib.companion.runs import fingerprints

RECORD = "run.json"
TIMINGS = "timings.json"
# How a step agrees with what is asked for, the closest first: in all, but for the code that made it, or in the choices
# that it was made of.
SAME, KEPT, SHIPPED = "same", "kept", "shipped"
# Settings that say on what a step is computed, and choose nothing.
_MACHINE = {"device", "threads", "deterministic", "compiled"}
_RECORDED_PACKAGES = ("av", "numpy", "scipy", "torch", "torchvision", "curvlinops-for-pytorch")


class RunError(Exception):
    """A run folder that cannot be used as asked; the message says which and what to do."""


class Store:
    """A folder of finished steps.

    Args:
        root: The folder, made when the first step is.
        keep: Whether a finished step is taken although other code than the present one made it; it is told, once.
        shipped: A folder of finished steps to show where `root` has none; nothing is written there, and it is told.
    """

    def __init__(self, root: Path | str, *, keep: bool = False, shipped: Path | None = None):
        """Remember where the steps live."""
        self.root, self.keep, self.shipped = Path(root), keep, shipped

    def step(
        self,
        name: str,
        make: Callable[[Path], None],
        settings: Mapping[str, Any],
        made_by: Mapping[str, Any] | None = None,
    ) -> Path:
        """Return the folder of a finished step, making it where none agrees: none here, and none that is shipped.

        Args:
            name: The step's name, which is its folder's.
            make: Called with the folder to fill. After a kill it is called again with the same, partly filled folder
                and may resume from what lies there. What lies in its folder RESUME goes once the step is whole.
            settings: What the user chose that decides the step's content, JSON-compatible; recorded in `run.json`.
            made_by: What else decides it and may change under the same settings, such as `fingerprints.fingerprint`
                gives; JSON-compatible, recorded, too.

        Returns:
            The folder, whole.

        Raises:
            RunError: If the step was finished with other settings, or the folder cannot be written.
            ProcessError: If a program without `if __name__ == "__main__":` begins again in a process that it started.
        """  # noqa: DOC502
        final = self.root / name
        wanted = as_json({"settings": settings, "made_by": made_by or {}})
        if self._is_usable(final, wanted):
            return final
        if self.shipped and self._is_usable(self.shipped / name, wanted):
            return self.shipped / name
        _processes.refuse_if_starting()
        partial = final.with_name(f".{name}.partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            with _lock(self.root / f".{name}.lock"):
                if self._is_usable(final, wanted):  # another process made it while this one waited
                    return final
                if not _is_whole(partial, wanted):
                    _begin(partial, wanted)
                    with _own_time() as own_seconds:
                        make(partial)
                    for leftover in partial.rglob(".*.tmp"):  # of a write that a kill cut short
                        leftover.unlink()
                    _remember_time(partial, own_seconds())
                    _files.write_json(partial / RECORD, {"step": name, **wanted, **provenance()})
                _replace(final, partial)
        except OSError as error:
            raise RunError(f"cannot write the run folder {final}: {error.strerror or error}") from error
        return final

    def finished(self, pattern: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Find finished steps, here and shipped.

        Args:
            pattern: Of their names, as `glob` takes it.

        Yields:
            A step's folder and its record, by name.
        """
        for root in filter(None, (self.root, self.shipped)):
            for record in sorted(root.glob(f"{pattern}/{RECORD}")):
                yield record.parent, _files.read_json(record)

    def agreement(self, step: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        """Say whether, and how, a finished step agrees with what is asked for.

        Args:
            step: Its folder, here or shipped.
            found: Its record.
            wanted: `settings` and `made_by`, as `step` takes them.

        Returns:
            SAME, KEPT or SHIPPED; empty where it does not agree.
        """
        if step.parent == self.shipped:
            return SHIPPED if _choices(found) == _choices(wanted) else ""
        if found["settings"] != wanted["settings"]:
            return ""
        if found.get("made_by") == wanted["made_by"]:
            return SAME
        return KEPT if self.keep else ""

    def tell(self, step: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Say, once, that a step is shown although it was not made here, or not by the present code.

        Args:
            step: Its folder.
            found: Its record.
            wanted: As `agreement` takes it.
        """
        agreement = self.agreement(step, found, wanted)
        if agreement == KEPT:
            made = found.get("commit") or f"version {found['versions'].get('pkdlib', 'unknown')}"
            _say_once(f"kept, though other code made it ({made}): {step}")
        if agreement == SHIPPED:
            earlier = _codes(found["made_by"]) != _codes(wanted["made_by"])
            _say_once(
                f"shown: the run that comes with pkdlib{', of an earlier version of its code' * earlier}; to train for "
                "real, write recompute = True in the parameters' cell"
            )

    def _is_usable(self, final: Path, wanted: dict[str, Any]) -> bool:
        record = final / RECORD
        if not record.is_file():
            return False
        found = _files.read_json(record)
        if final.parent == self.root and found["settings"] != wanted["settings"]:
            raise RunError(
                f"{final} was made with other settings: {_changes(found['settings'], wanted['settings'])}; "
                "choose another folder with --runs, or remove this one with `pkd clean`"
            )
        if not self.agreement(final, found, wanted):
            return False
        self.tell(final, found, wanted)
        if final.parent == self.root:  # where a kill fell between the step's end and that
            shutil.rmtree(final / _files.RESUME, ignore_errors=True)
        return True


@functools.cache
def _say_once(line: str) -> None:
    print(line, flush=True)


def as_json(content: Any) -> Any:
    """Give content the form that it has when it is read again, to compare it with what was.

    Args:
        content: Anything JSON-compatible.

    Returns:
        The same of dictionaries, lists, strings, numbers, booleans and None alone.
    """
    return json.loads(json.dumps(content))


def provenance() -> dict[str, Any]:
    """Say which code, versions and machine a result comes from.

    Returns:
        The commit of the library's own checkout and whether it had uncommitted changes (None in an installed wheel,
        whatever repository lies around it), a digest of the library's sources, versions of it and of other packages,
        Python, platform, and device: the processor, after the GPU if one was used.
    """
    versions = {"pkdlib": __version__}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        **_commit(),
        "sources": source_digest(),
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


def _choices(record: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    # What was chosen of a step: neither the machine nor the versions that made it.
    settings = {name: value for name, value in record["settings"].items() if name not in _MACHINE}
    return settings, fingerprints.without_versions(record["made_by"])


def _codes(made_by: Any) -> list[str]:
    # The digests of code in a record, of the step's own and of those that it was made from.
    if not isinstance(made_by, Mapping):
        return []
    inner = [code for name in sorted(made_by) for code in _codes(made_by[name])]
    return [*inner, made_by["code"]] if "code" in made_by else inner


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    return ", ".join(f"{key} = {found.get(key)!r} (now {wanted.get(key)!r})" for key in names[:4])


def _is_whole(partial: Path, wanted: dict[str, Any]) -> bool:
    # Whether a kill fell between the step's record, which is written last, and its rename.
    record = partial / RECORD
    return record.is_file() and all(_files.read_json(record)[key] == value for key, value in wanted.items())


def _begin(partial: Path, wanted: dict[str, Any]) -> None:
    """Empty a partial folder that was begun with other settings or by other code."""
    mark = partial / _files.RESUME / "begun.json"
    if mark.is_file() and _files.read_json(mark) == wanted:
        return
    shutil.rmtree(partial)
    _files.write_json(mark, wanted)


def _replace(final: Path, partial: Path) -> None:
    # A kill in between leaves a whole part, which the next start only renames.
    outdated = final.with_name(f".{final.name}.outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if final.exists():
        os.replace(final, outdated)
    os.replace(partial, final)
    shutil.rmtree(final / _files.RESUME, ignore_errors=True)
    shutil.rmtree(outdated, ignore_errors=True)


def source_digest() -> str:
    """Hash the library's own source, so that a page is made again whatever changed.

    Returns:
        16 hexadecimal digits.
    """
    folder = Path(__file__).parents[2]
    texts = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    return digest(texts)


def _remember_time(partial: Path, seconds: float) -> None:
    # Kept apart from run.json and the artefacts, which are compared bit for bit. Of a resumed step, these are the
    # seconds of the process that finished it.
    _files.write_json(partial / TIMINGS, {"seconds": round(seconds, 2), "peak_memory_mib": round(peak_memory(), 1)})


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
    with open(path, "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # released by the kernel when the process dies
        except OSError as error:
            raise RunError(
                f"cannot lock {path}: its file system, {_file_system(path)}, refuses ({error.strerror}); choose a run "
                "folder on another one with --runs, such as a local disk, or let the file system be mounted with locks"
            ) from error
        yield


def _file_system(path: Path) -> str:
    # Its kind and where it is mounted, as far as the system tells.
    mounted = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, place, kind, *_ = line.split()
            if path.resolve().is_relative_to(place):
                mounted.append((len(place), f"{kind} at {place}"))
    return max(mounted)[1] if mounted else f"that of {path.parent}"


def _commit() -> dict[str, Any]:
    root = _resources.repository()
    found = _git(root, "rev-parse", "--show-toplevel", "HEAD") if root else None
    if not found or Path(found.splitlines()[0]).resolve() != root:  # as of an archive unpacked in another repository
        return {"commit": None, "modified": None}
    changes = _git(root, "status", "--porcelain", "--", "pkdlib", "notebooks", "profiles")
    return {"commit": found.splitlines()[1], "modified": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, encoding="utf-8")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # where it is not loaded, nothing ran on a GPU
    return torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
