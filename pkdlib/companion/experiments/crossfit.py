"""A teacher that does not know its pupils' clips by heart: the I-frame network, cross-fitted.

A network's answers to the clips that it was trained on are nearly their labels, so that little but these can be learned
from them. Here the training groups are cut into parts, the I-frame network is trained anew without each of them, and
every training clip is taught by the network that has not seen its group (Dao et al., "Knowledge distillation as
semiparametric inference", ICLR 2021). The student networks are the run's own, and all else is as in the trials of
`exits`: clips, crops, first weights, epochs. So their difference is the teacher's.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pkdlib.companion import workspace
from pkdlib.companion.experiments import backbones, steps
from pkdlib.companion.experiments import exits as trained_exits
from pkdlib.companion.experiments.counts import Rows, by_group, count
from pkdlib.companion.parameters import ParameterError
from pkdlib.companion.workspace import Run
from pkdlib.data.batches import Batches, MicroBatch
from pkdlib.data.datasets import Clip
from pkdlib.distillation import exit_training
from pkdlib.distillation.specs import ExitSpec
from pkdlib.models.backbones import NUM_EXITS, FeatureBackbone
from pkdlib.training import devices, trainer

TAUGHT = "iframe"  # what the network reads that is cross-fitted
METHODS = ("iframe", "pkd")
_CLIPS = "clips"  # in a batch, beside what networks read: which clips it holds


def divide(clips: Sequence[Clip], parts: int) -> dict[str, int]:
    """Deal whole groups to parts, so that every part has its share of every class, as far as that goes.

    Args:
        clips: The clips.
        parts: How many.

    Returns:
        Group -> part, from 0; no part is empty where there are as many groups. The same whatever the order of clips.
    """
    groups: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for clip in clips:
        groups[clip.group][clip.label] += 1
    filled = [collections.Counter() for _ in range(parts)]
    dealt = {}
    for group in sorted(groups, key=lambda group: (-groups[group].total(), group)):
        own = groups[group]
        # The part that has fewest clips of its classes so far.
        part = min(range(parts), key=lambda n: (sum(filled[n][label] * own[label] for label in own), filled[n].total()))
        filled[part] += own
        dealt[group] = part
    return dealt


def parts_of(run: Run) -> dict[int, int]:
    """Say which part of the training groups each training clip is in.

    Args:
        run: Which; its `crossfit_folds` are the parts.

    Returns:
        Clip -> part, from 0.

    Raises:
        ParameterError: If there are fewer groups than parts.
    """
    data, parts = workspace.dataset(run.parameters), run.parameters.crossfit_folds
    train = data.splits[run.split].train
    dealt = divide([data.clips[index] for index in train], parts)
    if len(dealt) < parts:
        raise ParameterError(
            f"parameter crossfit_folds = {parts}: split {run.split} has {len(dealt)} training groups; choose no more"
        )
    return {index: dealt[data.clips[index].group] for index in train}


def network_step(run: Run, part: int) -> Path:
    """Train the I-frame network as the run's own is, but without one part of the training groups.

    Args:
        run: Which.
        part: Which is left out.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    network, parts = run.parameters.network_of(TAUGHT), parts_of(run)
    others = [index for index in parts if parts[index] != part]

    def make(target: Path) -> None:
        backbones.train_into(target, run, TAUGHT, network, train=others)

    return steps.step(run, f"{_name(run)}-{TAUGHT}-{part}", make, *steps.deciding(TAUGHT), "crossfit_")


def exits_step(run: Run) -> Path:
    """Train light internal classifiers of all networks, taught by the cross-fitted teacher.

    Args:
        run: Which.

    Returns:
        A folder with `weights.safetensors` and `curves.json`, as of `exits.Exits.steps`.
    """
    p, data = run.parameters, workspace.dataset(run.parameters)
    wanted = [ExitSpec(modality, p.plan.light, method) for modality in p.plan.networks for method in METHODS]
    parts = parts_of(run)

    def make(target: Path) -> None:
        distilled = exit_training.train_specs(
            backbones.of(run).load(),
            TellingBatches(run.batches(data.splits[run.split].train, p.plan.networks)),
            run.recipe(epochs=p.exit_epochs, lr=p.exit_lr, tuning=p.exit_tuning),
            wanted,
            num_classes=len(data.classes),
            segments=p.segments,
            folder=target,
            methods=p.plan.methods,
            temperature=p.exit_temperature,
            forward=CrossFitted(_networks(run), parts),
        )
        trained_exits.write(target, distilled)

    taken = trained_exits.record(trained_exits.of(run), wanted)
    return steps.step(run, f"{_name(run)}-exits", make, *steps.EXITS, "crossfit_", taken=taken)


def answers_step(run: Run) -> Path:
    """Compute what the cross-fitted teacher answers to the training clips.

    Args:
        run: Which.

    Returns:
        A folder with `logits.safetensors`: `train`, float32 (clips, classes), by test sampling.
    """
    p, data = run.parameters, workspace.dataset(run.parameters)
    train, parts = data.splits[run.split].train, parts_of(run)

    def make(target: Path) -> None:
        recipe = run.recipe(epochs=1, lr=p.backbone_lr, tuning=p.tuning)
        recipe = dataclasses.replace(recipe, precision="float32")
        answers = torch.empty(len(train), len(data.classes))
        for part, network in enumerate(_networks(run)):
            rows = [row for row, index in enumerate(train) if parts[index] == part]
            unseen = run.evaluation([train[row] for row in rows], [TAUGHT])
            answers[rows], _ = trainer.predict(network, TAUGHT, unseen, recipe)
        (target / "logits.safetensors").write_bytes(save({"train": answers}))

    return steps.step(run, f"{_name(run)}-answers", make, *steps.deciding(TAUGHT), "crossfit_")


class TellingBatches:
    """Batches that tell which clips they hold, beside what networks read, for `CrossFitted`.

    Args:
        batches: Of clips.
    """

    def __init__(self, batches: Batches):
        """Take on their identity."""
        self._batches, self.identity = batches, batches.identity

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[MicroBatch]:
        """Go through an epoch's batches.

        Args:
            epoch: Of the training, from 0.
            first: Batch to begin with.

        Yields:
            The parts of the batches.
        """
        for part in self._batches.epoch(epoch, first):
            yield dataclasses.replace(part, inputs={**part.inputs, _CLIPS: torch.tensor(part.indices)})


class CrossFitted:
    """Computes what `exit_training.frozen_pass` does, but that the I-frame network's answers are cross-fitted.

    Args:
        networks: Of each part, the network that has not seen it, in eval mode.
        parts: Clip -> part.
    """

    def __init__(self, networks: Sequence[FeatureBackbone], parts: Mapping[int, int]):
        """Remember who answers what."""
        self._networks, self._parts = networks, parts

    @torch.no_grad()
    def __call__(
        self, backbones: Mapping[str, FeatureBackbone], batch: Mapping[str, Tensor]
    ) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """Compute what the exits read, of the run's own networks, and what teaches them.

        Args:
            backbones: As `exit_training.frozen_pass` takes them.
            batch: As there, of `TellingBatches`.

        Returns:
            As `exit_training.frozen_pass`.
        """
        features, finals = exit_training.frozen_pass(backbones, batch)
        parts = torch.tensor([self._parts[clip] for clip in batch[_CLIPS].tolist()])
        answers = torch.empty_like(finals[TAUGHT])
        for part in parts.unique().tolist():
            unseen = {TAUGHT: batch[TAUGHT][parts == part]}
            _, found = exit_training.frozen_pass({TAUGHT: self._networks[part]}, unseen)
            answers[parts == part] = found[TAUGHT]
        return features, finals | {TAUGHT: answers}


def accuracies(run: Run) -> Rows:
    """Yield the test accuracy of the classifiers with a cross-fitted teacher, and how certain either teacher is.

    Nothing where the parameters ask for no cross-fitted teacher.

    Args:
        run: Which.

    Yields:
        modality, kind, method, exit, part, group, clips, correct, certainty. Of kind `teacher` the I-frame network, as
        method `own` (the run's) and `crossfit`, at its own end: the certainty is the mean of its highest probability,
        on training clips, and of the run's own on validation clips, too. All else are classifiers, without certainty.
    """
    if run.parameters.crossfit_folds:
        yield from _of_classifiers(run)
        yield from _of_teachers(run)


def _of_classifiers(run: Run) -> Rows:
    p = run.parameters
    values = load_file(trained_exits.logits_step(trained_exits.of(run), exits_step(run)) / "logits.safetensors")
    for modality, method, number in itertools.product(p.plan.networks, METHODS, range(1, NUM_EXITS)):
        trial = ExitSpec(modality, p.plan.light, method)
        where = {"modality": modality, "kind": trial.kind, "method": method, "exit": number}
        for row in count(run, "test", values[f"test/{trial.key}/{number}"].numpy(), where):
            yield row | {"certainty": None}


def _of_teachers(run: Run) -> Rows:
    own = load_file(backbones.logits_step(backbones.of(run)) / "logits.safetensors")
    for part in ("train", "validation"):
        yield from _certainty(run, part, "own", own[f"{part}/{TAUGHT}/backbone/{NUM_EXITS}"])
    yield from _certainty(run, "train", "crossfit", load_file(answers_step(run) / "logits.safetensors")["train"])


def _certainty(run: Run, part: str, method: str, logits: Tensor) -> Rows:
    where = {"modality": TAUGHT, "kind": "teacher", "method": method, "exit": NUM_EXITS}
    highest = logits.double().softmax(dim=1).amax(dim=1).numpy()
    for row, (_, members) in zip(count(run, part, logits.numpy(), where), by_group(run, part), strict=True):
        yield row | {"certainty": float(highest[members].mean())}


def _networks(run: Run) -> list[FeatureBackbone]:
    p = run.parameters
    size = p.network_of(TAUGHT).size
    places = [network_step(run, part) for part in range(p.crossfit_folds)]
    return [devices.place(backbones.load_backbone(run, TAUGHT, place, size), p.device) for place in places]


def _name(run: Run) -> str:
    return f"crossfit-{run.parameters.crossfit_folds}"
