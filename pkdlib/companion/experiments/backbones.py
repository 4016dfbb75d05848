"""Train a run's backbones by cross-entropy, one network a modality, and compute what they answer.

Each network is trained once and kept: a network that is asked for again, with the same settings and code, is loaded.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from pkdlib import _files
from pkdlib.companion.experiments import steps
from pkdlib.companion.experiments.counts import Rows, count
from pkdlib.companion.presets import Network
from pkdlib.companion.runs import store
from pkdlib.companion.workspace import Run, dataset, frame_bank
from pkdlib.data import loader, sampling
from pkdlib.models import pretrained, registry
from pkdlib.models.backbones import NUM_EXITS, FeatureBackbone
from pkdlib.training import devices, distributed, trainer
from pkdlib.training.target_loss import Level

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Backbones:
    """The backbones of a run, trained when they are first needed.

    Args:
        run: Which split and seed of which data.
        networks: What each reads -> the network, and how it is trained.
    """

    run: Run
    networks: Mapping[str, Network]

    @property
    def changed(self) -> dict[str, Network]:
        """Those networks that are not what the parameters say."""
        return {
            reads: network
            for reads, network in self.networks.items()
            if network != self.run.parameters.network_of(reads)
        }

    @property
    def suffix(self) -> str:
        """What is added to the names of steps that are built on changed networks."""
        return f"-{store.digest(self.taken)[:8]}" if self.changed else ""

    @property
    def taken(self) -> dict[str, dict]:
        """What a step that is built on these networks records of them."""
        networks = {reads: dataclasses.asdict(network) for reads, network in self.changed.items()}
        return {"networks": networks} if networks else {}

    def steps(self) -> dict[str, Path]:
        """Train the networks, or find them trained.

        Returns:
            What each reads -> a folder with `weights.safetensors` and `curves.json`.
        """
        return {reads: backbone_step(self.run, reads, network) for reads, network in self.networks.items()}

    def load(self) -> dict[str, FeatureBackbone]:
        """Load the trained networks.

        Returns:
            What each reads -> network, in eval mode.
        """
        return {
            reads: load_backbone(self.run, reads, folder, self.networks[reads].size)
            for reads, folder in self.steps().items()
        }

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """What the bare networks answer: the keys of `logits_step` -> (clips, classes) float64."""
        return _read(self)

    def curves(self) -> Rows:
        """Yield how training went.

        Yields:
            modality, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, kept; with the run.
        """
        for modality, folder in self.steps().items():
            content = _files.read_json(folder / "curves.json")
            for row in content["curves"]:
                yield {**self.run.columns, "modality": modality, **row, "kept": row["epoch"] == content["kept_epoch"]}

    def accuracy(self) -> Rows:
        """Yield how many validation and test clips each bare network answers rightly, by group.

        Yields:
            modality, method (`backbone`), exit (4), part, group, clips, correct; with the run.
        """
        for part in ("validation", "test"):
            for modality in self.networks:
                where = {"modality": modality, "method": "backbone", "exit": NUM_EXITS}
                yield from count(self.run, part, self.logits[f"{part}/{modality}/backbone/{NUM_EXITS}"], where)


@functools.lru_cache(maxsize=2)
def _read(backbones: Backbones) -> dict[str, np.ndarray]:
    found = load_file(logits_step(backbones) / "logits.safetensors")
    return {key: value.double().numpy() for key, value in found.items()}


@functools.lru_cache(maxsize=8)
def of(run: Run) -> Backbones:
    """Return the backbones that the parameters name.

    Args:
        run: Which split and seed.

    Returns:
        The backbones.
    """
    return Backbones(run, {reads: run.parameters.network_of(reads) for reads in run.parameters.plan.networks})


def backbone_step(run: Run, modality: str, network: Network | None = None) -> Path:
    """Train one network of the backbone: with all processes of `distributed`, which must call this together.

    Args:
        run: Which.
        modality: What it reads, one of the plan's networks.
        network: Which, and how it is trained; the parameters' own where none is given.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    p = run.parameters
    own = Backbones(run, {modality: network or p.network_of(modality)})

    def make(target: Path) -> None:
        train_into(target, run, modality, own.networks[modality])

    taken = steps.tunings(p, *steps.deciding(modality)) | own.taken
    name = f"backbone-{modality}{own.suffix}"
    return steps.step_together(run, name, make, *steps.deciding(modality), taken=taken)


def train_into(
    target: Path,
    run: Run,
    modality: str,
    network: Network,
    *,
    train: Sequence[int] | None = None,
    until: Level | None = None,
) -> None:
    """Train one network and write its `weights.safetensors` and `curves.json`.

    Args:
        target: The folder, which also holds the checkpoint meanwhile.
        run: Which.
        modality: What it reads.
        network: Which, and how it is trained.
        train: The clips that train it; the split's where none are given.
        until: A loss at which the training ends, as `trainer.train_backbone` takes it.
    """
    trained = train_network(run, modality, network, folder=target, train=train, until=until)
    if distributed.number():
        return
    (target / "weights.safetensors").write_bytes(save(devices.fetch(trained.backbone).state_dict()))
    _files.write_json(target / "curves.json", {"curves": trained.curves, "kept_epoch": trained.epoch})


def train_network(
    run: Run,
    modality: str,
    network: Network,
    *,
    folder: Path,
    train: Sequence[int] | None = None,
    until: Level | None = None,
) -> trainer.Trained:
    """Train one network, on the split's training clips or others.

    Args:
        run: Which.
        modality: As in `train_into`.
        network: As in `train_into`.
        folder: Of the checkpoint.
        train: As in `train_into`.
        until: As in `train_into`.

    Returns:
        The trained network.
    """
    data, split = dataset(run.parameters), dataset(run.parameters).splits[run.split]
    torch.manual_seed(run.training_seed)
    backbone = registry.backbone(reads=modality, size=network.size, num_classes=len(data.classes))
    pretrained.begin(backbone, modality, network.weights)
    return trainer.train_backbone(
        backbone,
        modality,
        run.batches(split.train if train is None else train, [modality]),
        run.evaluation(split.validation, [modality]),
        run.recipe(epochs=network.epochs, lr=network.lr, tuning=network.tuning),
        folder=folder,
        until=until,
    )


def load_backbone(run: Run, modality: str, folder: Path, size: str) -> FeatureBackbone:
    """Load a trained network.

    Args:
        run: Which.
        modality: What it reads.
        folder: Of `weights.safetensors`.
        size: Of the network, a key of `backbones.BACKBONES`.

    Returns:
        The network, in eval mode.
    """
    network = registry.backbone(reads=modality, size=size, num_classes=len(dataset(run.parameters).classes))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval()


def logits_step(backbones: Backbones) -> Path:
    """Compute the logits of the bare networks on all parts of the data.

    Args:
        backbones: The networks.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/backbone/4`, and with 1 to all
        segments under `part/modality/backbone/segmentsN`.
    """
    run = backbones.run

    def make(target: Path) -> None:
        nets = {modality: devices.place(net, run.parameters.device) for modality, net in backbones.load().items()}
        write_logits(run, target, lambda batch: _logits(run, nets, batch))

    decided_by = (*steps.BACKBONE, *steps.IFRAME)
    taken = steps.tunings(run.parameters, *decided_by) | backbones.taken
    return steps.step(run, f"logits-backbones{backbones.suffix}", make, *decided_by, taken=taken)


def write_logits(run: Run, target: Path, compute: Callable[[list[int]], Iterable[tuple[str, torch.Tensor]]]) -> None:
    """Write the logits of all clips as `logits.safetensors`, by part of the data.

    Args:
        run: Which.
        target: The folder.
        compute: From the clips of a batch to names and (clips, classes).
    """
    p, split = run.parameters, dataset(run.parameters).splits[run.split]
    tensors = {}
    for part in PARTS:
        gathered: dict[str, list[torch.Tensor]] = {}
        for batch in loader.ordered_batches(getattr(split, part), p.batch_size):
            for key, values in compute(batch):
                gathered.setdefault(f"{part}/{key}", []).append(values.float().cpu())
        tensors |= {key: torch.cat(parts).contiguous() for key, parts in gathered.items()}
    (target / "logits.safetensors").write_bytes(save(tensors))


def evaluation_inputs(run: Run, batch: list[int], segments: int) -> dict[str, torch.Tensor]:
    """Read clips by test sampling.

    Args:
        run: Which.
        batch: The clips.
        segments: Segments a clip.

    Returns:
        What each network reads -> (clips, segments, C, size, size), on the run's device.
    """
    p = run.parameters
    shape = {"modalities": p.plan.networks, "size": p.input_size, "segments": segments, "device": p.device}
    return sampling.evaluation_batch(frame_bank(p), batch, **shape)


@torch.no_grad()
def _logits(run: Run, nets: Mapping[str, FeatureBackbone], batch: list[int]) -> Iterator[tuple[str, torch.Tensor]]:
    for segments in range(1, run.parameters.segments + 1):
        inputs = evaluation_inputs(run, batch, segments)
        finals = {modality: net(inputs[modality]) for modality, net in nets.items()}
        for modality, final in finals.items():
            yield f"{modality}/backbone/segments{segments}", final
    for modality, final in finals.items():
        yield f"{modality}/backbone/{NUM_EXITS}", final
