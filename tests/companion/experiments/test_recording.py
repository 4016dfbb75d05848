import numpy as np
import pandas as pd
import pytest
import torch

from pkdlib.companion import results, workspace
from pkdlib.companion.experiments import exits, recording
from pkdlib.distillation.schedules import METHODS

NAME, STUDY = "ucf101-25", ("full-lite", "ucf101-25")


@pytest.fixture(scope="module")
def committed():
    return recording.load(recording.committed()[NAME])


def _of_its_run(table, committed):
    run = committed.about["run"]
    own = table[(table["split"] == run["split"]) & (table["seed"] == run["seed"]) & (table["part"] == "test")]
    return own.groupby(["modality", "method", "exit"])["correct"].sum()


def test_a_committed_recording_is_of_its_study(committed):
    study = results.published(*STUDY)
    truth = committed.labels("test")
    ends = _of_its_run(study["exits"], committed)
    light = study["trials"].query("kind == 'light' and lr_factor == 1")
    counts = _of_its_run(light, committed)
    for network in committed.networks:
        right = (committed.ends("test", network).argmax(axis=1) == truth).sum()
        assert abs(right - ends[network, "backbone", 4]) <= 1  # logits are rounded, which may turn a clip
        of_exits = committed.stacked("test", "ce", (network,)).argmax(axis=2) == truth[:, None]
        for number in (1, 2, 3):
            assert abs(of_exits[:, number - 1].sum() - counts[network, "ce", number]) <= 1


@pytest.mark.slow
def test_what_the_library_trains_on_it_stands_beside_it(committed):
    written = pd.read_csv(recording.committed()[NAME] / recording.ACCURACY)
    again = recording.accuracies(committed, {"ce": METHODS["ce"]})
    merged = written.merge(again, on=["method", "modality", "exit"])
    assert len(merged) == 9
    # Another machine may round otherwise.
    assert (merged["correct_x"] - merged["correct_y"]).abs().max() <= 2
    assert set(written["method"]) == set(METHODS)


def test_a_backbone_whose_exits_read_segments_is_refused(smoke):
    run = workspace.Run(smoke.replace(backbone="teamnet"), 0, 0)
    with pytest.raises(recording.RecordingError, match=r"backbone = teamnet: .* backbone = coviar"):
        recording.record(run)


def test_a_recording_is_small_enough_for_a_page():
    for place in recording.committed().values():
        assert (place / recording.ARRAYS).stat().st_size <= 2_000_000


@pytest.mark.slow
def test_the_exits_of_a_run_answer_the_same_from_its_recording(smoke, smoke_page, tmp_path):
    smoke_page("05")
    (run,) = workspace.selected_runs(smoke)
    recorded = recording.record(run)
    own, kind = exits.of(run), smoke.plan.light
    for network, net in own.load(kind, "pkd").items():
        written = recorded.stacked("test", "pkd", (network,))
        for number, exit_ in enumerate(net.exits, 1):
            # A light exit is linear, so that the mean over places and segments may be taken before it.
            with torch.no_grad():
                again = exit_.head(torch.from_numpy(recorded.features("test", network, number))).numpy()
            np.testing.assert_allclose(again, written[:, number - 1], atol=0.05)
    recording.save(recorded, tmp_path)
    loaded = recording.load(tmp_path)
    assert loaded.arrays.keys() == recorded.arrays.keys() and loaded.about["run"] == recorded.about["run"]
    for name, values in recorded.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], values)
    assert loaded.costs(("residual", "motion"))[7] == pytest.approx(
        loaded.costs(("residual",))[3] + loaded.costs(("motion",))[3]
    )
