"""The study of flatness on a tiny run: what is measured is what the functions below it give, under each control."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from pkdlib import _files
from pkdlib.companion import folders, tables, workspace
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments import flatness
from pkdlib.companion.flatness_controls import CONTROLS, MEASURES
from pkdlib.companion.parameters import ParameterError, Parameters
from pkdlib.data import sampling
from pkdlib.flatness import measures
from pkdlib.flatness.objective import Objective, mean_loss
from pkdlib.models import backbones

pytestmark = pytest.mark.slow
TINY = {
    "dataset": "marionette_1",
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "backbone_epochs": 4,
    "exit_epochs": 1,
    "threads": 1,
    "light_methods": "ce,pkd",
    "flatness_clips": 2,
    "flatness_probes": 2,
    "flatness_controls": "same,matched,mix",
    "flatness_biases": "0.3",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("minima")
    p = Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)
    (run,) = workspace.selected_runs(p)
    return run


@pytest.fixture(scope="module")
def measured(run):
    rows = pd.DataFrame(tables.flatness_rows(run))
    return rows.set_index(["control", "modality", "measure"])["value"]


def test_every_network_of_every_control_has_every_measure(measured):
    names = {"loss", *MEASURES, "train_loss", "train_accuracy", "test_loss", "test_accuracy", "input_deviation"}
    assert set(measured.index.levels[2]) == names
    assert len(measured) == 3 * 3 * len(names) and np.isfinite(measured).all()


def test_the_fit_is_that_of_the_kept_weights(run, measured):
    curves = _files.read_json(run_backbones.backbone_step(run, "motion") / "curves.json")
    assert measured["same", "motion", "train_loss"] != curves["curves"][-1]["train_loss"]  # eval mode, central crops
    data, bank = workspace.dataset(run.parameters), workspace.frame_bank(run.parameters)
    network = run_backbones.of(run).load()["motion"]
    test = list(data.splits[0].test)
    recipe = run.recipe(epochs=1, lr=1.0, tuning=run.parameters.tuning)
    logits, _ = flatness.trainer.predict(network, "motion", run.evaluation(test, ["motion"]), recipe)
    assert measured["same", "motion", "test_loss"] == pytest.approx(
        functional.cross_entropy(logits, bank.labels[test]).item(), rel=1e-6
    )


def test_matched_networks_have_the_highest_loss_of_the_runs_own(run, measured):
    losses = measured.xs("loss", level="measure")
    own, matched = losses["same"], losses["matched"]
    assert own.max() > 1.05 * own.min()  # or there would be nothing to match
    assert matched.to_numpy() == pytest.approx(own.max(), rel=0.01)
    for modality in run.parameters.plan.networks:
        folder = flatness.network_step(run, "matched", modality)
        if modality == own.idxmax():
            assert folder == run_backbones.backbone_step(run, modality)
            continue
        # It is the training of the run's own network, up to the epoch that was low enough.
        content = _files.read_json(folder / "curves.json")
        own_curves = _files.read_json(flatness.network_step(run, "same", modality) / "curves.json")["curves"]
        assert content["curves"] == own_curves[: content["kept_epoch"] + 1]


def test_curvature_by_the_input_is_per_standard_deviation(run, measured):
    data, bank = workspace.dataset(run.parameters), workspace.frame_bank(run.parameters)
    shape = {"size": run.parameters.input_size, "segments": run.parameters.segments}
    for modality in run.parameters.plan.networks:
        inputs = sampling.evaluation_batch(bank, data.splits[0].train, modalities=[modality], **shape)[modality]
        deviation = inputs.numpy().std(dtype=np.float64)
        assert measured["same", modality, "input_deviation"] == pytest.approx(deviation, rel=1e-9)
        objective = Objective(flatness._network(run, "same", modality), flatness._samples(run, modality))
        raw = {row["measure"]: row["value"] for row in measures.flatness_measures(objective, probes=2, seed=0)}
        for measure in ("input_trace", "input_top_eigenvalue"):
            assert measured["same", modality, measure] == pytest.approx(deviation**2 * raw[measure], rel=1e-4)
        assert measured["same", modality, "trace"] == pytest.approx(raw["trace"], rel=1e-4)


def test_the_spectrum_has_the_mean_of_the_eigenvalues(run, measured):
    rows = pd.DataFrame(flatness.spectrum(run)).query("modality == 'motion'")
    assert rows.groupby("probe")["weight"].sum().tolist() == pytest.approx([1.0] * flatness.QUADRATURE_PROBES)


def test_slices_and_the_surface_pass_through_the_network_itself(run, measured):
    loss = measured["same", "residual", "loss"]
    slices = pd.DataFrame(flatness.slices(run)).query("modality == 'residual' and position == 0")
    assert len(slices) == flatness.SLICE_DIRECTIONS and slices["loss"].tolist() == pytest.approx([loss] * len(slices))
    surface = pd.DataFrame(flatness.surface(run)).query("modality == 'residual' and first == 0 and second == 0")
    assert surface["loss"].item() == pytest.approx(loss)
    other = workspace.Run(run.parameters, 0, 1)
    assert list(flatness.surface(other)) == []


def test_a_classifier_alone_computes_what_it_does_behind_its_network(run):
    rows = pd.DataFrame(flatness.exits(run_exits.of(run))).set_index(["modality", "method", "exit", "measure"])["value"]
    net = run_exits.of(run).load("light", "pkd")["motion"]
    samples = flatness._samples(run, "motion")
    with torch.no_grad():
        wanted = sum(
            functional.cross_entropy(net(inputs)[1], labels, reduction="sum").item() for inputs, labels in samples
        ) / sum(len(labels) for _, labels in samples)
    assert rows["motion", "pkd", 2, "loss"] == pytest.approx(wanted, rel=1e-5)
    # Of a linear layer and a softmax the Hessian is the Gauss-Newton matrix.
    assert rows["motion", "ce", 1, "trace"] == pytest.approx(rows["motion", "ce", 1, "gauss_newton_trace"], rel=1e-4)


def test_the_scene_bias_makes_other_clips_and_other_runs(run, measured):
    rows = pd.DataFrame(flatness.biases(run))
    own = run.parameters.marionette_scene_bias
    assert set(rows["scene_bias"]) == {0.3, own} and set(rows["modality"]) == set(run.parameters.plan.networks)
    traces = rows[rows["measure"] == "trace"].set_index(["scene_bias", "modality"])["value"]
    assert traces[own].to_dict() == {m: measured["same", m, "trace"] for m in run.parameters.plan.networks}
    assert traces[0.3, "iframe"] != traces[own, "iframe"]
    assert list(flatness.biases(workspace.Run(run.parameters, 1, 0))) == []
    assert len(list(folders.run_folder(run.parameters).parents[1].iterdir())) == 2


def test_the_mix_is_deeper_and_slower_for_iframes_alone(run):
    weights = {m: flatness._network(run, "mix", m) for m in run.parameters.plan.networks}
    blocks = {m: sum(isinstance(part, nn.Conv2d) for part in net.modules()) for m, net in weights.items()}
    assert blocks["iframe"] > 2 * blocks["motion"] == 2 * blocks["residual"]
    # What the mix leaves as it is, is not trained again: by its own size and rate it would be the same network.
    assert flatness.network_step(run, "mix", "motion") == run_backbones.backbone_step(run, "motion")
    mixed = backbones.backbone(modality="motion", size="small-mix", num_classes=2)
    assert str(mixed) == str(backbones.backbone(modality="motion", size="small", num_classes=2))
    assert "motion" not in CONTROLS["mix"].lr_factors


def test_the_loss_of_the_samples_is_that_of_the_objective(run, measured):
    network = flatness._network(run, "same", "iframe")
    loss = mean_loss(network, flatness._samples(run, "iframe"), {})
    assert math.isclose(loss, measured["same", "iframe", "loss"], rel_tol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flatness_controls": "equal"}, "flatness_controls = 'equal': control 'equal' is not known"),
        ({"flatness_biases": "2", "dataset": "marionette_1"}, "flatness_biases = '2': must be numbers in 0..1"),
        ({"flatness_biases": "0.5", "dataset": "ut_interaction"}, "only the scenes of marionette_1"),
        ({"flatness_biases": "0.5"}, "only the scenes of marionette_1"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.for_profile("smoke", **values)
