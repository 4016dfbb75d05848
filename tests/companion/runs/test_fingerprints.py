"""The digest of the code that a function reaches: it moves with what can change a result, and with nothing else."""

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

from pkdlib.companion.book import charts
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments import flatness, protocol
from pkdlib.companion.experiments import steps as run_steps
from pkdlib.companion.runs import fingerprints

MODULES = {
    "__init__": "",
    "steps": '''
"""The steps."""
from pkg import losses
from pkg.shapes import Shape, SCALE
import pkg.registry

def make(shape: Shape):
    """Make."""
    def inner(path):
        return losses.loss(shape.area()) * SCALE + pkg.registry.KINDS["a"](1)
    return inner

def other():
    return losses.unused()
''',
    "losses": '''
from numpy import log  # a comment
import json

class LossError(Exception):
    """Wrong."""

def loss(value):
    if value < 0:
        raise LossError(f"{value} is negative: {_told()}")
    return log(value)

def _told():
    return "told"

def unused():
    return 2
''',
    "shapes": '''
import torch
SCALE: float = 2.0
class Shape:
    """A shape."""
    side: int = 1
    def area(self):
        return self.side ** 2
    def colour(self):
        return "red"
class Net(torch.nn.Module):
    def anything(self):
        return 1
''',
    "registry": """
from pkg.shapes import Net
def twice(x):
    return 2 * x
KINDS = {"a": twice, "net": Net}
""",
}


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """From changes of the modules' texts to the fingerprint of `make`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(changes=(), function="make", **options):
        (tmp_path / "pkg").mkdir(exist_ok=True)
        texts = dict(MODULES)
        for module, old, new in changes:
            assert old in texts[module]
            texts[module] = texts[module].replace(old, new)
        for module, text in texts.items():
            (tmp_path / "pkg" / f"{module}.py").write_text(text, encoding="utf-8")
        for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        for cached in (fingerprints._load, fingerprints._is_module, fingerprints._fingerprint):
            cached.cache_clear()
        return fingerprints.fingerprint(getattr(importlib.import_module("pkg.steps"), function), **options)

    yield digest
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "change",
    [
        ("losses", "log(value)", "-log(value)"),
        ("shapes", "SCALE: float = 2.0", "SCALE: float = 3.0"),
        ("shapes", "self.side ** 2", "self.side ** 3"),
        ("shapes", "side: int = 1", "side: int = 2"),
        ("registry", "2 * x", "3 * x"),
        ("shapes", "return 1", "return 2"),  # torch may call any method of a module
        ("losses", "if value < 0", "if value <= 0"),
    ],
)
def test_what_can_change_a_result_changes_it(digest_of, change):
    assert digest_of([change])["code"] != digest_of()["code"]


@pytest.mark.parametrize(
    "change",
    [
        ("losses", "  # a comment", ""),
        ("steps", '"""Make."""', '"""Make it."""'),
        ("shapes", '"""A shape."""', '"""A form."""'),
        ("losses", "{value} is negative: {_told()}", "negative"),
        ("losses", "return 2", "return 3"),
        ("shapes", '"red"', '"blue"'),
        ("steps", "losses.unused()", "1"),
    ],
)
def test_what_cannot_does_not(digest_of, change):
    assert digest_of([change]) == digest_of()


def test_versions_are_those_of_the_packages_that_are_used(digest_of):
    versions = digest_of()
    assert versions.keys() == {"code", "numpy", "torch"}
    assert versions["torch"] == metadata.version("torch")
    assert digest_of(function="other").keys() == {"code"}


def test_what_is_left_out_is_not_followed(digest_of):
    change = ("registry", "2 * x", "3 * x")
    for without in ("registry", "registry:KINDS"):
        assert digest_of([change], without=[without]) == digest_of(without=[without])


@pytest.mark.slow
def test_the_digest_of_the_code_that_runs_is_the_same_in_every_process():
    code = (
        "from pkdlib.companion.runs import fingerprints as f;"
        "from pkdlib.companion.experiments import backbones as run_backbones, steps as run_steps;"
        "print(f.fingerprint(run_backbones.backbone_step, without=run_steps.UNDECIDING)['code'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    own = fingerprints.fingerprint(run_backbones.backbone_step, without=run_steps.UNDECIDING)
    assert done.stdout.strip() == own["code"]


def test_the_studys_steps_reach_what_decides_them_and_no_more():
    def places(step):
        return set(fingerprints.reached(step, without=run_steps.UNDECIDING))

    backbone, exits = places(run_backbones.backbone_step), places(run_exits._train)
    audited, measured = places(protocol.audit_step), places(flatness.measures_step)
    decoding = {"video.motion:trace", "data.frame_cache:_reduced", "video.reader:CompressedVideo.samples"}
    trained = {
        "training.loop:resumable_epochs",
        "models.backbones:Backbone",
        "training.optimisers:warm_cosine",
        "data.sampling:draw",
        "models.teamnet:team_backbone",
    }
    assert decoding | trained <= backbone <= exits
    assert {
        "distillation.losses:soft_cross_entropy",
        "distillation.exit_training:Group",
        "distillation.schedules:teacher_at",
    } <= exits - backbone
    assert exits <= audited and "companion.experiments.protocol:drifting_pass" in audited
    assert backbone <= measured and "flatness.traces:xtrace" in measured
    assert not {place for place in places(run_backbones.logits_step) if place.startswith("distillation")}
    # Neither a chart nor a method's definition, an exit criterion or a report remakes what trains.
    undeciding = ("companion.book", "early_exit.policies", "distillation.schedules:METHODS", "companion.runs.store")
    assert not {place for place in exits if place.startswith(undeciding)}
    assert set(fingerprints.reached(charts.show)) - exits
