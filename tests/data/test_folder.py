import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from hypothesis import given
from hypothesis import strategies as st

from pkdlib import cli
from pkdlib.data import _transcoding, folder, folds, survey, ut_interaction
from pkdlib.data.datasets import DatasetError
from pkdlib.data.frame_cache import frame_bank
from pkdlib.data.sources import Source, find
from pkdlib.video.reader import CompressedVideo
from pkdlib.video.transcode import encode
from tests.extent import examples

PATTERN = r"^([a-z]+)_"
PEOPLE = ("anna", "ben", "cleo", "dora")


def _video(path, frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.linspace(20, 220, frames).astype(np.uint8)
    encode((np.full((48, 64, 3), shade, np.uint8) for shade in shades), path)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "clips"
    for action in ("run", "jump"):
        for person in PEOPLE:
            _video(root / action / f"{person}_1.avi")
    return root


@pytest.fixture
def stubbed(monkeypatch):
    """Replace transcoding by copying; returns the names of the sources."""
    done = []

    def transcode(source, target, **_):
        shutil.copyfile(source, target)
        done.append(source.name)

    monkeypatch.setattr(_transcoding, "transcode", transcode)
    return done


def _form(path):
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        types = "".join(PictureType(frame.pict_type).name for frame in container.decode(video=0))
        return context.name, context.width, context.height, types


def _groups(dataset, indices):
    return {dataset.clips[i].group for i in indices}


def test_a_folder_becomes_a_dataset_in_the_papers_form(root, tmp_path):
    (root / "empty").mkdir()
    (root / "run" / "notes.txt").write_text("not a clip", encoding="utf-8")
    dataset = folder.load(root, tmp_path / "cache", pattern=PATTERN, name="people", num_folds=4)
    assert (dataset.name, dataset.classes) == ("people", ("jump", "run"))
    assert [clip.name for clip in dataset.clips][:2] == ["jump/anna_1", "jump/ben_1"]
    assert Counter((clip.label, clip.group) for clip in dataset.clips) == Counter(
        (label, person) for label in (0, 1) for person in PEOPLE
    )
    assert _form(dataset.clips[0].path) == ("mpeg4", 340, 256, "IPP")
    for k, split in enumerate(dataset.splits):
        following = dataset.splits[(k + 1) % 4]
        assert _groups(dataset, split.validation) == _groups(dataset, following.test)
    assert set().union(*(_groups(dataset, split.test) for split in dataset.splits)) == set(PEOPLE)


def test_only_what_is_new_or_changed_is_transcoded(root, tmp_path, stubbed):
    settings = {"pattern": PATTERN, "num_folds": 4}
    first = folder.load(root, tmp_path / "cache", **settings)
    assert len(stubbed) == 8
    assert folder.load(root, tmp_path / "cache", **settings) == first
    assert len(stubbed) == 8
    changed = root / "run" / "ben_1.avi"
    _video(changed, frames=5)
    first.clips[0].path.write_bytes(b"cut")
    again = folder.load(root, tmp_path / "cache", **settings)
    assert stubbed[8:] == ["anna_1.avi", "ben_1.avi"]
    assert again.checksum != first.checksum
    os.utime(changed, ns=(1, 1))
    assert folder.load(root, tmp_path / "cache", **settings).checksum == again.checksum
    assert stubbed[10:] == ["ben_1.avi"]


def test_all_broken_files_are_named_and_the_others_kept(root, tmp_path, monkeypatch):
    broken = [root / "jump" / "cleo_1.avi", root / "run" / "anna_1.avi"]
    broken[0].write_bytes(b"this is no video" * 100)
    broken[1].write_bytes(b"")
    with pytest.raises(DatasetError, match="2 of 8 clips cannot be read") as error:
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert all(str(path) in str(error.value) for path in broken)
    assert "\n" not in str(error.value)
    done = []
    transcode = _transcoding.transcode
    monkeypatch.setattr(_transcoding, "transcode", lambda s, t, **_: (done.append(s), transcode(s, t)))
    for path in broken:
        _video(path)
    folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert done == broken


def test_an_interrupted_transcoding_goes_on(root, tmp_path, stubbed, monkeypatch):
    transcode = _transcoding.transcode

    def interrupted(source, target, **_):
        if len(stubbed) == 3:
            raise KeyboardInterrupt
        transcode(source, target)

    monkeypatch.setattr(_transcoding, "transcode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    monkeypatch.setattr(_transcoding, "transcode", transcode)
    folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert len(stubbed) == 8


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"^([0-9]+)_", r"anna_1.avi: the file name has no match of the pattern '\^\(\[0-9\]\+\)_'"),
        (r"^(zoe)?", "anna_1.avi: the file name has no match"),
        (r"^[a-z]+_", "has 0 groups"),
        (r"^([a-z]+)_(\d)", "has 2 groups"),
        (r"^([a-z+_", "is not a regular expression"),
    ],
)
def test_bad_patterns(root, tmp_path, pattern, message):
    with pytest.raises(DatasetError, match=message):
        folder.load(root, tmp_path / "cache", pattern=pattern)


def test_bad_folders(root, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        folder.load(tmp_path / "nowhere", cache, pattern=PATTERN)
    with pytest.raises(DatasetError, match="has no clips: expected <class>/<clip>"):
        folder.load(root / "run", cache, pattern=PATTERN)
    with pytest.raises(
        DatasetError, match=r"4 groups \(anna, ben, cleo, dora\) are too few for 5 folds; folds = 4 would do"
    ):
        folder.load(root, cache, pattern=PATTERN, num_folds=5)
    with pytest.raises(DatasetError, match=r"folds = 2 must be at least 3: .*; folds = 3 would do$"):
        folder.load(root, cache, pattern=PATTERN, num_folds=2)
    shutil.copy(root / "run" / "ben_1.avi", root / "run" / "ben_1.MP4")
    with pytest.raises(DatasetError, match="have the same name"):
        folder.load(root, cache, pattern=PATTERN)
    shutil.rmtree(root / "run")
    with pytest.raises(DatasetError, match=r"one class only \(jump\)"):
        folder.load(root, cache, pattern=PATTERN)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (
            "anna",
            r"the clips of jump are of 1 groups \(anna\), too few for 4 folds: .*; no number of folds does: every",
        ),
        ("anna ben cleo", r"the clips of jump are of 3 groups \(anna, ben, cleo\), too few .*; folds = 3 would do$"),
    ],
)
def test_a_class_that_does_not_spread_is_named_before_anything_is_made(root, tmp_path, stubbed, people, message):
    for person in set(PEOPLE) - set(people.split()):
        (root / "jump" / f"{person}_1.avi").unlink()
    with pytest.raises(DatasetError, match=message) as error:
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert not stubbed and not (tmp_path / "cache").exists() and "\n" not in str(error.value)


def test_a_cache_that_cannot_be_written(root, tmp_path, stubbed, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="cannot use the clip folder"):
        folder.load(root, tmp_path / "file" / "cache", pattern=PATTERN, num_folds=4)

    def full(source, target, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_transcoding, "transcode", full)
    with pytest.raises(DatasetError, match=r"cannot write .*anna_1.mp4: .*No space left"):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(root, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    with pytest.raises(DatasetError, match="cannot write in the clip folder"):
        folder.load(root, cache, pattern=PATTERN, num_folds=4)


@examples(100)
@given(
    clips=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=1, max_size=60),
    num_folds=st.integers(3, 6),
    seed=st.integers(0, 9),
)
def test_folds_partition_the_groups(clips, num_folds, seed):
    sources = [Source(Path("root/c/x.avi"), f"c{action}", f"g{group:02d}") for action, group in clips]
    groups = {source.group for source in sources}
    actions = {source.action for source in sources}
    if len(groups) < num_folds:
        return
    own = folds._folds(sources, num_folds, seed)
    assert len(own) == num_folds
    assert sorted(group for fold in own for group in fold) == sorted(groups)
    assert own == folds._folds(sources[::-1], num_folds, seed)
    if len(actions) < 2:
        return
    try:
        divided = folds.divide(sources, num_folds, seed)
    except DatasetError as error:
        told = re.search(r"folds = (\d+) would do$", str(error))
        assert told or "no number of folds does" in str(error)
        divided = folds.divide(sources, int(told[1]), seed) if told else []
    for fold in divided:
        assert {source.action for source in sources if source.group in fold} == actions


@examples(100)
@given(
    groups=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    more=st.data(),
    num_folds=st.integers(3, 5),
)
def test_classes_of_groups_of_their_own_spread_wherever_they_can(groups, more, num_folds):
    sources = [
        Source(Path(f"root/{action}/x.avi"), f"c{action}", f"c{action}g{group}")
        for action, number in enumerate(groups)
        for group in range(number)
        for _ in range(more.draw(st.integers(1, 5)))
    ]
    if len({source.action for source in sources}) < 2:
        return
    enough = all(number >= num_folds for number in groups if number)
    try:
        folds.divide(sources, num_folds)
    except DatasetError:
        assert not enough
    else:
        assert enough


@given(groups=st.integers(3, 30), num_folds=st.integers(3, 8), seed=st.integers(0, 9))
def test_equal_groups_are_dealt_evenly(groups, num_folds, seed):
    sources = [Source(None, action, f"g{group:02d}") for action in "ab" for group in range(groups)]
    if groups >= num_folds:
        sizes = [len(fold) for fold in folds._folds(sources, num_folds, seed)]
        assert max(sizes) - min(sizes) <= 1


def test_groups_of_one_class_each_are_dealt_by_class():
    """Films, say, that show one action each: every fold gets one film of every action."""
    sources = [Source(None, action, f"{action}{film}") for action in "abcd" for film in range(5)]
    for fold in folds._folds(sources, 5, 0):
        assert sorted(group[0] for group in fold) == ["a", "b", "c", "d"]


# Folders as people have them.

ENCODERS = {  # ending: libavformat's format, libavcodec's encoder, its pixels, its size
    ".MTS": ("mpegts", "mpeg2video", "yuv420p", (64, 48)),
    ".ts": ("mpegts", "mpeg4", "yuv420p", (64, 48)),
    ".3gp": ("3gp", "h263", "yuv420p", (176, 144)),
    ".wmv": ("asf", "wmv2", "yuv420p", (64, 48)),
    ".flv": ("flv", "flv", "yuv420p", (64, 48)),
    ".gif": ("gif", "gif", "rgb8", (64, 48)),
    ".bin": ("matroska", "mpeg4", "yuv420p", (64, 48)),
}


def _mux(path, ending, frames=12):
    form, encoder, pixels, size = ENCODERS[ending]
    with av.open(str(path), "w", format=form) as file:
        stream = file.add_stream(encoder, rate=25)
        (stream.width, stream.height), stream.pix_fmt = size, pixels
        texture = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
        for step in range(frames):
            picture = np.roll(texture, step, axis=1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        file.mux(stream.encode(None))


def _decoded(path):
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


@pytest.mark.parametrize("ending", ENCODERS)
def test_every_ending_that_holds_a_video_is_taken(root, tmp_path, ending):
    _mux(root / "run" / f"anna_other{ending}", ending)
    lines = []
    dataset = folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4, log=lines.append)
    (clip,) = (clip for clip in dataset.clips if clip.name == "run/anna_other")
    assert _form(clip.path)[:3] == ("mpeg4", 340, 256) and _decoded(clip.path) == 12
    assert not lines


def test_every_other_file_is_named_with_the_reason(root, tmp_path, stubbed):
    left_out = {
        "run/notes.txt": "cannot be opened as a video (it is in no format of video files)",
        "run/sound.m4a": "holds no video stream",
        "run/empty.dat": "the file is empty",
        "run/.anna_2.avi": "hidden",
        "run/more/": "a folder in the folder of a class",
        "run/lost.avi": "no ordinary file",
        "anna_3.avi": "not in the folder of a class",
        ".hidden/": "hidden",
        "none/": "an empty folder",
    }
    (root / "run" / "notes.txt").write_text("not a clip\n" * 50, encoding="utf-8")
    (root / "run" / "empty.dat").touch()
    (root / "run" / "lost.avi").symlink_to("nowhere")
    for name in ("run/.anna_2.avi", "run/more/anna_4.avi", "anna_3.avi", ".hidden/anna_5.avi"):
        _video(root / name)
    (root / "none").mkdir()
    with av.open(str(root / "run" / "sound.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        file.mux(stream.encode(sound))
    lines = []
    dataset = folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4, log=lines.append)
    assert len(dataset.clips) == 8
    for name, reason in left_out.items():
        (line,) = (line for line in lines if re.search(rf"(: |, ){re.escape(name)}(,| \()", line))
        assert line.startswith("left out: ") and line.endswith(f"({reason})")
    everything = {path for path in root.rglob("*") if not path.is_dir() or not any(path.iterdir())}
    assert len(everything) == 8 + len(left_out)


NAMES = {
    "not UTF-8": (b"anna_caf\xe9.avi", r"run/anna_caf\xe9"),
    "long": (b"anna_" + b"x" * 246 + b".avi", "run/anna_" + "x" * 246),
    "long and not UTF-8": (b"anna_" + b"\xe9" * 246 + b".avi", "run/anna_" + r"\xe9" * 246),
    "of other letters": ("anna_跑步é.avi".encode(), "run/anna_跑步é"),
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("sound", [True, False])
def test_names_need_not_be_utf_8_nor_short(root, tmp_path, kind, sound, capsys):
    raw, name = NAMES[kind]
    path = os.fsencode(root / "run") + b"/" + raw
    shutil.move(root / "run" / "anna_1.avi", path)
    if not sound:
        with open(path, "wb") as file:
            file.write(b"no video")
        with pytest.raises(DatasetError) as error:
            folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
        assert f"{name}.avi: cannot be opened" in str(error.value)
        assert f"failed: {root}/{name}.avi" in capsys.readouterr().out
        return
    first = folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    (clip,) = (clip for clip in first.clips if clip.name == name)
    assert clip.group == "anna" and _form(clip.path)[:3] == ("mpeg4", 340, 256)
    made = clip.path.stat().st_mtime_ns
    assert folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4) == first
    assert clip.path.stat().st_mtime_ns == made
    bank = frame_bank([clip.path], [0], tmp_path / "bank", candidates=2, short_side=32)
    assert len(bank.open(0)) == 2
    assert cli.main(["inspect", str(root), "--pattern", PATTERN]) == 0


def test_a_class_folder_need_not_be_utf_8_nor_short(root, tmp_path):
    os.rename(root / "jump", os.fsencode(root) + b"/jump\xff" + b"\xe9" * 200)
    dataset = folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert dataset.classes == (r"jump\xff" + r"\xe9" * 200, "run")
    assert all(clip.path.is_file() for clip in dataset.clips)


def test_a_clip_without_motion_is_named(root, tmp_path):
    _video(root / "run" / "anna_1.avi", frames=1)
    with pytest.raises(DatasetError, match=r"1 of 8 clips .*clips/run/anna_1\.avi: has 1 frame"):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)


def test_two_names_that_are_shown_alike_are_refused(root, tmp_path):
    for raw in (b"anna_\xe9.avi", rb"anna_\xe9.avi"):
        shutil.copy(root / "run" / "anna_1.avi", os.fsencode(root / "run") + b"/" + raw)
    with pytest.raises(DatasetError, match="have the same name; rename one"):
        find(root, PATTERN)


def test_processes_make_the_same_clips_and_name_all_failures(root, tmp_path, capsys):
    for name in ("jump/cleo_1.avi", "run/anna_1.avi"):
        (root / name).write_bytes(b"this is no video" * 100)
    for workers in (1, 2):
        with pytest.raises(DatasetError, match=r"2 of 8 clips cannot be read, .*cleo_1.avi.*anna_1.avi"):
            folder.load(root, tmp_path / f"{workers}", pattern=PATTERN, num_folds=4, workers=workers)
        failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
        assert [line.partition(": ")[2].split(": ")[0] for line in failed] == [
            str(root / "jump" / "cleo_1.avi"),
            str(root / "run" / "anna_1.avi"),
        ]
    made = [{path.name: path.read_bytes() for path in (tmp_path / n).rglob("*.mp4")} for n in ("1", "2")]
    assert made[0] == made[1] and len(list((tmp_path / "2").rglob("*.mp4"))) == 6
    for name in ("jump/cleo_1.avi", "run/anna_1.avi"):
        _video(root / name)
    sound = [folder.load(root, tmp_path / n, pattern=PATTERN, num_folds=4, workers=2) for n in ("1", "2")]
    assert sound[0].checksum == sound[1].checksum


LOAD = """
import sys
from pkdlib.data import folder
if __name__ == "__main__":
    folder.load(sys.argv[1], sys.argv[2], pattern=sys.argv[3], num_folds=4, workers=2)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(root, tmp_path):
    for person in PEOPLE:
        for number in range(2, 12):
            _video(root / "run" / f"{person}_{number}.avi", frames=60)
    cache, script = tmp_path / "cache", tmp_path / "load.py"
    script.write_text(LOAD, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(script), str(root), str(cache), PATTERN]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while len(list(cache.glob("*/*.mp4"))) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    made = {path: path.stat().st_mtime_ns for path in cache.glob("*/[!.]*.mp4")}
    assert 5 <= len(made) < 48
    time.sleep(0.2)  # for the workers to follow
    dataset = folder.load(root, cache, pattern=PATTERN, num_folds=4)
    assert len(dataset.clips) == 48
    apart = folder.load(root, tmp_path / "apart", pattern=PATTERN, num_folds=4)
    assert dataset.checksum == apart.checksum
    # What was made less than two seconds before the kill is not yet recorded, and made again.
    assert len(list(cache.glob("*/*.mp4"))) == 48


CRASH = """
import os, sys
from pkdlib.data import _transcoding, folder
transcode = _transcoding.transcode
def crash(video, target, **options):
    os.abort() if "jump/ben" in str(video) else transcode(video, target, **options)
_transcoding.transcode = crash
{guard}folder.load(sys.argv[1], sys.argv[2], pattern=sys.argv[3], num_folds=4, workers=2)
"""


def _crash(root, cache, tmp_path, guard):
    script = tmp_path / "crash.py"
    script.write_text(CRASH.format(guard=guard), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(script), str(root), str(cache), PATTERN]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    assert result.returncode == 1, result.stderr
    return result.stdout, result.stderr.splitlines()[-1]


def test_a_video_that_kills_its_process_is_named_and_stops_no_other(root, tmp_path):
    said, error = _crash(root, tmp_path / "cache", tmp_path, 'if __name__ == "__main__": ')
    reason = f"{root / 'jump' / 'ben_1.avi'}: the process that transcodes it is killed"
    assert f"failed: {reason}" in said and "1 of 8 clips cannot be read" in error and reason in error
    assert len(list((tmp_path / "cache").glob("*/*.mp4"))) == 7
    # The others need not be made again.
    said, error = _crash(root, tmp_path / "cache", tmp_path, 'if __name__ == "__main__": ')
    assert said.count("failed: ") == 1 and reason in error


def test_processes_that_cannot_start_are_no_video_s_fault(root, tmp_path):
    said, error = _crash(root, tmp_path / "cache", tmp_path, guard="")
    assert "ends at once" in error and "__main__" in error and "failed" not in said


def test_a_folder_is_summed_up_before_anything_is_made(root, tmp_path, monkeypatch, capsys):
    for shade in range(3):
        _mux(root / "run" / f"anna_{shade + 2}.MTS", ".MTS", frames=30)
    (root / "run" / "dora_1.avi").write_bytes(b"no video")
    (root / "run" / "notes.txt").write_text("not a clip\n" * 50, encoding="utf-8")
    before = sorted(path for path in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", str(root), "--pattern", PATTERN, "--folds", "4"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.replace("left out", "left_out").splitlines())
    assert said["classes"] == "2: jump (4), run (7)"
    assert said["groups"] == "4: anna (5), ben (2), cleo (2), dora (2)"
    assert said["folds"] == "4, each with clips of every class"
    size = sum(path.stat().st_size for path in root.glob("*/*.*") if path.name not in ("notes.txt", "dora_1.avi"))
    size += (root / "jump" / "dora_1.avi").stat().st_size
    assert said["clips"] == f"11, of {size / 1e6:,.1f} MB in all"
    assert said["codecs"] == "mpeg2video (3), mpeg4 (7)"
    assert said["sizes"] == "64 x 48 (10)"
    assert said["frames"] == "3 to 30 a clip"
    assert said["GOPs"] == "mpeg2video of 6 to 12 frames, mpeg4 of 3 frames"
    assert said["unreadable"].startswith(f"{root}/run/dora_1.avi: cannot be opened")
    assert said["left_out"] == "run/notes.txt (cannot be opened as a video (it is in no format of video files))"
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_folder_is_summed_up_before_its_pattern_is_known(root, capsys):
    assert cli.main(["inspect", str(root)]) == 0
    said = capsys.readouterr().out
    assert "classes     2: jump (4), run (4)" in said and "--pattern" in said
    assert cli.main(["inspect", str(root), "--pattern", PATTERN]) == 0  # five folds are too many for four people
    assert "folds       none: 4 groups (anna, ben, cleo, dora) are too few for 5 folds; folds = 4" in (
        capsys.readouterr().out
    )


def test_a_summary_of_many_groups_names_the_largest(root):
    for number in range(30):
        shutil.copy(root / "run" / "anna_1.avi", root / "run" / f"p{chr(97 + number % 26)}{number // 26 * 'x'}_1.avi")
    groups = dict(survey.survey(root, PATTERN, 4))["groups"]
    assert groups.startswith("34: anna (2), ben (2), cleo (2), dora (2), p") and groups.endswith(", and 14 others")


def test_a_summary_tells_the_gops_that_the_reader_finds(shared_clips):
    clips = [*(shared_clips / "paper_datasets").glob("*.avi"), *(shared_clips / "ut_interaction").glob("kicking/*01*")]
    assert len(clips) > 5
    for path in clips:
        own = survey.summarise(path)
        with CompressedVideo(path) as video:
            assert own.gops == tuple(gop.length for gop in video.gops)
            assert (own.codec, own.width, own.height, own.frames) == (
                video.codec,
                video.width,
                video.height,
                video.num_frames,
            )


# UT-Interaction


def test_ut_interaction_has_five_folds_of_four_sequences(shared_clips, tmp_path, stubbed):
    dataset = ut_interaction.load(shared_clips / "ut_interaction", tmp_path / "cache")
    assert len(stubbed) == len(dataset.clips) == 120
    assert Counter(clip.label for clip in dataset.clips) == dict.fromkeys(range(6), 20)
    for clip in dataset.clips:  # the file's own last number is its label
        assert clip.name.endswith(f"_{clip.label}")
    assert len(dataset.splits) == 5
    tested = []
    for split in dataset.splits:
        test, validation, train = (_groups(dataset, part) for part in (split.test, split.validation, split.train))
        assert (len(test), len(validation), len(train)) == (4, 4, 12)
        assert sum(int(group[3:]) <= 10 for group in test) == 2  # two sequences of either set
        tested += sorted(test)
    assert len(tested) == len(set(tested)) == 20
    assert "Ryoo" in dataset.citation


def test_ut_interaction_names_what_is_missing(shared_clips, tmp_path, stubbed):
    root = tmp_path / "ut"
    shutil.copytree(shared_clips / "ut_interaction", root, copy_function=os.symlink)
    (root / "kicking" / "set1_seq03_13_3_2.avi").unlink(missing_ok=True)
    for path in root.glob("kicking/set1_seq03_*"):
        path.unlink()
    shutil.rmtree(root / "pushing")
    with pytest.raises(DatasetError, match=r"lacks clips: kicking/seq03, pushing/seq01, .*pushing/seq20") as error:
        ut_interaction.load(root, tmp_path / "cache")
    assert "\n" not in str(error.value) and not stubbed


def test_real_clips_are_transcoded(shared_clips, tmp_path):
    for action in ("kicking", "hugging"):
        for sequence in ("seq01", "seq02", "seq11"):
            (path,) = (shared_clips / "ut_interaction" / action).glob(f"*_{sequence}_*")
            (tmp_path / "root" / action).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "root" / action)
    dataset = folder.load(tmp_path / "root", tmp_path / "cache", pattern=r"_(seq\d\d)_", num_folds=3)
    for clip in dataset.clips:
        codec, width, height, types = _form(clip.path)
        assert (codec, width, height) == ("mpeg4", 340, 256)
        assert types == ("IPPPPPPPPPPP" * len(types))[: len(types)] and len(types) > 30
