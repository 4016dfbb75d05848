"""Several processes train one network: two of them end where one ends that takes the same parts one after the other."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel

from pkdlib import _files
from pkdlib.companion import workspace
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.parameters import Parameters
from pkdlib.training import distributed, trainer
from tests.extent import nightly

TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "backbone_epochs": 2,
    "batch_size": 6,
    "batch_parts": 2,
    "threads": 1,
}


def test_a_process_alone_needs_no_company():
    assert (distributed.count(), distributed.number(), distributed.launched()) == (1, 0, False)
    network, figures = torch.nn.BatchNorm2d(2), torch.ones(3)
    assert distributed.shared(network) is network and distributed.total(figures) is figures
    assert distributed.tell("word") == "word" and distributed.own_device("cuda") == "cuda"
    with distributed.joined("cpu"):
        assert distributed.count() == 1


@pytest.mark.slow
def test_two_processes_train_as_one_does_that_accumulates(tmp_path):
    p = Parameters.for_profile("smoke", runs=str(tmp_path / "one"), cache=str(tmp_path / "cache"), **TINY)
    (run,) = workspace.selected_runs(p)
    alone = run_backbones.backbone_step(run, "residual")

    done = two_processes("residual", tmp_path / "two", p.cache)
    (together,) = (tmp_path / "two").rglob("backbone-residual")
    assert _files.read_json(together / "run.json")["settings"] == _files.read_json(alone / "run.json")["settings"]
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, together))
    # Not of the running statistics: a mean of two is not one after the other.
    for name, _ in run_backbones.load_backbone(run, "residual", alone, p.size).named_parameters():
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    rows = [_files.read_json(folder / "curves.json")["curves"] for folder in (alone, together)]
    for own, other in zip(*rows, strict=True):
        assert other["train_loss"] == pytest.approx(own["train_loss"], rel=1e-4)
        assert other["train_accuracy"] == own["train_accuracy"]
    assert str(together) in done.stdout and done.stdout.count("trained") == 1


@pytest.mark.slow
@nightly
def test_two_processes_train_classifiers_as_one_does(tmp_path):
    p = Parameters.for_profile("smoke", runs=str(tmp_path / "one"), cache=str(tmp_path / "cache"), **TINY)
    (run,) = workspace.selected_runs(p)
    (alone,) = set(run_exits.of(run).steps().values())
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # on the same networks
    (together,) = (tmp_path / "two").rglob("exits-*")
    shutil.rmtree(together)
    done = two_processes("exits", tmp_path / "two", p.cache)
    assert str(together) in done.stdout and done.stdout.count("trained") == 1
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, together))
    assert one.keys() == two.keys()
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:  # of batch norm's statistics, as above
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    losses = [[row["loss"] for row in _files.read_json(folder / "curves.json")] for folder in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_compiled_network_is_held_back_until_the_last_part(tmp_path, monkeypatch):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, "count", lambda: 2)  # as if another trained the other half of each batch
        monkeypatch.setattr(trainer.torch, "compile", lambda network: torch.nn.Sequential(network))
        held, no_sync = [], DistributedDataParallel.no_sync
        monkeypatch.setattr(DistributedDataParallel, "no_sync", lambda own: (held.append(own), no_sync(own))[1])
        changes = {**TINY, "compiled": True, "batch_size": 8, "batch_parts": 4}
        p = Parameters.for_profile("smoke", runs=str(tmp_path), cache=str(tmp_path / "cache"), **changes)
        (run,) = workspace.selected_runs(p)
        network = dataclasses.replace(p.network_of("motion"), epochs=1)
        run_backbones.train_network(run, "motion", network, folder=tmp_path)
        batches = run.batches(workspace.dataset(p).splits[0].train, ["motion"])
        assert len(held) == len(batches)  # of two parts of a batch, the first
    finally:
        torch.distributed.destroy_process_group()


KILLED_TRAININGS = [("exits", "exits-*"), ("residual", "backbone-residual")]
# One of two processes ends itself, and so both, after so many checkpoints, each within an epoch.
KILLED = """
import os, sys
from pkdlib import cli; from pkdlib.training import trainer as training
training.CHECKPOINT_SPACING = training.CHECKPOINT_INTERVAL = 0
save, left = training.Checkpoint.save, [int(sys.argv.pop(1))]
def dies(checkpoint, state):
    save(checkpoint, state)
    left[0] -= 1
    if not left[0]:
        assert state["batch"] > 0
        os._exit(9)
training.Checkpoint.save = dies
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@nightly
@pytest.mark.parametrize(("network", "step"), KILLED_TRAININGS)
def test_two_processes_killed_within_an_epoch_end_in_the_same_bits(tmp_path, network, step):
    p = Parameters.for_profile("smoke", runs=str(tmp_path / "alone"), cache=str(tmp_path / "cache"), **TINY)
    workspace.frame_bank(p)
    if network == "exits":
        run_backbones.of(workspace.selected_runs(p)[0]).load()
    shutil.copytree(tmp_path / "alone", tmp_path / "killed") if network == "exits" else None
    two_processes(network, tmp_path / "alone", p.cache)
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    done = two_processes(network, tmp_path / "killed", p.cache, [sys.executable, str(script), "2"], check=False)
    assert done.returncode != 0 and not list((tmp_path / "killed").rglob(f"{step}/run.json"))
    two_processes(network, tmp_path / "killed", p.cache)
    one, two = ((tmp_path / name).rglob(f"{step}/weights.safetensors") for name in ("alone", "killed"))
    assert next(one).read_bytes() == next(two).read_bytes()
    one, two = ((tmp_path / name).rglob(f"{step}/curves.json") for name in ("alone", "killed"))
    assert next(one).read_bytes() == next(two).read_bytes()


def two_processes(network, folder, cache, program=None, *, check=True):
    words = [f"{name}={value}" for name, value in {**TINY, "cache": cache}.items()]
    pkd = shutil.which("pkd", path=Path(sys.executable).parent)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command += [*(program or [pkd]), "train", network, "--profile", "smoke", "--runs", str(folder)]
    done = subprocess.run(
        command + [part for word in words for part in ("--set", word)],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert not check or done.returncode == 0, done.stderr
    return done
