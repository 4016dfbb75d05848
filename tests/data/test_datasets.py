from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.data.datasets import Clip, Dataset, DatasetError, Split, split_by_group


def _clips(groups):
    return tuple(Clip(f"c{i}", Path(f"c{i}.mp4"), i % 2, group) for i, group in enumerate(groups))


def _dataset(groups, *splits):
    return Dataset("toy", ("a", "b"), _clips(groups), splits, "0", "", "")


@given(st.lists(st.sampled_from("abcdef"), max_size=30))
def test_split_by_group_puts_every_clip_in_the_part_of_its_group(groups):
    split = split_by_group(_clips(groups), validation={"a", "b"}, test={"c"})
    assert sorted(split.train + split.validation + split.test) == list(range(len(groups)))
    assert {groups[i] for i in split.test} <= {"c"}
    assert {groups[i] for i in split.validation} <= {"a", "b"}
    assert {groups[i] for i in split.train} <= {"d", "e", "f"}


def test_a_dataset_of_disjoint_groups_is_accepted():
    split = Split(train=(0, 1), validation=(2,), test=(3,))
    assert _dataset("xxyz", split).splits == (split,)


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        (Split(train=(0,), validation=(1,), test=(2,)), "both in train and in validation"),
        (Split(train=(0,), validation=(2,), test=(1,)), "both in train and in test"),
        (Split(train=(2,), validation=(0,), test=(1,)), "both in validation and in test"),
    ],
)
def test_a_group_in_two_parts_is_refused(split, parts):
    with pytest.raises(DatasetError, match=f"split 0 has group 'x' {parts}"):
        _dataset("xxy", split)


def test_an_empty_part_is_refused_in_any_split():
    sound = Split(train=(0,), validation=(1,), test=(2,))
    with pytest.raises(DatasetError, match="split 1 has no validation clips"):
        _dataset("xyz", sound, Split(train=(0,), validation=(), test=(2,)))
