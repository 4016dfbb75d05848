"""From parameters to cached artefacts: one function a step; notebooks and the command line call these.

Each step of a run (one split, one seed) is computed once and kept under
`runs/<profile>/<dataset>/split<k>/seed<s>/<step>/`; whatever a step needs, it asks for itself. `tables` turns the
artefacts into tidy tables without training anything.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from pkdlib import cascades, clips, cost, distillation, early_exit, flatness, networks, runs, training, wise
from pkdlib.cascades import Cascade
from pkdlib.clips import FrameBank
from pkdlib.networks import MODALITIES, NUM_EXITS
from pkdlib.parameters import Parameters
from pkdlib.study import Run, dataset, frame_bank, selected_runs

PROTOCOL = "clean"
PARTS = ("validation", "test")
# The method whose cascade a run keeps for `pkd predict`, and the confidence at which it answers early.
PREDICTOR, PREDICTOR_THRESHOLD = "pkd", 0.9
FLATNESS_TARGET = 0.05
# Beginnings of the names of the parameters that decide a step: any, a backbone, and its internal classifiers.
SHARED = ("profile", "dataset", "threads", "size", "input_size", "segments", "candidates", "batch_size")
BACKBONE = ("backbone_",)
EXITS = (*BACKBONE, "exit_", "light_methods", "paper_methods")
FLATNESS = (*BACKBONE, "flatness_")


def backbones(run: Run) -> dict[str, networks.Backbone]:
    """Train the three backbones, or load them.

    Args:
        run: Which.

    Returns:
        Modality -> network, in eval mode.
    """
    return {modality: _load_backbone(run, modality, backbone_step(run, modality)) for modality in MODALITIES}


def backbone_step(run: Run, modality: str) -> Path:
    """Train one modality's backbone.

    Args:
        run: Which.
        modality: One of MODALITIES.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        trained = training.train_backbone(
            modality,
            frame_bank(p),
            data.splits[run.split],
            run.recipe(epochs=p.backbone_epochs, lr=p.backbone_lr),
            num_classes=len(data.classes),
            folder=target,
        )
        (target / "weights.safetensors").write_bytes(save(trained.backbone.state_dict()))
        runs.write_json(target / "curves.json", {"curves": trained.curves, "kept_epoch": trained.epoch})

    return _step(run, f"backbone-{modality}", make, *BACKBONE)


def exits_step(run: Run) -> Path:
    """Train the internal classifiers of all three backbones by all methods.

    Args:
        run: Which.

    Returns:
        A folder with `weights.safetensors` (keys `modality.method.exit...`) and `curves.json`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        distilled = distillation.train_exits(
            backbones(run),
            frame_bank(p),
            data.splits[run.split],
            run.recipe(epochs=p.exit_epochs, lr=p.exit_lr),
            num_classes=len(data.classes),
            folder=target,
        )
        tensors = {
            f"{modality}.{method}.{key}": value
            for modality, by_method in distilled.exits.items()
            for method, module in by_method.items()
            for key, value in module.state_dict().items()
        }
        (target / "weights.safetensors").write_bytes(save(tensors))
        runs.write_json(target / "curves.json", distilled.curves)

    return _step(run, "exits", make, *EXITS)


def networks_of(run: Run, method: str) -> dict[str, networks.MultiExitNetwork]:
    """Join a run's backbones with the internal classifiers of one method.

    Args:
        run: Which.
        method: A key of `distillation.METHODS`.

    Returns:
        Modality -> network, in eval mode.
    """
    tensors = load_file(exits_step(run) / "weights.safetensors")
    joined = {}
    for modality, backbone in backbones(run).items():
        exits = networks.internal_classifiers(backbone=backbone, num_classes=len(dataset(run.parameters).classes))
        prefix = f"{modality}.{method}."
        exits.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        joined[modality] = cascades.assemble(backbone, exits)
    return joined


def logits_step(run: Run) -> Path:
    """Compute the logits of every exit on the validation and test clips; the test clips are read here only.

    Args:
        run: Which.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/method/exit`, and the bare
        backbones' with fewer segments under `part/modality/backbone/segmentsN`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        bank, split = frame_bank(p), data.splits[run.split]
        nets = {method: networks_of(run, method) for method in distillation.METHODS}
        tensors = {}
        for part in PARTS:
            indices = getattr(split, part)
            gathered: dict[str, list[torch.Tensor]] = {}
            for batch in training.ordered_batches(indices, p.batch_size):
                for key, logits in _batch_logits(nets, bank, batch, p):
                    gathered.setdefault(f"{part}/{key}", []).append(logits)
            tensors |= {key: torch.cat(values).contiguous() for key, values in gathered.items()}
        (target / "logits.safetensors").write_bytes(save(tensors))

    return _step(run, "logits", make, *EXITS)


def logits(run: Run) -> dict[str, np.ndarray]:
    """Read a run's logits.

    Args:
        run: Which.

    Returns:
        The keys of `logits_step` -> (clips, classes) float64.
    """
    tensors = load_file(logits_step(run) / "logits.safetensors")
    return {key: value.double().numpy() for key, value in tensors.items()}


def costs(run: Run) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit costs for a clip of the run's segments and size.

    Args:
        run: Which.

    Returns:
        Modality -> costs, in multiply-accumulates.
    """
    p = run.parameters
    num_classes = len(dataset(p).classes)
    measured = {}
    for modality in MODALITIES:
        backbone = networks.backbone(modality=modality, size=p.size, num_classes=num_classes)
        exits = networks.internal_classifiers(backbone=backbone, num_classes=num_classes)
        clip = torch.zeros(1, p.segments, networks.CHANNELS[modality], p.input_size, p.input_size)
        measured[modality] = cost.exit_costs(cascades.assemble(backbone, exits), clip)
    return measured


def flatness_step(run: Run, modality: str) -> Path:
    """Measure the curvature of a backbone's training loss: loss, Hessian trace and top eigenvalue.

    Args:
        run: Which.
        modality: One of MODALITIES.

    Returns:
        A folder with `flatness.json`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        bank, train = frame_bank(p), data.splits[run.split].train
        # Spread over the training clips, whose order goes by class.
        chosen = [train[i] for i in clips.segment_centres(len(train), min(p.flatness_clips, len(train)))]
        batches = []
        for indices in training.ordered_batches(chosen, p.batch_size):
            inputs = clips.test_batch(bank, indices, modalities=[modality], size=p.input_size, segments=p.segments)
            batches.append((inputs[modality], bank.labels[indices]))
        network = _load_backbone(run, modality, backbone_step(run, modality))
        trace = flatness.trace(
            network, batches, target=FLATNESS_TARGET, max_probes=p.flatness_probes, seed=run.training_seed
        )
        top = flatness.top_eigenvalues(network, batches, seed=run.training_seed)[0]
        rows = [
            {"measure": "loss", "value": flatness.loss(network, batches), "standard_error": 0.0},
            {"measure": "trace", "value": trace.value, "standard_error": trace.standard_error},
            {"measure": "top_eigenvalue", "value": top.value, "standard_error": top.residual},
        ]
        runs.write_json(target / "flatness.json", rows)

    return _step(run, f"flatness-{modality}", make, *FLATNESS)


def model_step(run: Run) -> Path:
    """Keep the run's PKD networks, with their WISE weights, as one cascade for `pkd predict`.

    Args:
        run: Which.

    Returns:
        A folder that `cascades.load` reads.
    """
    return _step(run, "model", lambda target: cascades.save(_cascade(run), target), *EXITS)


def ship(p: Parameters, target: Path) -> None:
    """Write the first run's cascade in half precision, as the repository ships it for `pkd predict`.

    Args:
        p: Which runs; whatever is missing is computed.
        target: The folder.
    """
    cascade = cascades.load(model_step(selected_runs(p)[0]))
    cascades.save(cascade, Path(target), dtype=torch.float16)


def export(p: Parameters, target: Path, log: Callable[[str], None] = print) -> None:
    """Copy the cascade (weights and WISE vectors) and the logits of every run to a folder.

    Args:
        p: Which runs; whatever is missing is computed.
        target: Where; a single run's files lie directly in it, several in a folder each.
        log: Called with a line a run.
    """
    selected = selected_runs(p)
    for run in selected:
        name = f"split{run.split}-seed{run.seed}"
        place = Path(target) / name if len(selected) > 1 else Path(target)
        for step, file in (
            (model_step(run), cascades.WEIGHTS),
            (model_step(run), cascades.DESCRIPTION),
            (logits_step(run), "logits.safetensors"),
        ):
            runs.write_atomically(place / file, lambda path, source=step / file: shutil.copyfile(source, path))
        log(f"{name}: {place}")


def cascade_logits(values: dict[str, np.ndarray], part: str, method: str) -> np.ndarray:
    """Stack the logits of all exits in the order in which the cascade visits them.

    Args:
        values: Of `logits`.
        part: `validation` or `test`.
        method: Whose internal classifiers.

    Returns:
        (clips, 12, classes).
    """
    members = (member.rsplit("-", 1) for member in wise.ORDER)
    keys = [(m, "backbone" if int(e) == NUM_EXITS else method, e) for m, e in members]
    return np.stack([values[f"{part}/{m}/{owner}/{e}"] for m, owner, e in keys], axis=1)


def labels(run: Run, part: str) -> np.ndarray:
    """Return the labels of a part's clips.

    Args:
        run: Which.
        part: `train`, `validation` or `test`.

    Returns:
        (clips,) integers.
    """
    data = dataset(run.parameters)
    return np.array([data.clips[index].label for index in getattr(data.splits[run.split], part)])


def cascade_costs(run: Run) -> np.ndarray:
    """Return what leaving at each exit of the cascade costs.

    Args:
        run: Which.

    Returns:
        (12,) GMAC a clip.
    """
    measured = {modality: figures.cumulative for modality, figures in costs(run).items()}
    return early_exit.cascade_costs(measured) / cost.GMAC


def _cascade(run: Run) -> Cascade:
    p, data = run.parameters, dataset(run.parameters)
    stacked = cascade_logits(logits(run), "validation", PREDICTOR)
    return Cascade(
        networks=networks_of(run, PREDICTOR),
        classes=data.classes,
        size=p.size,
        input_size=p.input_size,
        segments=p.segments,
        candidates=p.candidates,
        weights=wise.fit_prefixes(stacked, labels(run, "validation")),
        threshold=PREDICTOR_THRESHOLD,
        costs=cascade_costs(run),
        origin={"dataset": data.name, "profile": p.profile, "split": run.split, "seed": run.seed},
    )


def _step(run: Run, name: str, make: Callable[[Path], None], *decided_by: str) -> Path:
    # What decides a step is recorded with it: the data, the networks' input, and the parameters of these beginnings.
    p, data = run.parameters, dataset(run.parameters)
    torch.set_num_threads(p.threads)
    settings = p.only(*SHARED, *decided_by) | {"split": run.split, "seed": run.seed}
    return run.store.step(name, make, settings | {"protocol": PROTOCOL, "data": data.checksum})


def _load_backbone(run: Run, modality: str, step: Path) -> networks.Backbone:
    network = networks.backbone(
        modality=modality, size=run.parameters.size, num_classes=len(dataset(run.parameters).classes)
    )
    network.load_state_dict(load_file(step / "weights.safetensors"))
    return network.eval()


@torch.no_grad()
def _batch_logits(nets: Any, bank: FrameBank, batch: list[int], p: Parameters) -> Iterator[tuple[str, torch.Tensor]]:
    for segments in range(1, p.segments + 1):
        inputs = clips.test_batch(bank, batch, modalities=MODALITIES, size=p.input_size, segments=segments)
        for modality in MODALITIES:
            bare = nets[PREDICTOR][modality].backbone
            yield f"{modality}/backbone/segments{segments}", bare(inputs[modality])
    for method, by_modality in nets.items():
        for modality, network in by_modality.items():
            *internal, final = network(inputs[modality])
            for number, values in enumerate(internal, start=1):
                yield f"{modality}/{method}/{number}", values
            if method == PREDICTOR:  # the same for all methods: the backbone is shared
                yield f"{modality}/backbone/{NUM_EXITS}", final
