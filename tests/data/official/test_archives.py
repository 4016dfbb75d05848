"""Archives are unpacked whole or not at all, and never outside their folder.

rar archives cannot be made here, so bsdtar is given tar archives named .rar, which it reads too, or a stub is.
"""

import io
import shutil
import stat
import tarfile
import zipfile

import pytest

from pkdlib.data.datasets import DatasetError
from pkdlib.data.official import archives


@pytest.fixture(params=["stub", "bsdtar"])
def bsdtar(request, tmp_path, monkeypatch):
    """A program of that name which turns a tar into a tar: one of three lines, or the real one."""
    if request.param == "stub":
        (tmp_path / "bin").mkdir()
        stub = tmp_path / "bin" / "bsdtar"
        stub.write_text('#!/bin/sh\nfor last; do :; done\nexec cat "${last#@}"\n', encoding="utf-8")
        stub.chmod(0o755)
        monkeypatch.setenv("PATH", f"{stub.parent}:/usr/bin:/bin")
    elif shutil.which("bsdtar") is None:
        pytest.skip("bsdtar is not installed (Debian's libarchive-tools)")
    return request.param


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def make_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive, tmp_path, message):
    before = tree(tmp_path)
    with pytest.raises(DatasetError, match=message) as error:
        archives.unpack(archive, tmp_path / "out")
    assert "\n" not in str(error.value) and str(archive) in str(error.value)
    assert tree(tmp_path) == before and not (tmp_path / "out").exists()


MEMBERS = {"a/one.avi": b"1" * 3000, "a/b/two.avi": b"2", "three.txt": b""}


def test_zip(tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"empty/": b"", **MEMBERS})
    archives.unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == MEMBERS


def test_rar_of_rars(tmp_path, bsdtar):
    inner = make_tar(tmp_path / "inner.rar", MEMBERS).read_bytes()
    archive = make_tar(tmp_path / "outer.rar", {"brush hair.rar": inner, "deep/x.rar": inner, "note.txt": b"n"})
    archives.unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"note.txt": b"n", **MEMBERS, **{f"deep/{k}": v for k, v in MEMBERS.items()}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../up.avi", r"refused, its member '\.\./up\.avi' leads out"),
        ("a/../../up.avi", "leads out"),
        ("..\\up.avi", "leads out"),
        ("/tmp/up.avi", "'/tmp/up.avi' has an absolute path"),
        ("C:\\up.avi", "has an absolute path"),
    ],
)
def test_paths_that_leave_the_folder(name, message, tmp_path, bsdtar):
    refused(make_zip(tmp_path / "x.zip", {"ok.avi": b"", name: b"evil"}), tmp_path, message)
    refused(make_tar(tmp_path / "x.rar", {"ok.avi": b"", name: b"evil"}), tmp_path, message)


def test_an_inner_archive_that_climbs_out(tmp_path, bsdtar):
    inner = make_tar(tmp_path / "inner.rar", {"../../up.avi": b"evil"}).read_bytes()
    archive = make_tar(tmp_path / "x.rar", {"a/inner.rar": inner})
    with pytest.raises(DatasetError, match=r"inner\.rar: refused, its member '\.\./\.\./up\.avi' leads out"):
        archives.unpack(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "bin") == ["inner.rar", "x.rar"]


def test_links_and_devices(tmp_path, bsdtar):
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
        archive = make_tar(tmp_path / f"{number}.rar", {"first.avi": b"x"})
        with tarfile.open(archive, "a", format=tarfile.GNU_FORMAT) as file:
            entry = tarfile.TarInfo("odd")
            entry.type, entry.linkname = kind, "first.avi" if kind == tarfile.LNKTYPE else "/etc"
            file.addfile(entry)
        refused(archive, tmp_path, "member 'odd' is a link or a device")
    link = zipfile.ZipInfo("odd")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(make_zip(tmp_path / "x.zip", {link: b"/etc"}), tmp_path, "member 'odd' is a link")


def test_a_file_that_comes_twice(tmp_path, bsdtar):
    archive = make_tar(tmp_path / "x.rar", {"a.avi": b"1", "./a.avi": b"2"})
    refused(archive, tmp_path, "holds '.*a.avi' twice")


def test_damaged_archives(tmp_path, bsdtar):
    whole = make_zip(tmp_path / "x.zip", MEMBERS).read_bytes()
    for name, content in {"cut.zip": whole[:-30], "flip.zip": whole.replace(b"1111", b"1101", 1)}.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, tmp_path, "damaged")
    cut = tmp_path / "cut.rar"
    cut.write_bytes(make_tar(tmp_path / "x.rar", MEMBERS).read_bytes()[:1800])
    refused(cut, tmp_path, "damaged, or of a kind that bsdtar cannot read")
    (tmp_path / "noise.rar").write_bytes(bytes(range(7, 200)) * 9)
    refused(tmp_path / "noise.rar", tmp_path, "damaged, or of a kind that bsdtar cannot read")
    (tmp_path / "empty.rar").touch()
    refused(tmp_path / "empty.rar", tmp_path, "the file is empty")
    refused(tmp_path / "absent.rar", tmp_path, "cannot read the archive .*No such file")


def test_what_a_killed_run_left_is_replaced(tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "three.txt").write_text("half", encoding="utf-8")
    archives.unpack(make_zip(tmp_path / "x.zip", MEMBERS), tmp_path / "out")
    assert tree(tmp_path / "out") == MEMBERS
    assert not (tmp_path / ".out.part").exists()


def test_names_older_than_utf8_in_a_zip(tmp_path):
    zipped = make_zip(tmp_path / "x.zip", {"Fu@ball.avi": b"old", "日本.avi": b"new"})
    zipped.write_bytes(zipped.read_bytes().replace(b"Fu@ball", b"Fu\xdfball"))
    archives.unpack(zipped, tmp_path / "zip")
    assert tree(tmp_path / "zip") == {"Fußball.avi": b"old", "日本.avi": b"new"}


def test_names_older_than_utf8_in_a_rar(tmp_path, bsdtar):
    archives.unpack(make_tar(tmp_path / "x.rar", {"Fu\udcdfball.avi": b"old", "日本.avi": b"new"}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"Fußball.avi": b"old", "日本.avi": b"new"}


def test_no_bsdtar(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(make_tar(tmp_path / "x.rar", MEMBERS), tmp_path, "needs the program bsdtar.*package libarchive-tools")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    refused(make_zip(tmp_path / "x.zip", MEMBERS), tmp_path, "cannot unpack .* No space left on device")
