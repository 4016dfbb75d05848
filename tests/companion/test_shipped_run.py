"""The run in results/ that pages show is what its code gives: some answers at each change, all training each night."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pkdlib.companion import folders, results, tables, workspace
from pkdlib.companion.experiments import backbones
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.data import sampling
from pkdlib.data.frame_cache import ClipFiles
from pkdlib.training import loop
from tests.extent import nightly

SHIPPED = folders.shipped_folder(Parameters.for_profile("quick"))
MOST_BYTES = 15_000_000
# On another kind of machine, or with other versions: of losses relatively, of accuracies in shares of the clips.
LOSS, ACCURACY = 0.02, 0.05

pytestmark = pytest.mark.skipif(not SHIPPED.is_dir(), reason="no run is shipped here")


class Enough(Exception):
    """The first epoch is over."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    place = tmp_path_factory.mktemp("quick")
    return Parameters.for_profile("quick", device="cpu", runs=str(place / "runs"), cache=str(place / "cache"))


def shipped(name):
    return SHIPPED / "split0" / "seed0" / name


def made_here(record):
    """Whether a record is of this kind of machine, and of these versions."""
    own = store.provenance()
    return all(record[name] == own[name] for name in ("device", "python", "versions"))


def test_it_is_small_and_says_how_it_was_made():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= MOST_BYTES
    for weights in SHIPPED.rglob("weights.safetensors"):
        assert {value.dtype for value in load_file(weights).values()} <= {torch.float16, torch.int64}
    records = [json.loads(path.read_text(encoding="utf-8")) for path in SHIPPED.rglob(store.RECORD)]
    made = {record["step"].split("-")[0] for record in records}
    assert made >= {"backbone", "exits", "logits", "flatness", "latency", "audit"}
    assert all(record["settings"]["profile"] == "quick" and record["commit"] for record in records)


def test_its_tables_are_the_committed_ones(quick):
    """What a page shows of it stands in results/quick, too."""
    shown = quick.replace(recompute=False)
    committed = results.published("quick", "marionette")
    for name in tables.TABLES:
        own = tables.table(shown, name)
        if len(own):
            pd.testing.assert_frame_equal(own, committed[name][own.columns], check_dtype=False, rtol=1e-8)
    assert not workspace.selected_runs(shown)[0].store.root.exists()  # nothing was trained for them


@pytest.mark.slow
def test_its_networks_answer_clips_that_are_drawn_here_as_they_did(quick):
    """So the clips, their reading and sampling, and the networks are still the ones of the run."""
    shown = quick.replace(recompute=False)
    (run,) = workspace.selected_runs(shown)
    data = workspace.dataset(shown)
    files = data.files(data.splits[0].test[:8])  # no others are drawn
    clips = ClipFiles(files, torch.zeros(len(files)), shown.candidates, round(shown.input_size * sampling.CROP_FROM))
    shape = {"modalities": shown.plan.networks, "size": shown.input_size, "segments": shown.segments}
    inputs = sampling.evaluation_batch(clips, range(len(files)), device="cpu", **shape)
    logits = load_file(shipped("logits-backbones") / "logits.safetensors")
    for modality, network in backbones.of(run).load().items():
        with torch.no_grad():
            found = network(inputs[modality])
        expected = logits[f"test/{modality}/backbone/4"][: len(files)]
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02)  # weights are kept in half precision


@pytest.mark.slow
@nightly
def test_the_first_epoch_of_training_is_its(quick, monkeypatch):
    found, resumable = [], loop.resumable_epochs

    def once(parts, run_part, end_epoch, *rest, **named):
        def stop(*arguments):
            found.append(end_epoch(*arguments))
            raise Enough

        return resumable(parts, run_part, stop, *rest, **named)

    monkeypatch.setattr(loop, "resumable_epochs", once)
    (run,) = workspace.selected_runs(quick)
    with pytest.raises(Enough):
        backbones.backbone_step(run, "motion")
    ((row,), curves) = found, json.loads((shipped("backbone-motion") / "curves.json").read_text(encoding="utf-8"))
    expected = curves["curves"][0]
    if made_here(json.loads((shipped("backbone-motion") / store.RECORD).read_text(encoding="utf-8"))):
        assert row == expected
    for name in ("train_loss", "validation_loss"):
        assert row[name] == pytest.approx(expected[name], rel=LOSS)
    for name in ("train_accuracy", "validation_accuracy"):
        assert row[name] == pytest.approx(expected[name], abs=ACCURACY)


@pytest.mark.slow
@nightly
def test_training_gives_its_weights_and_logits(quick):
    (run,) = workspace.selected_runs(quick)
    tables.all_tables(quick, ("exits", "trials"))
    for step, record in run.store.finished("*"):
        same = made_here(json.loads((shipped(step.name) / store.RECORD).read_text(encoding="utf-8")))
        for file in step.glob("*.safetensors"):
            own, theirs = load_file(file), load_file(shipped(step.name) / file.name)
            assert own.keys() == theirs.keys(), record["step"]
            if same:
                assert all(own[key].to(value.dtype).equal(value) for key, value in theirs.items()), file
            elif file.name == "logits.safetensors":
                agree = [np.mean((own[key].argmax(1) == theirs[key].argmax(1)).numpy()) for key in own]
                assert np.mean(agree) > 0.8  # of the clips, whatever is answered
