"""Keep a run's cascade for use on other videos: in the run, as the repository ships it, and in one's own folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from pkdlib import cascades, ensembles, experiments, runs, study
from pkdlib.cascades import Cascade
from pkdlib.early_exit import Policy
from pkdlib.parameters import Parameters
from pkdlib.study import Run

# What a run keeps for `pkd predict`: the method of its internal classifiers, which are of the paper's kind, and the
# confidence at which it answers early.
METHOD, THRESHOLD = "pkd", 0.9


def model_step(run: Run) -> Path:
    """Keep the run's PKD networks, with their WISE weights, as one cascade for `pkd predict`.

    Args:
        run: Which.

    Returns:
        A folder that `cascades.load` reads.
    """
    return experiments.step(run, "model", lambda target: cascades.save(_cascade(run), target), *experiments.EXITS)


def ship(p: Parameters, target: Path) -> None:
    """Write the first run's cascade in half precision, as the repository ships it for `pkd predict`.

    Args:
        p: Which runs; whatever is missing is computed.
        target: The folder.
    """
    cascade = cascades.load(model_step(study.selected_runs(p)[0]))
    cascades.save(cascade, Path(target), dtype=torch.float16)


def export(p: Parameters, target: Path, log: Callable[[str], None] = print) -> None:
    """Copy the cascade (weights and WISE vectors) and the logits of every run to a folder.

    Args:
        p: Which runs; whatever is missing is computed.
        target: Where; a single run's files lie directly in it, several in a folder each.
        log: Called with a line a run.
    """
    selected = study.selected_runs(p)
    for run in selected:
        name = f"split{run.split}-seed{run.seed}"
        place = Path(target) / name if len(selected) > 1 else Path(target)
        for file in (cascades.WEIGHTS, cascades.DESCRIPTION):
            source = model_step(run) / file
            runs.write_atomically(place / file, lambda path, source=source: shutil.copyfile(source, path))
        logits = save(experiments.all_logits(run))
        runs.write_atomically(place / "logits.safetensors", lambda path, logits=logits: path.write_bytes(logits))
        log(f"{name}: {place}")


def _cascade(run: Run) -> Cascade:
    p, data = run.parameters, study.dataset(run.parameters)
    kind, order = p.plan.paper, p.plan.orders[0]
    return Cascade(
        networks=experiments.networks_of(run, kind, METHOD),
        classes=data.classes,
        kind=kind,
        sizes=dict(experiments.sizes(p)),
        input_size=p.input_size,
        segments=p.segments,
        candidates=p.candidates,
        policy=Policy(order=order, weights=ensembles.weights(run, kind, METHOD, order=order), threshold=THRESHOLD),
        costs=experiments.cascade_costs(run, kind, order),
        origin={"dataset": data.name, "profile": p.profile, "split": run.split, "seed": run.seed},
    )
