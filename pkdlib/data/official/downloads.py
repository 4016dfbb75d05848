"""Fetch a large file over HTTP, going on where a connection, or the whole program, broke off."""

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

from pkdlib._progress import tqdm
from pkdlib.data.datasets import DatasetError

_BLOCK = 2**20
_TIMEOUT = 60  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing
_RANGE_NOT_SATISFIABLE = 416


def download(url: str, target: Path, *, pause: float = 2.0) -> None:
    """Download a file, or the rest of it.

    Args:
        url: Its address.
        target: Where it goes; it appears only when it is whole. What has come so far lies beside it.
        pause: Seconds before the second attempt; each further one waits twice as long as the one before.

    Raises:
        DatasetError: If the file cannot be had, or the target not be written.
    """
    part = target.with_name(f".{target.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _continue(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < http.client.INTERNAL_SERVER_ERROR
            failures = 1 if _size(part) > before else failures + 1
            if refused or failures == _ATTEMPTS:
                so_far = f"after {_size(part):,} bytes, which are kept" if _size(part) else "nothing came"
                raise DatasetError(f"cannot download {url}: {error} ({so_far})") from error
            time.sleep(pause * 2 ** (failures - 1))
    part.rename(target)


def _continue(url: str, part: Path) -> None:
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code == _RANGE_NOT_SATISFIABLE and total and int(total[1]) == have:
            return
        if error.code == _RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise http.client.HTTPException("it is another file by now, and has to be fetched anew") from error
        raise
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        progress = tqdm(
            desc=f"fetching {part.name[1:-5]}", initial=have, total=total, unit="B", unit_scale=True, disable=None
        )
        with progress, _opened(part, "ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                _write(file, block, part)
                progress.update(len(block))
    if total is not None and _size(part) != total:
        raise http.client.HTTPException(f"the connection ended at {_size(part):,} of {total:,} bytes")


def _opened(part: Path, mode: str):
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        return open(part, mode)
    except OSError as error:
        raise DatasetError(f"cannot write {part}: {error.strerror}") from error


def _write(file, block: bytes, part: Path) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise DatasetError(f"cannot write {part}: {error.strerror}; what came is kept") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
