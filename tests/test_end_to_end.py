"""From the archives of UCF-101, in miniature, to the paper's experiment of one epoch: the two commands of a reader."""

import json
import zipfile
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import resnet

from pkdlib import cli
from pkdlib.data.official import ucf101
from pkdlib.video import transcode
from tests.extent import NIGHTLY

pytestmark = pytest.mark.slow

CLASSES, GROUPS, CLIPS = ("Rising", "Sliding"), range(1, 6), (1, 2)
# What a machine without a GPU, a network connection and days to spare must say otherwise.
SMALLER = {
    "device": "cpu",
    "precision": "float32",
    "threads": 1,
    "workers": 1,
    "batch_size": 4,
    "input_size": 32,
    "light_methods": "ce,pkd",
    "paper_methods": "ce,pkd",
    "flatness_clips": 2,
    "flatness_batch": 2,
    "flatness_probes": 2,
}


def name_of(action, group, clip):
    return f"{action}/v_{action}_g{group:02d}_c{clip:02d}.avi"


def write_archives(folder):
    """Write the videos and the lists as UCF-101's authors give them out; split k tests group k."""
    rng = np.random.default_rng(0)
    videos, lists = folder / "UCF101.zip", folder / "UCF101TrainTestSplits-RecognitionTask.zip"
    every = [(action, group, clip) for action in CLASSES for group in GROUPS for clip in CLIPS]
    with zipfile.ZipFile(videos, "w") as file:
        for action, group, clip in every:
            ground = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((10, 10, 1))).astype(np.uint8)
            frames = [np.roll(ground, 3 * t, axis=CLASSES.index(action)) for t in range(26)]
            transcode.encode(frames, folder / "clip.avi")
            file.write(folder / "clip.avi", f"UCF-101/{name_of(action, group, clip)}")
    with zipfile.ZipFile(lists, "w") as file:
        text = "".join(f"{number} {action}\n" for number, action in enumerate(CLASSES, 1))
        file.writestr("ucfTrainTestlist/classInd.txt", text)
        for split in (1, 2, 3):
            tested = [name_of(*clip) for clip in every if clip[1] == split]
            trained = [f"{name_of(*clip)} {CLASSES.index(clip[0]) + 1}" for clip in every if clip[1] != split]
            file.writestr(f"ucfTrainTestlist/testlist{split:02d}.txt", "\n".join(tested))
            file.writestr(f"ucfTrainTestlist/trainlist{split:02d}.txt", "\n".join(trained))
    return videos, lists


def write_weights(folder):
    """Write what a reader without network would have fetched: ResNets in torchvision's layout."""
    torch.manual_seed(0)
    for modality, make in {"iframe": resnet.resnet50, "motion": resnet.resnet18, "residual": resnet.resnet18}.items():
        torch.save(make().state_dict(), folder / f"{modality}.pth")
    return folder / "{modality}.pth"


def test_from_archives_to_the_paper_s_tables(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    videos, lists = write_archives(tmp_path)
    miniature = replace(ucf101.SPEC, classes=2, clips=20, splits=((16, 4),) * 3)
    monkeypatch.setattr(ucf101, "SPEC", miniature)
    assert cli.main(["data", "ucf101", "--root", "ucf", "--archive", str(videos), "--splits", str(lists)]) == 0

    def reproduce(*words, **values):
        command = ["reproduce", "--profile", "paper", "--dataset", "ucf101", "--root", "ucf", "--limit-epochs", "1"]
        command += ["--split", "0", "--seed", "0", *words]
        command += [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        capfd.readouterr()
        status = cli.main(command)
        printed = capfd.readouterr()
        assert status == 0, printed.err
        return printed.out + printed.err

    if NIGHTLY:  # the paper's networks, from weights, to their early exits; their curvature would take most of the time
        reproduce("--only", "07", runs="large", backbone_weights=write_weights(tmp_path), **SMALLER)
        (record,) = (tmp_path / "large").rglob("backbone-iframe/run.json")
        settings = json.loads(record.read_text(encoding="utf-8"))["settings"]
        assert (settings["size"], settings["backbone_recipe"], settings["backbone_epochs"]) == (
            "paper",
            "fine_tuning",
            1,
        )

    small = SMALLER | {"size": "small", "backbone_weights": ""}
    numbers = [f"{number:02d}" for number in range(1, 10)] if NIGHTLY else ["02", "06"]
    reproduce("--only", *numbers, **small)
    (folder,) = (tmp_path / "runs").glob("paper-*/ucf101")
    pages = sorted((folder / "notebooks").iterdir())
    assert [page.name[:2] for page in pages] == numbers
    for page in pages:
        outputs = [o for cell in nbformat.read(page, as_version=4).cells for o in cell.get("outputs", [])]
        assert outputs and not any(output["output_type"] == "error" for output in outputs)
    (written,) = (folder / "tables").glob("split0_seed0_*")  # not the methods of the profile
    curves = pd.read_csv(written / "curves.csv")
    assert sorted(curves["modality"]) == ["iframe", "motion", "residual"] and set(curves["epoch"]) == {0}
    ensembles = pd.read_csv(written / "ensembles.csv").query("part == 'test' and rule == 'wise'")
    assert set(ensembles["method"]) == {"ce", "pkd"} and set(ensembles["prefix"]) == set(range(1, 13))
    assert set(ensembles.groupby(["kind", "method", "prefix"])["clips"].sum()) == {4}
    assert set(ensembles["group"]) == {"Rising/g01", "Sliding/g01"}
    assert reproduce("--only", *numbers, **small).count("up to date") == len(numbers)
