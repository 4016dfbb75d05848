"""Damaged files: a short run of benchmarks/fuzz_decode.py, and whether it sees what it looks for."""

import os
import random
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of open files"),
]

# A package in the decoder's place that refuses every file, but does something else to some.
STAND_IN = """
import os, time
kept = []
class VideoError(Exception): pass
class CompressedVideo:
    def __init__(self, path):
        if path.name.startswith("{files}"):
            {fault}
        raise VideoError(f"{{path}}: no")
"""
# The decoder itself, less exact: the brightest pixel of one frame is darker in some files.
INEXACT = """
import numpy as np
from pkdlib.video import reader as bitstream
class CompressedVideo(bitstream.CompressedVideo):
    def frames(self, *args, **options):
        for frame in super().frames(*args, **options):
            if self.path.name.startswith("m2.") and frame.index == 3 and frame.image is not None:
                frame = frame._replace(image=np.where(frame.image == frame.image.max(), 0, frame.image))
            yield frame
bitstream.CompressedVideo = CompressedVideo
"""
TRANSCODE = """
from pkdlib.video.reader import CompressedVideo
def transcode(path, *rest, **size):
    CompressedVideo(path)
"""
FAULTS = {
    "crash": ("m3.", "os.abort()"),
    "hang": ("m3.", "time.sleep(600)"),
    "exception": ("m3.", "1 / 0"),
    "promise": ("m3.", "raise VideoError('a message without the path')"),
    "files": ("m3.", "kept.append(open(path))"),
    "memory": ("m", "kept.append(bytearray(b'x') * (2 << 20))"),
}


def fuzz(*arguments, python_path=REPOSITORY):
    command = [sys.executable, BENCHMARKS / "fuzz_decode.py", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, encoding="utf-8")


def run_clean(*arguments):
    result = fuzz(*arguments)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    assert f"{arguments[arguments.index('--count') + 1]} mutations, 0 findings" in result.stdout


def test_no_damaged_file_does_harm():
    run_clean("--count", 120, "--replay", 10, "--clips", "none")


def test_no_damaged_real_file_does_harm(shared_clips):
    run_clean("--count", 60, "--seed", 1, "--replay", 10, "--clips", shared_clips)


def test_a_picture_that_is_not_libavcodec_s_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from damaged_files import gather_sources, mutate

    gather_sources(tmp_path / "none", tmp_path)
    sources = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    number = next(
        n for n in range(99) if mutate(0, n, sources).kind == "renamed" and "mpeg4" in mutate(0, n, sources).source
    )
    (tmp_path / "sitecustomize.py").write_text(INEXACT.replace("m2.", f"m{number}."), encoding="utf-8")
    arguments = ["--only", number, "--clips", "none"]
    result = fuzz(*arguments, python_path=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert result.returncode == 1 and "frame 3 is not libavcodec's" in result.stdout, result.stdout + result.stderr


def test_a_picture_that_libavcodec_did_not_write_whole_is_counted_but_not_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz_decode
    from damaged_files import OWN, Mutation, write_clip

    write_clip(tmp_path / "clip.m4v", *OWN["mpeg4_p.m4v"], (96, 80))
    mutation = Mutation("one bit", "", "clip.m4v", (tmp_path / "clip.m4v").read_bytes())
    decode = fuzz_decode.plain_pass

    def judged(differs):
        # Frame 3 is darker; of a picture with unwritten parts only where its memory was used before.
        def darker(path, kept=None):
            for number, image in enumerate(decode(path, kept)):
                yield image // 2 if number == 3 and differs(kept) else image

        monkeypatch.setattr(fuzz_decode, "plain_pass", darker)
        return fuzz_decode.judge(mutation, 0, tmp_path)

    assert judged(lambda kept: False) == {"outcome": "read whole", "differs": False}
    assert judged(lambda kept: kept is None)["outcome"].startswith("undefined: ")
    assert "frame 3 is not libavcodec's" in judged(lambda kept: True)["detail"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(tmp_path, fault):
    files, code = FAULTS[fault]
    package, kept = tmp_path / "pkdlib" / "video", tmp_path / "kept"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "reader.py").write_text(STAND_IN.format(files=files, fault=code), encoding="utf-8")
    (package / "transcode.py").write_text(TRANSCODE, encoding="utf-8")
    limit = 0.1 if fault == "hang" else 2  # what takes no processor time is given 30 times as long
    arguments = ["--count", 6, "--replay", 5, "--limit", limit, "--clips", "none", "--keep", kept]
    result = fuzz(*arguments, python_path=tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"\n{fault}, 1 times:\n  mutation " in result.stdout and "6 mutations, 1 findings" in result.stdout
    if fault != "memory":
        assert "  mutation 3: " in result.stdout and [path.stem for path in kept.iterdir()] == ["m3"]


def test_a_mutation_is_a_function_of_its_number(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from damaged_files import KINDS, mutate

    noise = random.Random(0)
    sources = {name: noise.randbytes(2000) for name in ("own-a.avi", "own-b.mp4", "real-c.avi")}
    first = [mutate(0, number, sources) for number in range(300)]
    assert first[::-1] == [mutate(0, number, sources) for number in reversed(range(300))]
    assert {mutation.kind for mutation in first} == set(KINDS)
    assert first != [mutate(1, number, sources) for number in range(300)]
    damaged = [mutation for mutation in first if mutation.kind not in ("text", "renamed")]
    assert sum(mutation.data not in sources.values() for mutation in damaged) > 0.95 * len(damaged)
