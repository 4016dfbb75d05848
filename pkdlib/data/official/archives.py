"""Unpack archives that others made, without trusting them.

zip is read by Python itself. rar is read by the program `bsdtar`, which only hands the members over: every name is
checked and every file written here, so that nothing is ever written outside the target. An archive is unpacked under a
temporary name and renamed when whole; archives inside it are unpacked where they lie.
"""

import lzma
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pkdlib._progress import tqdm
from pkdlib.data.datasets import DatasetError

SUFFIXES = (".rar", ".zip")

_DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeError, RuntimeError, ValueError)


# Takes a member's name, with `/` between folders, and its content; None stands for a link or a device.
_Write = Callable[[str, BinaryIO | None], None]


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive, and the archives in it, into a new folder.

    Args:
        archive: A zip, or anything that `bsdtar` reads.
        target: The folder to make; it appears only when it is whole.

    Raises:
        DatasetError: If the archive cannot be read, is damaged, or holds a path that leads out of the target, a link
            or the same file twice; if `bsdtar` is needed and absent; or if the target cannot be written.
    """
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        _unpack_into(archive, temporary)
        for inner in sorted(path for path in temporary.rglob("*") if path.suffix.lower() in SUFFIXES):
            _unpack_into(inner, inner.parent)
            inner.unlink()
        temporary.rename(target)
    except OSError as error:
        raise DatasetError(f"cannot unpack {archive} into {target}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def readable(raw: bytes) -> str:
    """Decode a name or a line that may be older than UTF-8.

    Args:
        raw: The bytes.

    Returns:
        Them as UTF-8, or as Latin-1 where they are not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def bsdtar(archive: Path) -> str:
    """Find the program that unpacks rar.

    Args:
        archive: What is to be unpacked, for the message.

    Returns:
        Its path.

    Raises:
        DatasetError: If it is not installed.
    """
    program = shutil.which("bsdtar")
    if program is None:
        raise DatasetError(
            f"{archive}: to unpack it needs the program bsdtar, which is not installed: it is in Debian's and Ubuntu's "
            "package libarchive-tools (apt install libarchive-tools)"
        )
    return program


def _unpack_into(archive: Path, folder: Path) -> None:
    with tqdm(desc=f"unpacking {archive.name}", unit="file", disable=None) as progress:

        def write(name: str, content: BinaryIO | None) -> None:
            path = folder / _checked(archive, name, content)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise DatasetError(f"{archive}: holds {name!r} twice")
            with open(path, "wb") as file:
                shutil.copyfileobj(content, file)
            progress.update()

        _give_members(archive, write)


def _checked(archive: Path, name: str, content: BinaryIO | None) -> str:
    parts = name.replace("\\", "/").split("/")
    if content is None:
        raise DatasetError(f"{archive}: refused, its member {name!r} is a link or a device, not a file")
    if not parts[0] or re.match("[A-Za-z]:", parts[0]):
        raise DatasetError(f"{archive}: refused, its member {name!r} has an absolute path")
    if ".." in parts:
        raise DatasetError(f"{archive}: refused, its member {name!r} leads out of the folder")
    return "/".join(parts)


def _give_members(archive: Path, write: _Write) -> None:
    try:
        with open(archive, "rb") as file:
            beginning = file.read(2)
    except OSError as error:
        raise DatasetError(f"cannot read the archive {archive}: {error.strerror}") from error
    if not beginning:
        raise DatasetError(f"{archive}: the file is empty")
    if beginning == b"PK":
        _give_zip_members(archive, write)
    else:
        _give_bsdtar_members(archive, write)


def _give_zip_members(archive: Path, write: _Write) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if entry.is_dir():
                    continue
                kind = stat.S_IFMT(entry.external_attr >> 16)
                utf8 = entry.flag_bits & 0x800  # what zipfile else takes for code page 437 is whatever the packer had
                name = entry.filename if utf8 else readable(entry.filename.encode("cp437"))
                with file.open(entry) as content:
                    write(name, content if kind in (0, stat.S_IFREG) else None)
    except _DAMAGED_ZIP as error:
        raise DatasetError(f"{archive}: damaged, or a zip that cannot be read: {error}") from error


def _give_bsdtar_members(archive: Path, write: _Write) -> None:
    # bsdtar turns the archive into a tar, in whose plain format names are bytes that need no translation.
    command = [bsdtar(archive), "-P", "-c", "-f", "-", "--format", "gnutar", f"@{archive.absolute()}"]
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment) as process,
    ):
        problem = ""
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", encoding="utf-8", errors="surrogateescape") as stream:
                for entry in stream:
                    if not entry.isdir():
                        name = readable(entry.name.encode("utf-8", "surrogateescape"))
                        write(name, stream.extractfile(entry) if entry.isreg() else None)
            process.stdout.read()
        except tarfile.TarError as error:
            problem = str(error)
        finally:
            process.stdout.close()
        if process.wait() or problem:
            said.seek(0)
            reason = " ".join(readable(said.read()).replace("bsdtar:", "").replace("(null)", "").split())
            raise DatasetError(
                f"{archive}: damaged, or of a kind that bsdtar cannot read ({reason or problem}); "
                "if another program can, unpack it with that"
            )
