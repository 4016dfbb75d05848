"""Two studies that differ in the I-frame network alone: what they share is made once, all else is kept apart."""

import json

import pandas as pd
import pytest
import torch

from pkdlib.companion import export, flatness_controls, folders, tables, workspace
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import costs as run_costs
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments import flatness
from pkdlib.companion.parameters import Parameters
from pkdlib.early_exit import predictor
from pkdlib.models import cost, exit_heads, lite

pytestmark = pytest.mark.slow
TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 14,
    "input_size": 32,
    "backbone_epochs": 2,
    "iframe_epochs": 1,
    "exit_epochs": 1,
    "light_methods": "ce,pkd",
    "threads": 1,
    "flatness_clips": 2,
    "flatness_probes": 2,
    "flatness_controls": "same,matched,mix",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    place = tmp_path_factory.mktemp("iframe")
    return Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)


@pytest.fixture(scope="module")
def strong(plain):
    return plain.replace(iframe_network="lite")


@pytest.fixture(scope="module")
def both(plain, strong):
    """The runs, with their logits; what they share was made for the first, and kept for the second."""
    found = [workspace.selected_runs(p)[0] for p in (plain, strong)]
    for run in found:
        assert run_exits.of(run).logits
    return found


def made(run):
    """Every step that lies in the folder of a run."""
    return {path.parent.name for path in run.store.root.glob("*/run.json")}


def test_motion_and_residual_are_trained_once(both):
    plain, strong = both
    shared = {"backbone-motion", "backbone-residual"}
    assert shared <= made(plain) and not shared & made(strong)
    for modality in ("motion", "residual"):
        assert run_backbones.backbone_step(plain, modality) == run_backbones.backbone_step(strong, modality)
        mine, theirs = (run_backbones.of(run).load()[modality].state_dict() for run in both)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_whichever_study_is_first_the_shared_steps_lie_in_the_same_place(both, tmp_path):
    moved = [run.parameters.replace(runs=str(tmp_path)) for run in both]
    plain, strong = (workspace.selected_runs(p)[0] for p in moved)
    first = run_backbones.backbone_step(strong, "motion")
    time = (first / "weights.safetensors").stat().st_mtime_ns
    assert run_backbones.backbone_step(plain, "motion") == first
    assert (first / "weights.safetensors").stat().st_mtime_ns == time


def test_all_that_the_iframe_network_decides_is_kept_apart(both):
    plain, strong = both
    assert made(strong) == made(plain) - {"backbone-motion", "backbone-residual"}
    networks = [run_backbones.of(run).load()["iframe"] for run in both]
    assert [network.widths == lite.WIDTHS for network in networks] == [False, True]
    record = json.loads((run_backbones.backbone_step(strong, "iframe") / "run.json").read_text(encoding="utf-8"))
    assert record["settings"]["iframe_network"] == "lite"
    record = json.loads((run_backbones.backbone_step(strong, "motion") / "run.json").read_text(encoding="utf-8"))
    assert not any(name.startswith("iframe") for name in record["settings"])
    values = [run_exits.of(run).logits for run in both]
    same = [(values[0][key] == values[1][key]).all() for key in ("test/motion/backbone/4", "test/iframe/backbone/4")]
    assert same == [True, False]


def test_the_other_networks_are_trained_by_their_own_recipe(both):
    for run in both:
        counts = pd.DataFrame(tables.TABLES["curves"](run)).groupby("modality").size()
        own = run.parameters.network_of("iframe").epochs
        assert counts.to_dict() == {"iframe": own, "motion": 2, "residual": 2}


def test_costs_are_those_of_each_studys_networks(both):
    for kind in ("light", "paper"):
        plain, strong = (run_costs.of(run, exit_heads.KINDS[kind], run_backbones.of(run).networks) for run in both)
        assert plain["motion"] == strong["motion"]
        network = run_exits.of(both[1]).load(kind, "pkd")["iframe"]
        clip = torch.zeros(1, both[1].parameters.segments, 3, 32, 32)
        assert strong["iframe"] == cost.exit_costs(network, clip) != plain["iframe"]


def test_published_tables_do_not_mix_and_tell_of_all_steps(both, tmp_path):
    published = [tables.publish(run.parameters, tmp_path, ["curves"]) for run in both]
    assert published[0] != published[1]
    for place, run in zip(published, both, strict=True):
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        assert record["parameters"]["iframe_network"] == run.parameters.iframe_network
        assert {"backbone-iframe", "backbone-motion", "backbone-residual"} <= record["steps"][0]["steps"].keys()


def test_a_cascade_of_both_kinds_is_kept_and_read_again(both, tmp_path):
    folder = export.model_step(both[1])
    cascade = predictor.load(folder)
    assert cascade.sizes == {"iframe": "lite", "motion": "small", "residual": "small"}
    own = run_exits.of(both[1]).load("paper", "pkd")["iframe"]
    clip = torch.randn(1, 2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(cascade.networks["iframe"](clip), own(clip))


def test_flatness_of_what_is_shared_is_measured_once_but_not_where_losses_are_matched(both):
    plain, strong = both
    assert flatness.measures_step(strong, "same", "motion") == flatness.measures_step(plain, "same", "motion")
    assert flatness.measures_step(strong, "same", "iframe") != flatness.measures_step(plain, "same", "iframe")
    # Each network is matched to the worst of the run's own, which is then its own match.
    for run in both:
        steps = {name: flatness.network_step(run, "matched", name) for name in run.parameters.plan.networks}
        shared = [name for name, step in steps.items() if step == run_backbones.backbone_step(run, name)]
        assert len(shared) == 1 and {folders.run_folder(run.parameters)} >= {
            step.parents[2] for name, step in steps.items() if name not in shared
        }
    # The paper's proportions are those of networks from nothing.
    assert flatness.network_step(strong, "mix", "iframe").is_dir() and "mix" in flatness_controls.CONTROLS


def test_with_a_strong_iframe_network_flatness_is_that_of_the_papers_proportions(both):
    kinds = [{row["control"] for row in tables.flatness_rows(run)} for run in both]
    assert kinds == [{"same", "matched", "mix"}, {"mix"}]
    own = json.loads((flatness.measures_step(both[1], "same", "iframe") / "measures.json").read_text(encoding="utf-8"))
    told = [row for row in tables.flatness_rows(both[1]) if row["modality"] == "iframe"]
    assert [row["value"] for row in told] == [row["value"] for row in own]
