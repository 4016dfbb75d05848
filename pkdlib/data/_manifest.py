"""The manifest of a folder of made clips: what they were made from, and what they are.

`manifest.json` beside the clips holds the parameters, the versions of the libraries that made them, and each
clip's size, SHA-256 and origin. A clip is written atomically and recorded once it is whole; the manifest
notices one that was cut or replaced later, and one whose origin has changed.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from pkdlib import _files
from pkdlib.data.datasets import DatasetError

_NAME = "manifest.json"
_SECONDS_BETWEEN_SAVES = 2.0  # the most that a killed run has to do again


class Manifest:
    """The record of one folder of made clips.

    Args:
        folder: Where the clips are; made if it is missing.
        parameters: Everything that the clips depend on, as JSON can hold it.

    Raises:
        DatasetError: If the folder cannot be written, or holds clips made with other parameters.
    """

    def __init__(self, folder: Path, parameters: dict) -> None:
        self.folder = folder
        self._parameters = json.loads(json.dumps(parameters))
        self._versions = {"av": av.__version__, "numpy": np.__version__}
        self._clips: dict[str, dict] = {}
        self._saved = 0.0
        path = folder / _NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot use the clip folder {folder}: {error}; choose another") from error
        if found is None:
            return
        if found.get("parameters") != self._parameters:
            differing = _differences(found.get("parameters", {}), self._parameters)
            raise DatasetError(
                f"{folder} holds clips made with other parameters ({differing}); "
                "choose another folder or remove this one"
            )
        self._clips = found["clips"]
        self._versions = found["versions"]

    def path(self, name: str) -> Path:
        """Say where a clip is, or is to be.

        Args:
            name: Path of the clip within the folder.

        Returns:
            The path: the name's UTF-8 on disk, whatever this system's own encoding of names.
        """
        return located(self.folder, name)

    def holds(self, name: str, origin: dict | None = None) -> bool:
        """Say whether a clip is there, whole, and made from this origin.

        Args:
            name: Path of the clip within the folder.
            origin: What it is made from, as JSON can hold it.

        Returns:
            False if the clip has to be made.
        """
        return self.whole(name) and self._clips[name]["origin"] == origin

    def whole(self, name: str) -> bool:
        """Say whether a clip is there at its recorded size, whatever it was made from.

        Args:
            name: Path of the clip within the folder.

        Returns:
            False if the clip is not recorded, or not there, or of another size.
        """
        path = self.path(name)
        return name in self._clips and path.is_file() and path.stat().st_size == self._clips[name]["bytes"]

    def intact(self, name: str) -> bool:
        """Say whether a clip is what was recorded, by its checksum.

        Args:
            name: Path of the clip within the folder.

        Returns:
            False if the clip has to be made again.
        """
        return self.whole(name) and self._clips[name]["sha256"] == _digest(self.path(name))

    def note(self, name: str, key: str) -> Any:
        """Look up what was noted of a clip when it was made.

        Args:
            name: Path of the clip within the folder.
            key: The note's name.

        Returns:
            The note; None if there is none.
        """
        return self._clips.get(name, {}).get("notes", {}).get(key)

    def add(self, name: str, origin: dict | None = None, **notes: Any) -> None:
        """Record a finished clip; on disk it is by the next `save`, which this calls every few seconds.

        Args:
            name: Path of the clip within the folder.
            origin: What it is made from, as JSON can hold it.
            **notes: What else is worth keeping of it, as JSON can hold it.
        """
        path = self.path(name)
        self._clips[name] = {"bytes": path.stat().st_size, "sha256": _digest(path), "origin": origin}
        if notes:
            self._clips[name]["notes"] = notes
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write the manifest, atomically.

        Raises:
            DatasetError: If the folder cannot be written.
        """
        content = {
            "parameters": self._parameters,
            "versions": self._versions,
            "clips": dict(sorted(self._clips.items())),
        }
        try:
            with _files.appearing(self.folder / _NAME) as temporary:
                temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"cannot write in the clip folder {self.folder}: {error}") from error
        self._saved = time.monotonic()

    def checksum(self, names: list[str]) -> str:
        """Return one SHA-256 (hexadecimal) over the names and contents of these clips.

        Args:
            names: Paths of the clips within the folder.

        Returns:
            The checksum.
        """
        lines = [f"{self._clips[name]['sha256']}  {name}\n" for name in sorted(names)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def located(folder: Path, name: str) -> Path:
    """Say where a clip of a folder is, or is to be.

    Args:
        folder: The folder of clips.
        name: Path of the clip within it.

    Returns:
        The path: the name's UTF-8 on disk, whatever this system's own encoding of names.
    """
    return folder / os.fsdecode(name.encode())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(found: dict, wanted: dict) -> str:
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name}: {found.get(name)} there, {wanted.get(name)} asked for" for name in names)
