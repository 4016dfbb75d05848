"""The steps of a run: what decides each, and how it is made once and kept.

A step is a folder under `runs/<profile>/<dataset>/split<k>/seed<s>/`: what was made, and a record of the data,
parameters and code that decided it. Where any of these is another, the step is made again.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pkdlib.companion import workspace
from pkdlib.companion.data import drawn
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import fingerprints, store
from pkdlib.companion.workspace import Run, dataset
from pkdlib.models import pretrained
from pkdlib.training import devices, distributed

PROTOCOL = "clean"
# Beginnings of the names of the parameters that decide a step: any, a backbone, and its internal classifiers.
SHARED = (
    *("profile", "dataset", "threads", "device", "precision", "deterministic", "compiled"),
    *("size", "input_size", "segments", "candidates", "batch_size", "batch_parts"),
)
BACKBONE = ("backbone",)
IFRAME = ("iframe_",)
EXITS = (*BACKBONE, *IFRAME, "exit_")
FLATNESS = (*BACKBONE, "flatness_clips", "flatness_batch", "flatness_probes")
# Code that decides no bit of a step, or that is told apart otherwise: parameters and data are in its settings, and what
# a step takes of the registries stands beside the code in its record.
UNDECIDING = (
    *(
        "companion.parameters",
        "companion.presets:PLANS",
        "companion.presets:IFRAME_NETWORKS",
        "distillation.schedules:METHODS",
        "distillation.schedules:TEAM_METHODS",
    ),
    *("companion.experiments.steps:step", "companion.experiments.steps:step_together"),
    *("companion.experiments.backbones:of", "companion.experiments.exits:of"),
    *workspace.UNDECIDING,
)


def step(
    run: Run, name: str, make: Callable[[Path], None], *decided_by: str, taken: Mapping[str, Any] | None = None
) -> Path:
    """Make a step of a run, or find it made; with it are recorded the data, the parameters and the code that decide it.

    A step that the I-frame network does not decide lies in the run that has none of its own, so that all share it.

    Args:
        run: Which.
        name: Of the step.
        make: Writes the step's files into a folder.
        *decided_by: Beginnings of the names of those parameters, beside SHARED.
        taken: What else decides it, JSON-compatible, where that is not what `tunings` says.

    Returns:
        The step's folder.
    """
    if not set(IFRAME) <= set(decided_by):
        run = run.without_iframe_network
    p = run.parameters
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    decided = made_by(make, p) | (tunings(p, *decided_by) if taken is None else taken)
    return run.store.step(name, make, settings(run, *decided_by), decided)


def settings(run: Run, *decided_by: str) -> dict[str, Any]:
    """List what the user chose that decides a step: parameters, split, seed and data.

    Args:
        run: Which.
        *decided_by: Beginnings of the parameters' names, beside SHARED.

    Returns:
        Name -> value.
    """
    p, data = run.parameters, dataset(run.parameters)
    own = p.only(*SHARED, *decided_by) | {"split": run.split, "seed": run.seed}
    return own | {"protocol": PROTOCOL, "data": data.checksum}


def deciding(modality: str) -> tuple[str, ...]:
    """Say which parameters decide a network, beside SHARED.

    Args:
        modality: What it reads.

    Returns:
        Beginnings of their names, as `step` takes them.
    """
    return (*BACKBONE, *IFRAME) if modality == "iframe" else BACKBONE


def step_together(
    run: Run, name: str, make: Callable[[Path], None], *decided_by: str, taken: Mapping[str, Any] | None = None
) -> Path:
    """Make a step, or find it made, with all processes of `distributed`, which must call this together.

    Args:
        run: Which.
        name: As `step` takes it, and what follows.
        make: As there; called in every process.
        *decided_by: As there.
        taken: As there.

    Returns:
        The step's folder.
    """

    def make_together(target: Path) -> None:
        distributed.tell(target)
        make(target)

    if distributed.number() == 0:
        return distributed.tell(step(run, name, functools.wraps(make)(make_together), *decided_by, taken=taken))
    # The first process alone minds the folder; the others help where there is something to make.
    p = run.parameters
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    told = distributed.tell(None)
    if not (told / store.RECORD).is_file():
        make(told)
        told = distributed.tell(None)
    return told


def made_by(make: Callable, p: Parameters) -> dict[str, Any]:
    """Digest the code that decides what a step makes.

    Args:
        make: What makes it.
        p: The parameters, which say whether its clips are drawn, too.

    Returns:
        As `fingerprints.fingerprint`; and `clips`, likewise, of what draws them.
    """
    return fingerprints.fingerprint(make, without=UNDECIDING) | drawn(p)


def tunings(p: Parameters, *decided_by: str) -> dict[str, Any]:
    """Say how the weights that decide a step are stepped, and what they begin from, as it is recorded.

    Args:
        p: The parameters.
        *decided_by: As `step` takes it.

    Returns:
        JSON-compatible.
    """
    tunings = {"tuning": p.tuning}
    if set(IFRAME) <= set(decided_by) and p.iframe_network:
        tunings["iframe_tuning"] = p.network_of("iframe").tuning
    if set(EXITS) <= set(decided_by):
        tunings["exit_tuning"] = p.exit_tuning
    taken = {name: dataclasses.asdict(tuning) for name, tuning in tunings.items()}
    if sums := {name: pretrained.checksum(p.backbone_weights, name) for name in p.plan.networks if p.backbone_weights}:
        taken["backbone_weights"] = sums
    return taken
