import hashlib

import numpy as np
import pytest

from pkdlib.data.datasets import DatasetError
from pkdlib.data.marionette import _recipe, marionette, marionette_1
from pkdlib.data.marionette._actions import ACTIONS
from pkdlib.data.marionette._scene import FAMILIES

TINY = {"clips_per_pair": 1, "actors": 3, "actions": 2, "frames": 14}


def digests(dataset):
    dataset.files()
    return {clip.name: hashlib.sha256(clip.path.read_bytes()).hexdigest() for clip in dataset.clips}


def test_it_has_the_classes_and_splits_of_marionette_and_other_clips(tmp_path):
    first, second = (module.describe(tmp_path / module.__name__, **TINY) for module in (marionette_1, marionette))
    assert first.classes == second.classes and first.splits == second.splits and first.checksum != second.checksum
    assert digests(first).keys() == digests(second).keys()
    assert not set(digests(first).values()) & set(digests(second).values())


def test_a_dial_out_of_range_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"marionette_1: scene_bias is 1\.5, must be a probability"):
        marionette_1.describe(tmp_path, **TINY, scene_bias=1.5)


def test_the_scene_belongs_to_the_action_as_often_as_declared(monkeypatch):
    class Drawn(Exception):
        pass

    def caught(family, *_, **__):
        raise Drawn(family)

    monkeypatch.setattr(_recipe, "draw_scene", caught)

    def home_share(bias):
        hits = []
        for index in range(30):
            for action in range(len(ACTIONS)):
                with pytest.raises(Drawn) as drawn:
                    next(marionette_1.Recipe(0, action, 0, index, 2, scene_bias=bias).render())
                hits.append(drawn.value.args[0] == marionette_1.home_family(action))
        return np.mean(hits)

    assert home_share(1.0) == 1.0
    for bias in (0.0, 0.3):
        expected = bias + (1 - bias) / len(FAMILIES)
        assert abs(home_share(bias) - expected) < 4 * np.sqrt(expected * (1 - expected) / 360)
