"""Parts of UCF-101 and HMDB-51: of what is in a folder a data set of its own, named as such."""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib import _resources, cli
from pkdlib.companion import folders, reproduce, tables, workspace
from pkdlib.companion.parameters import Parameters
from pkdlib.data import _transcoding, frame_cache
from pkdlib.data.datasets import DatasetError
from pkdlib.data.official import hmdb51, official, parts, preparation, ucf101
from pkdlib.video import transcode
from tests.data.official import test_official as whole

UCF, HMDB = whole.UCF, whole.HMDB


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """A tiny video."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    transcode.encode((np.full((48, 64, 3), shade, np.uint8) for shade in (20, 90, 200)), path)
    return path


@pytest.fixture
def copied(monkeypatch):
    """Replace transcoding by copying; returns the sources."""
    done = []

    def copy(source, target, **_):
        shutil.copyfile(source, target)
        done.append(source)

    monkeypatch.setattr(_transcoding, "transcode", copy)
    return done


def unpacked(folder, members):
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def ucf(tmp_path, video):
    """The miniature UCF-101 and its lists, as their archives unpack."""
    unpacked(tmp_path / "videos", whole.ucf_videos(video.read_bytes()))
    unpacked(tmp_path / "listed", whole.ucf_lists())
    return tmp_path / "videos" / "UCF-101"


def prepare(clips, root, spec=UCF, **settings):
    said = []
    settings = {"lists": clips.parents[1] / "listed", **settings}
    return preparation.prepare_part(spec, root, clips, log=said.append, **settings), said


@pytest.mark.slow
def test_a_part_of_ucf101_is_a_data_set(ucf101_mini, tmp_path):
    clips, lists = ucf101_mini
    said, root = [], tmp_path / "root"
    dataset = preparation.prepare_part(ucf101.SPEC, root, clips, lists=lists, log=said.append, workers=2)
    assert said[0].startswith("UCF-101: 4 of 101 classes, 24 of 13,320 clips")
    assert dataset.name == "ucf101-4"
    assert dataset.classes == ("BaseballPitch", "Basketball", "PlayingCello", "Punch")  # in the official order
    here = {f"{path.parent.name}/{path.stem}" for path in clips.rglob("*.avi")}
    for number, split in enumerate(dataset.splits, 1):
        (listed,) = lists.rglob(f"testlist{number:02d}.txt")
        official_test = {line.strip().removesuffix(".avi") for line in listed.read_text(encoding="utf-8").splitlines()}
        assert {dataset.clips[i].name for i in split.test} == here & official_test
        groups = {part: {dataset.clips[i].group for i in getattr(split, part)} for part in ("train", "validation")}
        assert not groups["train"] & groups["validation"]
        assert Counter(dataset.clips[i].label for i in split.validation) == dict.fromkeys(range(4), 1)
    assert official.load(ucf101.SPEC, root) == dataset
    (gops,) = [line for line in said if line.startswith("GOPs of the originals")]
    assert "at most 12 frames in all clips of BaseballPitch, Basketball, Punch" in gops
    assert "longer in all clips of PlayingCello" in gops


def test_a_part_is_named_wherever_its_results_are(ucf, tmp_path, copied, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(ucf / "YoYo")
    dataset, said = prepare(ucf, tmp_path / "root")
    assert said[0].startswith("UCF-101: 2 of 3 classes, 20 of 30 clips") and dataset.name == "ucf101-2"
    p = Parameters.for_profile("quick", dataset="ucf101", root=str(tmp_path / "root"))
    assert workspace.dataset(p) == dataset and len(workspace.selected_runs(p)) == 1
    assert folders.run_folder(p) == reproduce.output_folder(p) == _resources.place("runs/quick-lite/ucf101-2")
    where = tables.publish(p, tmp_path / "results", ())
    assert where == tmp_path / "results" / "quick-lite" / "ucf101-2"
    assert json.loads((where / "run.json").read_text(encoding="utf-8"))["data"]["name"] == "ucf101-2"
    other = Parameters.for_profile("quick", dataset="folder", root=str(tmp_path / "root"), pattern="_(g..)_")
    assert reproduce.output_folder(other).name.startswith("folder-")


def test_all_classes_but_fewer_clips_are_a_part_too(ucf, tmp_path, copied):
    for name in ("v_YoYo_g04_c01", "v_YoYo_g04_c02"):
        (ucf / "YoYo" / f"{name}.avi").unlink()
    assert prepare(ucf, tmp_path / "root")[0].name == "ucf101-28clips"


def test_all_videos_are_the_whole_wherever_and_in_whatever_container(ucf, tmp_path, copied):
    shutil.copytree(ucf, tmp_path / "kept")
    flat = tmp_path / "flat" / "all"
    flat.mkdir(parents=True)
    for number, path in enumerate(sorted(ucf.rglob("*.avi"))):
        path.rename(flat / f"{path.stem}{('.avi', '.mp4', '.MKV')[number % 3]}")
    dataset, _ = prepare(flat, tmp_path / "root", lists=tmp_path / "listed")
    assert dataset.name == "ucf101" and len(dataset.clips) == 30 and parts.read(tmp_path / "root") is None
    archive = whole.write_zip(
        tmp_path / "UCF101.zip", {str(p.relative_to(flat)): p.read_bytes() for p in flat.glob("*")}
    )
    lists = whole.write_zip(tmp_path / "lists.zip", whole.ucf_lists())
    other = preparation.prepare(UCF, tmp_path / "other", archives=[archive], lists=lists, log=lambda line: None)
    assert (other.name, other.classes, other.splits, other.checksum) == (
        dataset.name,
        dataset.classes,
        dataset.splits,
        dataset.checksum,
    )


def test_chosen_classes(ucf, tmp_path, copied):
    dataset, _ = prepare(ucf, tmp_path / "root", classes=["YoYo", "ApplyEyeMakeup"])
    assert dataset.classes == ("ApplyEyeMakeup", "YoYo") and len(copied) == 20
    dataset.clips[5].path.unlink()
    message = rf"lacks 1 of 20 clips \({dataset.clips[5].name}\): run `(pkd data ucf101 .*--root .*)` to go on"
    with pytest.raises(DatasetError, match=message) as error:
        official.load(UCF, tmp_path / "root")
    assert f"--clips {ucf} --classes YoYo,ApplyEyeMakeup --root {tmp_path / 'root'}" in str(error.value)


def test_classes_with_too_little_are_left_out_and_named(ucf, tmp_path, copied):
    for group in (2, 3, 4, 5):  # a class of one group
        for path in (ucf / "YoYo").glob(f"*_g{group:02d}_*"):
            path.unlink()
    dataset, said = prepare(ucf, tmp_path / "root")
    assert dataset.classes == ("ApplyEyeMakeup", "HandstandPushups")
    (line,) = [line for line in said if line.startswith("left out")]
    assert "YoYo (split 1 has no training clip of it)" in line
    for path in (ucf / "HandstandPushups").glob("*_g02_*"):  # which split 2 tests
        path.unlink()
    with pytest.raises(DatasetError, match=r"too little of UCF-101: .*; there are 1, without .*\(split 2 has no test"):
        prepare(ucf, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_part_of_hmdb51(tmp_path, video, copied):
    members = {
        f"{action}/{whole.hmdb_name(action, film, clip)}": video.read_bytes()
        for action, films in whole.FILMS.items()
        for film in films
        for clip in (0, 1)
        if film != "GLOCK17"
    }
    folder = unpacked(tmp_path / "x" / "videos", members)
    lists = unpacked(tmp_path / "listed", whole.hmdb_lists())
    dataset, said = prepare(folder, tmp_path / "root", HMDB, lists=lists)
    assert dataset.name == "hmdb51-22clips" and "2 of 2 classes, 22 of 24 clips" in said[0]
    listed = hmdb51.read_lists(lists, 3)
    for split, published in zip(dataset.splits, listed.splits, strict=True):
        assert {dataset.clips[i].name for i in split.test} == {n for n in published.test if "GLOCK" not in n}
    with pytest.raises(DatasetError, match="holds hmdb51-22clips, a part of hmdb51, and not of ucf101"):
        official.load(UCF, tmp_path / "root")


def test_a_damaged_clip_among_good_ones(ucf, tmp_path):
    damaged = ucf / "YoYo" / "v_YoYo_g04_c01.avi"
    damaged.write_bytes(b"no video" * 99)
    said = []
    with pytest.raises(DatasetError, match=r"1 of 30 clips cannot be transcoded .* all others are made: ") as error:
        preparation.prepare_part(UCF, tmp_path / "root", ucf, lists=tmp_path / "listed", log=said.append)
    assert "\n" not in str(error.value)
    assert [line.split(": ")[1] for line in said if line.startswith("failed")] == [str(damaged)]
    damaged.unlink()
    dataset, said = prepare(ucf, tmp_path / "root")
    assert dataset.name == "ucf101-29clips" and "29 of 29 clips are there, their checksums right" in said


def test_a_part_and_the_whole_do_not_share_a_folder(ucf, tmp_path, copied):
    lists = tmp_path / "listed"
    prepare(ucf, tmp_path / "whole")
    shutil.rmtree(ucf / "YoYo")
    with pytest.raises(DatasetError, match=r"whole holds the whole of UCF-101: choose another --root for a part"):
        prepare(ucf, tmp_path / "whole")
    assert official.load(UCF, tmp_path / "whole").name == "ucf101"
    prepare(ucf, tmp_path / "part")
    with pytest.raises(DatasetError, match=r"holds ucf101-2, .* go on with `pkd data ucf101 --clips .*, or choose"):
        preparation.prepare(UCF, tmp_path / "part", lists=lists)
    (tmp_path / "part" / "part.json").write_text('{"name": "ucf101-2"}', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"part.json cannot be read .*: run `pkd data` with --clips again"):
        official.load(UCF, tmp_path / "part")


def other_lists(folder):
    lists = whole.ucf_lists()
    del lists["ucfTrainTestlist/testlist03.txt"]
    shutil.rmtree(folder)
    unpacked(folder, lists)


@pytest.mark.parametrize(
    ("spoil", "settings", "message"),
    [
        (lambda ucf: shutil.rmtree(ucf), {}, r"there is no folder .*UCF-101$"),
        (lambda ucf: [path.unlink() for path in ucf.rglob("*.avi")], {}, r"UCF-101 holds no videos: expected <class>/"),
        (
            lambda ucf: [path.rename(path.with_name(f"my_{path.name}")) for path in ucf.rglob("*.avi")],
            {},
            r"the official lists of UCF-101 name none of its 30 videos \(.*my_v_Apply.*, for one\)",
        ),
        (
            lambda ucf: other_lists(ucf.parents[1] / "listed"),
            {},
            "there is no file testlist03.txt, one of the",
        ),
        (lambda ucf: None, {"spec": HMDB}, r"listed: there are no files <class>_test_split1.txt, the official lists"),
        (lambda ucf: None, {"spec": ucf101.SPEC}, r"not the official lists of UCF-101: 3 classes instead of 101"),
        (lambda ucf: None, {"classes": ["Yoyo"]}, "UCF-101 has no class 'Yoyo'; did you mean 'YoYo'"),
        (lambda ucf: shutil.rmtree(ucf / "YoYo"), {"classes": ["YoYo"]}, "UCF-101 holds no clip of YoYo"),
        (lambda ucf: None, {"classes": ["YoYo"]}, "too little of UCF-101: it takes 2 classes .* there are 1$"),
        (
            lambda ucf: shutil.copy(ucf / "YoYo" / "v_YoYo_g01_c01.avi", ucf / "v_YoYo_g01_c01.mp4"),
            {},
            "YoYo/v_YoYo_g01_c01 is there twice: .*; remove one",
        ),
    ],
)
def test_what_makes_no_data_set_is_one_line_and_writes_nothing(spoil, settings, message, ucf, tmp_path, copied):
    spoil(ucf)
    with pytest.raises(DatasetError, match=message) as error:
        prepare(ucf, tmp_path / "root", **settings)
    assert "\n" not in str(error.value) and not copied
    assert not (tmp_path / "root").exists()


def test_clips_are_not_made_among_the_originals(ucf, tmp_path, copied):
    for root in (ucf, tmp_path / "videos"):
        before = whole.snapshot(tmp_path)
        with pytest.raises(DatasetError, match=r"lie in each other: choose another --root"):
            prepare(tmp_path / "videos", root, lists=tmp_path / "listed")
        assert whole.snapshot(tmp_path) == before


NAMES = sorted(name.partition("/")[2].removesuffix(".avi") for name in whole.ucf_videos(b""))


@given(kept=st.sets(st.sampled_from(NAMES)))
def test_any_part_keeps_the_official_splits(kept, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "ucf-lists"
    if not folder.exists():
        unpacked(folder, whole.ucf_lists())
    listed = UCF.read_lists(folder, 3)
    part = listed.restricted(kept)
    unfit = official.unfit_classes(UCF, part)
    groups = defaultdict(set)
    for name in kept:
        groups[official.action_of(name)].add(int(name[-6:-4]))
    assert set(part.classes) == set(groups)
    # Split k tests group k, so that a class needs the first three groups, and each split two others.
    fit = {action for action, own in groups.items() if {1, 2, 3} <= own}
    assert set(part.classes) - set(unfit) == fit
    taken = part.restricted(name for name in part.names if official.action_of(name) in fit)
    for split, published in zip(taken.splits, listed.splits, strict=True):
        assert set(split.train) == {n for n in published.train if n in kept and official.action_of(n) in fit}
        assert set(split.test) == {n for n in published.test if n in kept and official.action_of(n) in fit}
    if fit:
        dataset = official.assemble(UCF, taken, Path("root"), "", name="part")
        for split in dataset.splits:
            labels = [{dataset.clips[i].label for i in part} for part in (split.train, split.validation, split.test)]
            assert labels == [set(range(len(fit)))] * 3


def test_the_command(ucf, tmp_path, monkeypatch, capsys, copied):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ucf101, "SPEC", UCF)
    words = ["data", "ucf101", "--root", "root", "--workers", "1", "--lists", "listed"]
    assert cli.main([*words, "--clips", str(ucf), "--classes", "YoYo, ApplyEyeMakeup"]) == 0
    said = capsys.readouterr().out
    assert "UCF-101: 2 of 3 classes, 20 of 30 clips" in said and "GB at the profile quick" in said
    assert "ready: pkd reproduce --dataset ucf101 --root root" in said
    assert cli.main([*words, "--classes", "YoYo"]) == 2
    assert "--classes goes with --clips" in capsys.readouterr().err
    assert cli.main([*words, "--clips", str(ucf), "--archive", "x.zip"]) == 2
    assert "--clips and --archive exclude each other" in capsys.readouterr().err


def test_a_frame_bank_says_how_large_it_will_be_before_it_is_made(tmp_path, capsys):
    rng = np.random.default_rng(0)
    clip = tmp_path / "clip.mp4"
    transcode.encode(rng.integers(0, 255, (30, 64, 85, 3), np.uint8), clip)
    settings = {"candidates": 6, "short_side": 32}
    assert frame_cache.size_of([clip] * 5, **settings) == 5 * np.prod(frame_cache.decode_candidates(clip, 6, 32).shape)
    frame_cache.frame_bank([clip] * 5, [0] * 5, tmp_path / "bank", **settings)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"decoding 5 clips, once, to {tmp_path / 'bank'}: about {5 * 6 * 8 * 32 * 42 / 1e9:.2g} GB"]
    frame_cache.frame_bank([clip] * 5, [0] * 5, tmp_path / "bank", **settings)
    assert not capsys.readouterr().out
