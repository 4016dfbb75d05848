"""Batches of pairs: what any list or DataLoader gives, the same whenever an epoch is gone through."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pkdlib.data.batches import PairedBatches

INPUTS, LABELS = torch.arange(20.0).reshape(10, 2), torch.arange(10) % 3


def shuffled(**options):
    return PairedBatches(DataLoader(TensorDataset(INPUTS, LABELS), 4, shuffle=True), ["a", "b"], **options)


def test_a_list_is_taken_as_it_is():
    pairs = [({"a": INPUTS[:6]}, LABELS[:6]), ({"a": INPUTS[6:]}, LABELS[6:])]
    batches = PairedBatches(pairs, ["a"])
    parts = list(batches.epoch(0))
    assert len(batches) == len(parts) == 2
    assert [(part.batch, part.share, part.weight, part.first, part.last) for part in parts] == [
        (0, 0, 1, True, True),
        (1, 0.5, 1, True, True),
    ]
    assert [list(part.indices) for part in parts] == [list(range(6)), list(range(6, 10))]
    assert torch.equal(torch.cat([part.inputs["a"] for part in parts]), INPUTS)
    assert parts[1].names[0] == "sample 7 of the epoch"


def test_one_tensor_is_read_by_every_network():
    (part, *_) = shuffled().epoch(0)
    assert set(part.inputs) == {"a", "b"} and part.inputs["a"] is part.inputs["b"]


def test_a_loader_shuffles_anew_in_each_epoch_and_the_same_whenever_asked():
    def read(batches, epoch, first=0):
        torch.rand(3)  # whatever else draws of torch's generator
        return [part.labels.tolist() + part.inputs["a"].flatten().tolist() for part in batches.epoch(epoch, first)]

    whole = read(shuffled(), 0)
    assert read(shuffled(), 0) == whole and read(shuffled(), 0, first=1) == whole[1:]
    assert read(shuffled(), 1) != whole and read(shuffled(seed=1), 0) != whole


def test_what_can_be_read_but_once_is_refused():
    with pytest.raises(TypeError, match="batches: generator has no length; give a list of"):
        PairedBatches((pair for pair in [(INPUTS, LABELS)]), ["a"])
