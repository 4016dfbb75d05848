"""Several processes train one network: two of them end where one ends that takes the same parts one after the other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pkdlib import experiments, ranks, runs, study
from pkdlib.parameters import Parameters

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
    assert (ranks.count(), ranks.number(), ranks.launched()) == (1, 0, False)
    network, figures = torch.nn.BatchNorm2d(2), torch.ones(3)
    assert ranks.shared(network) is network and ranks.total(figures) is figures
    assert ranks.tell("word") == "word" and ranks.own_device("cuda") == "cuda"
    with ranks.joined("cpu"):
        assert ranks.count() == 1


@pytest.mark.slow
def test_two_processes_train_as_one_does_that_accumulates(tmp_path):
    p = Parameters.for_profile("smoke", runs=str(tmp_path / "one"), cache=str(tmp_path / "cache"), **TINY)
    (run,) = study.selected_runs(p)
    alone = experiments.backbone_step(run, "residual")

    done = two_processes("residual", tmp_path / "two", p.cache)
    (together,) = (tmp_path / "two").rglob("backbone-residual")
    assert runs.read_json(together / "run.json")["settings"] == runs.read_json(alone / "run.json")["settings"]
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, together))
    # Not of the running statistics: a mean of two is not one after the other.
    for name, _ in experiments.load_backbone(run, "residual", alone, p.size).named_parameters():
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    rows = [runs.read_json(folder / "curves.json")["curves"] for folder in (alone, together)]
    for own, other in zip(*rows, strict=True):
        assert other["train_loss"] == pytest.approx(own["train_loss"], rel=1e-4)
        assert other["train_accuracy"] == own["train_accuracy"]
    assert str(together) in done.stdout and done.stdout.count("trained") == 1


@pytest.mark.slow
def test_two_processes_train_classifiers_as_one_does(tmp_path):
    p = Parameters.for_profile("smoke", runs=str(tmp_path / "one"), cache=str(tmp_path / "cache"), **TINY)
    (run,) = study.selected_runs(p)
    alone = experiments.exits_step(run)
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # on the same networks
    (together,) = (tmp_path / "two").rglob("exits")
    shutil.rmtree(together)
    done = two_processes("exits", tmp_path / "two", p.cache)
    assert str(together) in done.stdout and done.stdout.count("trained") == 1
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, together))
    assert one.keys() == two.keys()
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:  # of batch norm's statistics, as above
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    losses = [[row["loss"] for row in runs.read_json(folder / "curves.json")] for folder in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def two_processes(network, folder, cache):
    words = [f"{name}={value}" for name, value in {**TINY, "cache": cache}.items()]
    pkd = shutil.which("pkd", path=Path(sys.executable).parent)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command += [pkd, "train", network, "--profile", "smoke", "--runs", str(folder)]
    done = subprocess.run(
        command + [part for word in words for part in ("--set", word)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
