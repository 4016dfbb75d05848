"""UCF-101 and HMDB-51 in miniature, in the official layout: from archives to data sets."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib import cli
from pkdlib.companion import workspace
from pkdlib.companion.parameters import Parameters
from pkdlib.data import _transcoding
from pkdlib.data.datasets import Clip, DatasetError
from pkdlib.data.official import hmdb51, official, originals, preparation, ucf101
from pkdlib.video import transcode

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """The bytes of a tiny video."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    transcode.encode((np.full((48, 64, 3), shade, np.uint8) for shade in (20, 90, 200)), path)
    return path.read_bytes()


@pytest.fixture
def bsdtar(tmp_path, monkeypatch):
    """A stub that gives out the tar which a rar of these tests is."""
    stub = tmp_path / "bin" / "bsdtar"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\nfor last; do :; done\nexec cat "${last#@}"\n', encoding="utf-8")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:/usr/bin:/bin")


@pytest.fixture
def copied(monkeypatch):
    """Replace transcoding by copying; returns the sources."""
    done = []

    def copy(source, target, **_):
        shutil.copyfile(source, target)
        done.append(source)

    monkeypatch.setattr(_transcoding, "transcode", copy)
    return done


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# UCF-101: three classes, five groups of two clips; split k tests group k.

UCF_CLASSES = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
UCF = replace(ucf101.SPEC, classes=3, clips=30, splits=((24, 6),) * 3)


def ucf_name(action, group, clip):
    word = action.replace("Handstand", "HandStand")  # as the files of that class are really spelt
    return f"{action}/v_{word}_g{group:02d}_c{clip:02d}.avi"


def ucf_lists():
    lists = {"classInd.txt": "".join(f"{i} {name}\r\n" for i, name in enumerate(UCF_CLASSES, 1))}
    for k in (1, 2, 3):
        parts = {"train": [], "test": []}
        for i, action in enumerate(UCF_CLASSES, 1):
            for group in range(1, 6):
                for clip in (1, 2):
                    name = ucf_name(action, group, clip)
                    parts["test" if group == k else "train"].append(name if group == k else f"{name} {i}")
        lists |= {f"{part}list{k:02d}.txt": "\r\n".join(lines) + "\r\n" for part, lines in parts.items()}
    return {f"ucfTrainTestlist/{name}": text for name, text in lists.items()}


def ucf_videos(video):
    names = [ucf_name(action, group, clip) for action in UCF_CLASSES for group in range(1, 6) for clip in (1, 2)]
    return {f"UCF-101/{name}": video for name in names}


@pytest.fixture
def ucf(tmp_path, video):
    """Archives of the miniature UCF-101, as `prepare` takes them."""
    videos = write_zip(tmp_path / "UCF101.zip", ucf_videos(video))
    lists = write_zip(tmp_path / "UCF101TrainTestSplits-RecognitionTask.zip", ucf_lists())
    return {"archives": [videos], "lists": lists}


# HMDB-51: two classes, of six films of two clips; two films are in both classes, and tested in one of them.

HMDB = replace(hmdb51.SPEC, classes=2, clips=24, splits=((16, 6),) * 3)
FILMS = {
    "wave": ["Fußball", "#437_How", "April_09", "Pirates_3", "SE7EN_x3", "TrumanShow"],
    "sword_exercise": ["Pirates_5", "trumanshow", "Smile!_(CZE)_[_NEW_]", "GLOCK17", "Two_Towers_3", "Blade_-_Scene_1"],
}


def hmdb_name(action, film, clip):
    return f"{film}_{action}_f_nm_np1_fr_med_{clip}.avi"


def hmdb_lists(encoding="latin-1"):
    lists = {}
    for k in (1, 2, 3):
        for action, films in FILMS.items():
            lines = []
            for number, film in enumerate(films):
                for clip in (0, 1):
                    # Test three clips of a class: both of one film, one of the next, whose other is unused.
                    flag = 2 if number == 2 * k - 1 else 2 - 2 * clip if number == (2 * k) % 6 else 1
                    lines.append(f"{hmdb_name(action, film, clip)} {flag} \n")
            name = f"testTrainMulti_7030_splits/{action}_test_split{k}.txt"
            lists[name] = "".join(lines).encode(encoding)
    return lists


def hmdb_videos(video):
    inner = {}
    for action, films in FILMS.items():
        names = [f"{action}/{hmdb_name(action, film, clip)}" for film in films for clip in (0, 1)]
        inner[f"{action}.rar"] = tar({name.replace("ß", "\udcdf"): video for name in names})
    return inner


@pytest.fixture
def hmdb(tmp_path, video, bsdtar):
    """Archives of the miniature HMDB-51: a rar of rars, with a name that is Latin-1."""
    (tmp_path / "hmdb51_org.rar").write_bytes(tar(hmdb_videos(video)))
    (tmp_path / "test_train_splits.rar").write_bytes(tar(hmdb_lists()))
    return {"archives": [tmp_path / "hmdb51_org.rar"], "lists": tmp_path / "test_train_splits.rar"}


def prepare(spec, root, **settings):
    said = []
    return preparation.prepare(spec, root, log=said.append, **settings), said


def groups(dataset, indices):
    return {dataset.clips[i].group for i in indices}


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_ucf101_from_archives_to_a_data_set(ucf, tmp_path):
    dataset, said = prepare(UCF, tmp_path / "root", workers=2, **ucf)
    assert (dataset.name, dataset.classes, len(dataset.clips)) == ("ucf101", UCF_CLASSES, 30)
    with av.open(dataset.clips[0].path) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.width, context.height) == ("mpeg4", 340, 256)
    for k, split in enumerate(dataset.splits, 1):
        assert groups(dataset, split.test) == {f"{action}/g{k:02d}" for action in UCF_CLASSES}
        assert len(split.test) == 6 and len(split.train) + len(split.validation) == 24
        labels = Counter(dataset.clips[i].label for i in split.validation)
        assert labels == {0: 2, 1: 2, 2: 2}  # a group of each class
    assert not dataset.shared_groups and dataset.licence and "Soomro" in dataset.citation
    text = "\n".join(said)
    for stated in ("UCF101.rar (6.9 GB)", "licence: ", "GB free in", "minutes to transcode with 2 workers"):
        assert stated in text[: text.index("0 of 30 clips")]
    assert "split 1: 18 train, 6 validation, 6 test; no group is in two parts" in said


def test_hmdb51_from_a_rar_of_rars_to_a_data_set(hmdb, tmp_path, copied):
    dataset, said = prepare(HMDB, tmp_path / "root", **hmdb)
    assert dataset.classes == ("sword_exercise", "wave") and len(dataset.clips) == 24
    assert "wave/Fußball_wave_f_nm_np1_fr_med_0" in {clip.name for clip in dataset.clips}
    assert {clip.group for clip in dataset.clips} >= {"fußball".casefold(), "pirates", "trumanshow", "april", "glock"}
    listed = hmdb51.read_lists(tmp_path / "root" / "lists", 3)
    for split, official_split in zip(dataset.splits, listed.splits, strict=True):
        assert [dataset.clips[i].name for i in split.test] == sorted(official_split.test)
        trained = {dataset.clips[i].name for i in (*split.train, *split.validation)}
        assert trained == set(official_split.train)
        assert not groups(dataset, split.train) & groups(dataset, split.validation)
        assert not groups(dataset, split.validation) & groups(dataset, split.test)  # there are other films
    assert "pirates" in dataset.shared_groups
    assert any("as published, 2 test clips have their group in another part too (groups: 1)" in line for line in said)


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar is not installed (Debian's libarchive-tools)")
def test_hmdb51_through_the_real_bsdtar(hmdb, tmp_path, copied, monkeypatch):
    (tmp_path / "bin" / "bsdtar").unlink()
    assert len(prepare(HMDB, tmp_path / "root", **hmdb)[0].clips) == 24


def test_a_second_run_does_nothing(ucf, tmp_path, copied):
    root = tmp_path / "root"
    first, _ = prepare(UCF, root, **ucf)
    before = snapshot(root)
    again, said = prepare(UCF, root, **ucf)
    assert again == first and len(copied) == 30
    assert snapshot(root) == before
    assert "30 of 30 clips are there, their checksums right" in said


def test_originals_and_archives_may_be_removed_afterwards(ucf, tmp_path, copied):
    root = tmp_path / "root"
    first, _ = prepare(UCF, root, **ucf)
    shutil.rmtree(root / "videos")
    ucf["archives"][0].unlink()
    assert prepare(UCF, root)[0] == first
    first.clips[3].path.write_bytes(b"?" * first.clips[3].path.stat().st_size)
    with pytest.raises(DatasetError, match=r"c02.mp4 is damaged, and its original video is no longer there"):
        prepare(UCF, root)


def test_clips_that_changed_are_made_again(ucf, tmp_path, copied):
    root = tmp_path / "root"
    first, _ = prepare(UCF, root, **ucf)
    clip = first.clips[7].path
    content = clip.read_bytes()
    clip.write_bytes(content[:-1] + b"?")  # of the same size, so only the checksum tells
    first.clips[9].path.unlink()
    again, said = prepare(UCF, root, **ucf)
    assert again == first and len(copied) == 32 and clip.read_bytes() == content
    assert "28 of 30 clips are there, their checksums right" in said


@pytest.mark.slow
def test_a_killed_run_goes_on(ucf, tmp_path):
    root = tmp_path / "root"
    code = (
        "import sys, time\n"
        "from dataclasses import replace\n"
        "from pkdlib.data import _transcoding; from pkdlib.data.official import preparation, ucf101\n"
        "make = _transcoding.transcode\n"
        "_transcoding.transcode = lambda *paths, **options: (make(*paths, **options), time.sleep(0.1))\n"
        "spec = replace(ucf101.SPEC, classes=3, clips=30, splits=((24, 6),) * 3)\n"
        "preparation.prepare(spec, sys.argv[1], archives=[sys.argv[2]], lists=sys.argv[3])\n"
    )
    command = [sys.executable, "-c", code, str(root), str(ucf["archives"][0]), str(ucf["lists"])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = root / "clips" / "manifest.json"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (
        manifest.exists() and json.loads(manifest.read_text(encoding="utf-8"))["clips"]
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = len(json.loads(manifest.read_text(encoding="utf-8"))["clips"])
    assert 0 < finished < 30
    resumed, said = prepare(UCF, root, **ucf)
    assert f"{finished} of 30 clips are there, their checksums right" in said
    whole, _ = prepare(UCF, tmp_path / "other", **ucf)
    assert resumed.checksum == whole.checksum


def test_failures_are_listed_and_stop_nothing(ucf, tmp_path, video):
    members = ucf_videos(video)
    broken = ["UCF-101/YoYo/v_YoYo_g01_c01.avi", "UCF-101/YoYo/v_YoYo_g05_c02.avi"]
    archive = write_zip(tmp_path / "broken.zip", members | dict.fromkeys(broken, b"no video" * 99))
    said = []
    with pytest.raises(DatasetError, match=r"2 of 30 clips cannot be transcoded .* all others are made"):
        preparation.prepare(UCF, tmp_path / "root", archives=[archive], lists=ucf["lists"], log=said.append)
    failed = [line for line in said if line.startswith("failed: ")]
    assert [Path(line.split(":")[1]).name for line in failed] == ["v_YoYo_g01_c01.avi", "v_YoYo_g05_c02.avi"]
    assert len(list((tmp_path / "root" / "clips").rglob("*.mp4"))) == 28
    with pytest.raises(DatasetError, match=r"lacks 2 of 30 clips \(YoYo/v_YoYo_g01_c01, .*run `pkd data ucf101"):
        official.load(UCF, tmp_path / "root")
    for name in broken:
        (tmp_path / "root" / "videos" / "broken" / name).write_bytes(video)
    assert len(prepare(UCF, tmp_path / "root", archives=[archive])[0].clips) == 30


def test_missing_classes_and_clips_are_named(ucf, tmp_path, video, copied):
    members = ucf_videos(video)
    for name in list(members):
        if "/YoYo/" in name or name.endswith("PushUps_g02_c01.avi") or "HandStandPushups_g02_c01" in name:
            del members[name]
    archive = write_zip(tmp_path / "part.zip", members)
    message = r"lacks all clips of YoYo and 1 of 30 clips \(HandstandPushups/v_HandStandPushups_g02_c01\)"
    with pytest.raises(DatasetError, match=message):
        prepare(UCF, tmp_path / "root", archives=[archive], lists=ucf["lists"])
    assert not copied
    rest = {name: video for name in ucf_videos(video) if name not in members}
    both = [archive, write_zip(tmp_path / "rest.zip", rest)]
    dataset, said = prepare(UCF, tmp_path / "root", archives=both, lists=ucf["lists"])
    assert len(dataset.clips) == 30
    assert any("part.zip is not unpacked again" in line for line in said)


def test_videos_in_no_list_are_left_out_and_doubles_refused(ucf, tmp_path, video, copied):
    extra = ucf_videos(video) | {"UCF-101/YoYo/v_YoYo_g09_c01.avi": video, "UCF-101/.DS_Store": b""}
    dataset, said = prepare(UCF, tmp_path / "root", archives=[write_zip(tmp_path / "x.zip", extra)], lists=ucf["lists"])
    assert len(dataset.clips) == 30
    assert any("left out" in line and "YoYo/v_YoYo_g09_c01" in line for line in said)
    shutil.copytree(tmp_path / "root" / "videos" / "x", tmp_path / "root" / "videos" / "y")
    with pytest.raises(DatasetError, match=r"is there twice: .*remove one"):
        prepare(UCF, tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("trainlist01.txt", "YoYo/v_YoYo_g02_c01.avi 3\r\n", "", "23 training clips in split 1 instead of 24"),
        ("testlist02.txt", "YoYo/v_YoYo_g02_c01.avi\r\n", "", "5 test clips in split 2 instead of 6"),
        ("trainlist01.txt", "_g02_c01.avi 3", "_g02_c01.avi 2", r"line 17: class index 2, but YoYo has 3"),
        ("trainlist01.txt", "YoYo/", "Yoyo/", "line 17: expected <class>/<clip>.avi of a class in classInd.txt"),
        ("trainlist01.txt", "v_YoYo_g02_c01", "YoYo_2_1", "YoYo/YoYo_2_1 is not named as UCF-101's clips are"),
        ("trainlist01.txt", "v_YoYo_g02_c01", "v_YoYo_g01_c01", "lists YoYo/v_YoYo_g01_c01 both for training and"),
        ("classInd.txt", "2 Hand", "3 Hand", "classInd.txt, line 2: expected class index 2"),
        ("classInd.txt", "3 YoYo", "", "expected <class>/<clip>.avi of a class"),
    ],
)
def test_ucf_lists_that_are_not_the_official_ones(name, old, new, message, ucf, tmp_path, copied):
    lists = ucf_lists()
    text = lists[f"ucfTrainTestlist/{name}"]
    assert old in text
    damaged = write_zip(tmp_path / "lists.zip", lists | {f"ucfTrainTestlist/{name}": text.replace(old, new, 1)})
    with pytest.raises(DatasetError, match=message) as error:
        prepare(UCF, tmp_path / "root", archives=ucf["archives"], lists=damaged)
    assert "\n" not in str(error.value) and not copied
    assert len(prepare(UCF, tmp_path / "root", **ucf)[0].clips) == 30  # the wrong lists are not kept


def test_lists_that_are_missing(ucf, tmp_path):
    lists = ucf_lists()
    del lists["ucfTrainTestlist/testlist03.txt"]
    with pytest.raises(DatasetError, match=r"there is no file testlist03.txt, one of the official lists"):
        prepare(UCF, tmp_path / "root", lists=write_zip(tmp_path / "x.zip", lists))
    with pytest.raises(DatasetError, match=r"there are several files trainlist01.txt"):
        doubled = lists | {"ucfTrainTestlist/testlist03.txt": "", "copy/trainlist01.txt": ""}
        prepare(UCF, tmp_path / "b", lists=write_zip(tmp_path / "y.zip", doubled))
    with pytest.raises(DatasetError, match=r"there are no files <class>_test_split1.txt"):
        prepare(HMDB, tmp_path / "c", lists=write_zip(tmp_path / "z.zip", {"readme": ""}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a_wave_f_nm_np1_fr_med_0.avi 3\n", "line 13: expected <clip>.avi and 0"),
        (b"a_wave_f_nm_np1_fr_med_0.avi\n", "line 13: expected <clip>.avi and 0"),
        (b"a_wave.avi 1\n", "wave/a_wave is not named as HMDB-51's clips are"),
        (b"a_wave_f_nm_np1_fr_med_0.avi 0\n", "25 clips instead of 24"),
    ],
)
def test_hmdb_lists_that_are_not_the_official_ones(line, message, tmp_path):
    lists = hmdb_lists()
    lists["testTrainMulti_7030_splits/wave_test_split1.txt"] += line
    with pytest.raises(DatasetError, match=message):
        prepare(HMDB, tmp_path / "root", lists=write_zip(tmp_path / "x.zip", lists))


def test_a_folder_that_is_not_prepared(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no prepared HMDB-51: run `pkd data hmdb51 --root .*` first"):
        official.load(hmdb51.SPEC, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot use .*file"):
        prepare(UCF, tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("wave/TrumanShow_wave_f_nm_np1_fr_med_26", "trumanshow"),
        ("cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6", "turnk_r_pippi_michel"),
        ("eat/The_Departed_-_Part_1_eat_h_nm_np1_fr_goo_10", "the_departed"),
        ("eat/Hitch_Part_2_eat_h_nm_np1_fr_goo_0", "hitch"),
        ("eat/20060723sfjffdabaum_eat_h_cm_np1_fr_goo_0", "20060723sfjffdabaum"),
        ("smile/Pirates_3_smile_h_nm_np1_ri_goo_1", "pirates"),
        ("smile/1_smile_h_nm_np1_ri_goo_1", "1"),
        ("climb/Seamus_OD_arms_exploding-_rope_climb_climb_f_cm_np1_ba_med_0", "seamus_od_arms_exploding-_rope_climb"),
        (
            "brush_hair/Brushing__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0",
            "brushing__[_new_audio_]_updated!!!!",
        ),
        (
            "sword/shoot_bow_u_nm_np1_fr_med_0",
            "shoot_bow",
        ),  # another class's name stays: the group may be too large only
    ],
)
def test_films_of_hmdb(name, film):
    assert hmdb51.group(name) == film


@given(
    clips=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=80),
    by_class=st.booleans(),
)
def test_validation_takes_whole_groups_and_never_all_of_a_class(clips, by_class):
    made = tuple(
        Clip(f"c{i}", Path(f"c{i}.mp4"), label, f"{label}/{group}" if by_class else str(group))
        for i, (label, group, _) in enumerate(clips)
    )
    train = [i for i, (_, _, tested) in enumerate(clips) if not tested]
    tested = {made[i].group for i, (_, _, tested) in enumerate(clips) if tested}
    chosen = official.validation_groups(made, train, tested)
    assert chosen <= {made[i].group for i in train}
    validation = [i for i in train if made[i].group in chosen]
    for label in {made[i].label for i in train}:
        of_class = Counter(made[i].group for i in train if made[i].label == label)
        taken = sum(made[i].label == label for i in validation)
        assert taken < sum(of_class.values())
        assert taken <= max(official.VALIDATION_SHARE * sum(of_class.values()), min(of_class.values()))
        if by_class and len(of_class) > 1:
            assert taken
    assert chosen == official.validation_groups(made, train[::-1], tested)


def test_validation_prefers_films_that_are_not_tested():
    clips = tuple(Clip(f"c{i}", Path(f"c{i}.mp4"), 0, film) for i, film in enumerate("aabbccddeeffgghhiijj"))
    for free in "acj":
        assert official.validation_groups(clips, list(range(20)), set("abcdefghij") - {free}) == {free}


def test_download_to_data_set(ucf, tmp_path, monkeypatch, copied):
    fetched = []

    def fetch(url, target):
        fetched.append(url)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ucf["lists"] if "Splits" in url else ucf["archives"][0], target)

    monkeypatch.setattr(originals, "download", fetch)
    monkeypatch.setattr(originals, "bsdtar", lambda archive: "")  # these are zips, whatever they are called
    dataset, _ = prepare(UCF, tmp_path / "root")
    assert len(dataset.clips) == 30
    assert fetched == [UCF.lists.url, UCF.videos.url]
    assert prepare(UCF, tmp_path / "root")[0] == dataset and len(fetched) == 2

    def fail(url, target):
        raise DatasetError(f"cannot download {url}: no route")

    monkeypatch.setattr(originals, "download", fail)
    with pytest.raises(DatasetError, match=r"no route; run again to go on, or give a file that you have with --lists"):
        prepare(UCF, tmp_path / "other")
    with pytest.raises(DatasetError, match=r"give a file that you have with --archive"):
        prepare(UCF, tmp_path / "other", lists=ucf["lists"])


def test_a_download_that_is_no_archive(tmp_path, monkeypatch, bsdtar):
    def fetch(url, target):
        target.parent.mkdir(exist_ok=True)
        target.write_text("<html>please log in</html>" * 50, encoding="utf-8")

    monkeypatch.setattr(originals, "download", fetch)
    with pytest.raises(DatasetError, match=r"test_train_splits.rar: damaged.* if it is damaged, remove it"):
        prepare(HMDB, tmp_path / "root")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(originals, "download", lambda url, target: pytest.fail("too early"))
    with pytest.raises(DatasetError, match=r"package libarchive-tools"):
        prepare(HMDB, tmp_path / "other")


def test_the_command_and_the_study(ucf, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ucf101, "SPEC", UCF)
    words = ["data", "ucf101", "--root", str(tmp_path / "root"), "--workers", "1"]
    given = ["--archive", str(ucf["archives"][0]), "--splits", str(ucf["lists"])]
    assert cli.main(words + given) == 0
    assert f"ready: pkd reproduce --dataset ucf101 --root {tmp_path / 'root'}" in capsys.readouterr().out
    parameters = Parameters.for_profile("smoke", dataset="ucf101", root=str(tmp_path / "root"))
    assert len(workspace.selected_runs(parameters)) == parameters.splits * parameters.seeds
    assert workspace.dataset(parameters).clips[0].path.exists()
    shutil.rmtree(tmp_path / "root" / "lists")
    assert cli.main([*words, "--splits", str(tmp_path / "absent.zip")]) == 1
    assert "cannot read the archive" in capsys.readouterr().err


def test_the_official_numbers():
    for spec in (ucf101.SPEC, hmdb51.SPEC):
        assert len(spec.splits) == 3
    assert all(sum(split) == 13_320 for split in ucf101.SPEC.splits)
    assert sum(test for _, test in ucf101.SPEC.splits) == 11_213
    assert all(split == (51 * 70, 51 * 30) for split in hmdb51.SPEC.splits)


def test_real_clips_of_both_data_sets(shared_clips, tmp_path):
    folder = shared_clips / "paper_datasets"
    if not folder.is_dir():
        pytest.skip(f"no clips of UCF-101 and HMDB-51 at {folder}")
    for spec in (ucf101.SPEC, hmdb51.SPEC):
        videos, lists, sizes = (real_ucf if spec is ucf101.SPEC else real_hmdb)(folder)
        tiny = replace(spec, classes=sizes[0], clips=3, splits=((2, 1),))
        root = tmp_path / spec.name
        archive = write_zip(tmp_path / f"{spec.name}.zip", videos)
        dataset, _ = prepare(tiny, root, archives=[archive], lists=write_zip(tmp_path / "lists.zip", lists))
        for clip in dataset.clips:
            with av.open(clip.path) as container:
                context = container.streams.video[0].codec_context
                assert (context.name, context.width, context.height) == ("mpeg4", 340, 256)
                assert sum(packet.size > 0 for packet in container.demux(video=0)) > 40


def real_ucf(folder):
    videos = {path.stem: path.read_bytes() for path in folder.glob("v_SoccerJuggling*")}
    videos["v_SoccerJuggling_g25_c01"] = videos["v_SoccerJuggling_g24_c01"]
    lists = {
        "classInd.txt": "1 SoccerJuggling\n",
        "trainlist01.txt": "".join(f"SoccerJuggling/v_SoccerJuggling_g{g}_c01.avi 1\n" for g in (24, 25)),
        "testlist01.txt": "SoccerJuggling/v_SoccerJuggling_g23_c01.avi\n",
    }
    return {f"UCF-101/SoccerJuggling/{name}.avi": content for name, content in videos.items()}, lists, (1,)


def real_hmdb(folder):
    videos, lists = {}, {"wave_test_split1.txt": "", "cartwheel_test_split1.txt": ""}
    for path in folder.glob("*_np*.avi"):
        action = "wave" if "_wave_" in path.name else "cartwheel"
        videos[f"{action}/{path.name}"] = path.read_bytes()
        lists[f"{action}_test_split1.txt"] += f"{path.name} {1 if action == 'wave' else 2} \n"
    return videos, lists, (2,)
