import os
import shutil
from collections import Counter

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.datasets import DatasetError, folder, ut_interaction
from pkdlib.transcode import encode

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

    def transcode(source, target):
        shutil.copyfile(source, target)
        done.append(source.name)

    monkeypatch.setattr(folder, "transcode", transcode)
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
    (root / "run" / "notes.txt").write_text("not a clip")
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
    transcode = folder.transcode
    monkeypatch.setattr(folder, "transcode", lambda s, t: (done.append(s), transcode(s, t)))
    for path in broken:
        _video(path)
    folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    assert done == broken


def test_an_interrupted_transcoding_goes_on(root, tmp_path, stubbed, monkeypatch):
    transcode = folder.transcode

    def interrupted(source, target):
        if len(stubbed) == 3:
            raise KeyboardInterrupt
        transcode(source, target)

    monkeypatch.setattr(folder, "transcode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)
    monkeypatch.setattr(folder, "transcode", transcode)
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
    with pytest.raises(DatasetError, match=r"4 groups \(anna, ben, cleo, dora\) are too few for 5 folds"):
        folder.load(root, cache, pattern=PATTERN, num_folds=5)
    with pytest.raises(DatasetError, match="num_folds is 2"):
        folder.load(root, cache, pattern=PATTERN, num_folds=2)
    shutil.copy(root / "run" / "ben_1.avi", root / "run" / "ben_1.MP4")
    with pytest.raises(DatasetError, match="have the same name"):
        folder.load(root, cache, pattern=PATTERN)
    shutil.rmtree(root / "run")
    with pytest.raises(DatasetError, match=r"one class only \(jump\)"):
        folder.load(root, cache, pattern=PATTERN)


def test_a_class_without_training_clips_is_named(root, tmp_path, stubbed):
    for person in PEOPLE[1:]:
        (root / "jump" / f"{person}_1.avi").unlink()
    with pytest.raises(DatasetError, match="no training clips of jump"):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)


def test_a_cache_that_cannot_be_written(root, tmp_path, stubbed, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot use the clip folder"):
        folder.load(root, tmp_path / "file" / "cache", pattern=PATTERN, num_folds=4)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "transcode", full)
    with pytest.raises(DatasetError, match=r"cannot write .*anna_1.mp4: .*No space left"):
        folder.load(root, tmp_path / "cache", pattern=PATTERN, num_folds=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(root, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    with pytest.raises(DatasetError, match="cannot write in the clip folder"):
        folder.load(root, cache, pattern=PATTERN, num_folds=4)


@given(
    clips=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=1, max_size=60),
    num_folds=st.integers(3, 6),
    seed=st.integers(0, 9),
)
def test_folds_partition_the_groups(clips, num_folds, seed):
    sources = [folder.Source(None, f"c{action}", f"g{group:02d}") for action, group in clips]
    groups = {source.group for source in sources}
    if len(groups) < num_folds:
        with pytest.raises(DatasetError, match="too few"):
            folder._folds(sources, num_folds, seed)
        return
    folds = folder._folds(sources, num_folds, seed)
    assert len(folds) == num_folds and all(folds)
    assert sorted(group for fold in folds for group in fold) == sorted(groups)
    assert folds == folder._folds(sources[::-1], num_folds, seed)


@given(groups=st.integers(3, 30), num_folds=st.integers(3, 8), seed=st.integers(0, 9))
def test_equal_groups_are_dealt_evenly(groups, num_folds, seed):
    sources = [folder.Source(None, action, f"g{group:02d}") for action in "ab" for group in range(groups)]
    if groups >= num_folds:
        sizes = [len(fold) for fold in folder._folds(sources, num_folds, seed)]
        assert max(sizes) - min(sizes) <= 1


def test_groups_of_one_class_each_are_dealt_by_class():
    """Films, say, that show one action each: every fold gets one film of every action."""
    sources = [folder.Source(None, action, f"{action}{film}") for action in "abcd" for film in range(5)]
    for fold in folder._folds(sources, 5, 0):
        assert sorted(group[0] for group in fold) == ["a", "b", "c", "d"]


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
