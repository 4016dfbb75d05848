"""Batches are the same however they are read, and parts add up to them."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from pkdlib import _processes
from pkdlib.data import loader, sampling
from pkdlib.data.frame_cache import ClipFiles, FrameBank, frame_bank
from pkdlib.data.loader import BatchLoader, FeedError
from pkdlib.video import indexing
from pkdlib.video.reader import VideoError
from pkdlib.video.transcode import encode

SHAPE = {"size": 32, "segments": 2, "seed": 3}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    for clip in range(11):
        np.save(folder / f"{clip:02d}.npy", rng.integers(0, 256, (4, 8, 36, 48), dtype=np.uint8))
    return FrameBank(tuple(sorted(folder.iterdir())), torch.arange(11) % 2)


def make_feed(frames, indices=range(11), modalities=("residual",), batch_size=4, parts=1, **others) -> BatchLoader:
    return BatchLoader(frames, indices, modalities, batch_size=batch_size, parts=parts, device="cpu", **SHAPE, **others)


def test_an_epoch_is_that_of_plain_batches(bank):
    feed = make_feed(bank)
    batches = list(loader.shuffled_batches(range(11), 4, seed=3, epoch=5))
    assert len(feed) == len(batches) == 3
    for number, (part, wanted) in enumerate(zip(feed.epoch(5), batches, strict=True)):
        assert (part.batch, part.share, part.weight) == (number, number / 3, 1.0) and part.first and part.last
        assert part.indices == wanted
        drawn = sampling.draw(bank, wanted, modalities=["residual"], segments=2, seed=3, epoch=5)
        assert torch.equal(part.inputs["residual"], sampling.finish(drawn, 32)["residual"])


def test_an_epoch_can_begin_at_any_batch(bank):
    feed = make_feed(bank)
    whole = [part.indices for part in feed.epoch(1)]
    for first in range(4):
        assert [part.indices for part in feed.epoch(1, first)] == whole[first:]


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_parts_hold_a_batch_s_clips_and_weights_add_up(bank, parts):
    feed = make_feed(bank, parts=parts)
    batches = list(loader.shuffled_batches(range(11), 4, seed=3, epoch=0, fewest=max(2, parts)))
    found = [[] for _ in batches]
    for part in feed.epoch(0):
        found[part.batch].append(part)
        assert part.first == (len(found[part.batch]) == 1) and part.last == (len(found[part.batch]) == parts)
        assert part.weight == pytest.approx(len(part.indices) / len(batches[part.batch]))
    assert [[clip for part in own for clip in part.indices] for own in found] == batches
    assert [sum(part.weight for part in own) for own in found] == pytest.approx([1.0] * len(batches))


def test_the_parts_of_two_processes_are_those_of_one(bank):
    whole = [(part.batch, part.indices) for part in make_feed(bank, parts=4).epoch(2)]
    found = []
    for number in (0, 1):
        own = list(make_feed(bank, parts=4, together=2, number=number).epoch(2))
        # The gradients are averaged over two processes, not added up.
        for batch in {part.batch for part in own}:
            held = [part for part in own if part.batch == batch]
            assert held[0].first and held[-1].last and len(held) == 2
        found += [(part.batch, part.indices, part.weight) for part in own]
    assert sorted(found)[0][2] == pytest.approx(2 * len(sorted(found)[0][1]) / 4)
    assert sorted((batch, indices) for batch, indices, _ in found) == sorted(whole)


def test_processes_that_read_ahead_give_the_same_bits_epoch_after_epoch(bank):
    here, ahead = make_feed(bank), make_feed(bank, workers=2)
    before = torch.get_rng_state()
    for epoch in (0, 1):
        for one, other in zip(here.epoch(epoch), ahead.epoch(epoch), strict=True):
            assert one.indices == other.indices and torch.equal(one.inputs["residual"], other.inputs["residual"])
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn of what dropout draws from


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 255, (96, 160, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("video") / "moving.mp4"
    encode([np.roll(ground, 2 * t, axis=1) for t in range(24)], path)
    return path


@pytest.mark.parametrize("modalities", [("iframe",), ("motion",), ("residual", "iframe"), ("joint",)])
def test_files_decoded_on_demand_give_the_bytes_of_a_bank(video, tmp_path, modalities):
    shape = {"candidates": 6, "short_side": 40}
    bank = frame_bank([video, video], [1, 0], tmp_path, **shape)
    files = ClipFiles((video, video), bank.labels, **shape)
    for epoch in (0, 1):
        batches = [list(make_feed(own, [0, 1], modalities, 2).epoch(epoch)) for own in (bank, files)]
        for one, other in zip(*batches, strict=True):
            for modality in modalities:
                assert torch.equal(one.inputs[modality], other.inputs[modality])
    wanted = {"modalities": modalities, "size": 32, "segments": 3}
    one, other = (sampling.evaluation_batch(own, [1, 0], **wanted) for own in (bank, files))
    assert all(torch.equal(one[modality], other[modality]) for modality in modalities)


def test_a_file_is_searched_for_its_frames_once(video, tmp_path, monkeypatch):
    searched = []
    build = indexing.build
    monkeypatch.setattr(indexing, "build", lambda source, number: searched.append(source.path) or build(source, number))
    labels = torch.tensor([0])
    kept, anew = (ClipFiles((video,), labels, 6, 40, folder) for folder in (tmp_path / "indices", None))
    read = [frames.open(0)[[0, 3, 5], slice(0, 8)] for frames in (kept, kept, anew, anew)]
    assert searched == [video] * 3  # once, and twice where no index is kept
    assert all((other == read[0]).all() for other in read[1:])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named_whoever_reads_it(tmp_path, workers):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    files = ClipFiles((path, path), torch.tensor([0, 1]), 4, 40)
    with pytest.raises(VideoError, match=r"^\S*broken\.mp4: "):
        list(make_feed(files, [0, 1], batch_size=2, workers=workers).epoch(0))


def test_more_parts_than_clips_are_refused(bank):
    with pytest.raises(FeedError, match=r"batch_parts = 5 is more than the 4 clips of a batch"):
        make_feed(bank, parts=5)


def test_parts_that_cannot_be_shared_out_are_refused(bank):
    with pytest.raises(FeedError, match=r"batch_parts = 3 must be a multiple of the 2 processes"):
        make_feed(bank, parts=3, together=2)


# Processes that read ahead and fail: one line each, and no wait without an end.

FEED = """
import sys, pathlib, torch
from pkdlib.data.frame_cache import FrameBank
from pkdlib.data.loader import BatchLoader
paths = (pathlib.Path(sys.argv[1]),) * 40
bank = FrameBank(paths, torch.zeros(len(paths), dtype=torch.int64))
shape = {"size": 32, "segments": 2, "seed": 3, "batch_size": 10, "parts": 1, "device": "cpu", "workers": 2}
try:
    for part in BatchLoader(bank, range(40), ["joint"], **shape).epoch(0):
        print("batch", part.batch, flush=True)
        if sys.argv[2:] == ["stop"]:
            sys.stdin.read()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A clip of frames of 256 x 340: ten of them in a batch, two frames each, are 14 MB."""
    path = tmp_path_factory.mktemp("frames") / "clip.npy"
    np.save(path, np.zeros((4, 8, 256, 340), np.uint8))
    return path


def feed_in_a_process(frames, *prefix, **environment) -> subprocess.CompletedProcess:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [*prefix, sys.executable, "-c", FEED, str(frames)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root, **environment},
        encoding="utf-8",
    )


@pytest.fixture(params=["8m", "4k"])
def small_shared_memory(request):
    """A command that gives the one behind it a /dev/shm of this size, as containers have 64 MiB."""
    mounted = f"mount -t tmpfs -o size={request.param} tmpfs /dev/shm && exec"
    prefix = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mounted} "$0" "$@"']
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small /dev/shm")
    return prefix


@pytest.mark.slow
def test_too_small_a_shared_memory_is_said_at_once(frames, small_shared_memory):
    done = feed_in_a_process(frames, *small_shared_memory)
    *batches, line = done.stdout.splitlines()
    assert done.returncode == 1 and all(batch.startswith("batch") for batch in batches) and len(batches) < 4
    assert line.startswith(("FeedError: ", "ProcessError: ")) and "/dev/shm" in line and "workers = 0" in line
    assert done.stderr == ""


@pytest.mark.slow
def test_a_temporary_folder_of_any_length_will_do(frames, tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    done = feed_in_a_process(frames, TMPDIR=str(folder))
    assert done.stdout.splitlines() == [f"batch {number}" for number in range(4)], done.stdout + done.stderr


def own_processes() -> list[psutil.Process]:
    return [psutil.Process(child.pid) for child in multiprocessing.active_children()]


def test_a_process_that_is_killed_is_said(bank):
    epoch = make_feed(bank, batch_size=2, workers=2).epoch(0)
    next(epoch)
    for process in own_processes():
        process.kill()
    with pytest.raises(_processes.ProcessError, match=r"a process that reads batches ahead was killed .*/dev/shm"):
        list(epoch)


def test_a_process_that_reads_for_ever_is_ended(bank, monkeypatch):
    others = set(multiprocessing.active_children())  # of feeds of other tests, which end when they are collected
    monkeypatch.setattr(loader, "_PATIENCE", 0.5)
    monkeypatch.setattr(sampling, "draw", lambda *_, **__: time.sleep(1000))
    with pytest.raises(loader.FeedError, match="no batch came within"):
        list(make_feed(bank, workers=2).epoch(0))
    # Asked anew, and not by psutil: a child that another thread has just reaped is alive to multiprocessing until that
    # thread has noted it, and one that psutil reaps is alive to it for ever.
    until = time.monotonic() + 10
    while (left := set(multiprocessing.active_children()) - others) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


@pytest.mark.slow
def test_no_process_outlives_a_killed_one(frames):
    command = [sys.executable, "-c", FEED, str(frames), "stop"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout.readline() == b"batch 0\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) == 2
        parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
