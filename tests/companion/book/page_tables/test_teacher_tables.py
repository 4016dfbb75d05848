import itertools
import json

import pandas as pd
import pytest

from pkdlib import _resources
from pkdlib.companion import results
from pkdlib.companion.book.page_tables import teacher_tables
from pkdlib.companion.claims import verdicts

CELLS = list(itertools.product((0,), (0, 1), ("a", "b", "c")))


def rows(modality, method, correct, **more):
    for (split, seed, group), exit_ in itertools.product(CELLS, (1, 2, 3)):
        where = {"split": split, "seed": seed, "group": group, "modality": modality, "method": method, "exit": exit_}
        yield {**where, "kind": "light", "part": "test", "clips": 50, "correct": correct, **more}


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A study in which T = 4 gives PKD 4 points, and whose teacher is right and certain on its own clips alone."""
    trials = [
        row
        for modality in ("motion", "iframe")
        for method, correct in (("ce", 25), ("pkd", 20), ("self", 30))
        for row in rows(modality, method, correct, lr_factor=1.0)
    ]
    softer = [row for m in ("motion", "iframe") for row in rows(m, "pkd", 22, lr_factor=1.0, temperature_factor=4.0)]
    softer += rows("iframe", "self", 29, lr_factor=1.0, temperature_factor=4.0)
    taught = [
        {"split": 0, "seed": 0, "group": group, "modality": "iframe", "kind": "teacher", "method": method, "exit": 4}
        | {"part": part, "clips": clips, "correct": correct, "certainty": certainty}
        for method, part, group, clips, correct, certainty in (
            ("own", "train", "a", 30, 30, 1.0),
            ("own", "train", "b", 10, 10, 0.8),
            ("crossfit", "train", "a", 30, 20, 0.6),
            ("own", "validation", "v", 20, 15, 0.7),
        )
    ]
    place = tmp_path / "results" / "full" / "mine"
    place.mkdir(parents=True)
    for name, found in (("exits", trials), ("trials", trials), ("temperatures", softer), ("crossfit", taught)):
        pd.DataFrame(found).to_csv(place / f"{name}{results.PACKED}", index=False)
    runs = [{"split": 0, "seed": seed} for seed in range(verdicts.MIN_SEEDS)]  # of which these tables hold two
    (place / "run.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    monkeypatch.setattr(_resources, "folder", lambda _: tmp_path / "results")


def test_a_temperature_is_set_against_1_and_against_labels(committed):
    ((name, table),) = teacher_tables.temperatures()
    assert name == "mine (full)"
    assert table.to_dict("records") == [
        {"classifiers": "light classifiers", "learned from": "PKD", "temperature": "4"}
        | {"less at 1": "+4.0 (+4.0 to +4.0)", "less labels": "-6.0 (-6.0 to -6.0)"},
        {"classifiers": "light classifiers", "learned from": "own end", "temperature": "4"}
        | {"less at 1": "-2.0 (-2.0 to -2.0)", "less labels": "+8.0 (+8.0 to +8.0)"},
    ]


def test_certainty_is_the_mean_over_clips(committed):
    ((_, table),) = teacher_tables.certainty()
    assert table.drop(columns="the I-frame network").to_numpy().tolist() == [
        ["40", "95 %", "100 %"],
        ["30", "60 %", "67 %"],
        ["20", "70 %", "75 %"],
    ]
