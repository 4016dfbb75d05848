"""The parameters of a run: flat values with a profile's defaults, which raise on an unknown name or a wrong type."""

import ast
import ctypes
import dataclasses
import difflib
import re
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pkdlib import _resources
from pkdlib.companion import confounders, presets, store
from pkdlib.distillation import schedules
from pkdlib.training.tuning import Tuning

# Names that IPython or papermill put into a notebook's namespace themselves.
_FOREIGN_NAMES = frozenset({"In", "Out", "papermill"})
# What the cell begins with that papermill puts behind a notebook's own cell of parameters.
_INJECTED = "# Parameters"


class ParameterError(Exception):
    """A parameter of an unknown name, a wrong type or an impossible value; the message lists the valid names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """All that decides a run.

    Args:
        profile: Which file of `profiles/` gives the values that are not named.
        dataset: `marionette`, `ut_interaction`, `ucf101`, `hmdb51` or `folder`.
        root: Where the clips of a data set that is not generated lie; for `ucf101` and `hmdb51`, the folder that
            `pkd data` prepared.
        pattern: `folder` only: the regular expression whose one group is a file name's group.
        folds: `folder` only: the number of disjoint test sets that the groups are cut into.
        backbone: `coviar`, a network for each modality, or `teamnet`, one for all three: a key of `presets.PLANS`.
        iframe_network: Of `coviar`, the I-frame network: empty for one as the others are, or a key of
            `presets.IFRAME_NETWORKS`, which begins from ImageNet's weights. Runs that differ in it alone share the
            other networks.
        iframe_epochs: Its epochs, where `iframe_network` names it.
        iframe_lr: Its peak learning rate, that of its classifier.
        split: The split to run, from 0; -1 for all that the profile runs.
        seed: The seed to run; -1 for all that the profile runs, from 0.
        threads: Threads of torch; results are the same bits at the same number only.
        device: Where networks train and are measured: `cpu`, `cuda`, or a GPU by number, as `cuda:1`; the default,
            `auto`, becomes `cuda` where torch sees a GPU, else `cpu`.
        precision: Of training's matrix products and convolutions: `float32`, or `bfloat16`.
        deterministic: Whether a GPU must give the same bits each time, as a processor does; slower.
        compiled: Whether a backbone is compiled for training, which takes a minute and a C++ compiler.
        frames: `bank` decodes clips once, to a file each in the cache; `decode` does so whenever they are read.
        workers: Processes that read ahead while a network trains; 0 for none.
        keep: Whether finished steps are shown although other code than the present one made them; pages say so then.
        runs: The folder of runs; relative to `_resources.working_folder`.
        cache: The folder of generated, transcoded and decoded data; likewise.
        clip: Notebook 01 only: the video to look at; empty for one of the data set.
        marionette_clips_per_pair: Clips for each pair of action and actor.
        marionette_actors: Actors, which are Marionette's groups.
        marionette_actions: Actions, which are its classes.
        marionette_frames: Frames a clip.
        marionette_scene_bias: How often a clip's kind of scene belongs to its action.
        marionette_splits: How many of Marionette's three splits run when none is named.
        seeds: How many seeds run when none is named.
        size: `small` networks for CPUs, or `paper`.
        input_size: Side of the networks' input, in pixels.
        segments: TSN segments of a clip.
        candidates: Frames of a clip that are decoded into the frame bank.
        batch_size: Clips a batch.
        batch_parts: Parts that a batch is cut into while training, each with batch statistics of its own: to fit a
            GPU's memory, or to be spread over several GPUs by `pkd train`.
        backbone_epochs: Epochs of a backbone.
        backbone_lr: Its peak learning rate.
        backbone_recipe: `scratch`, or `fine_tuning` for networks that begin from weights: the optimiser, decay,
            schedule and factors on the learning rate, of the backbone's plan; the internal classifiers' go with it.
        backbone_weights: What it begins from: empty for new weights, `imagenet` with networks of size `paper`,
            `marionette` for the shipped ones, of size `small`; or a file of weights in whose name `{modality}` stands
            for what the network reads.
        exit_epochs: Epochs of the internal classifiers, whatever the method.
        exit_lr: Their peak learning rate.
        exit_temperature: Of the soft targets that they learn from.
        temperatures: Further ones, as factors on it, separated by commas.
        light_methods: Methods that train the light internal classifiers, separated by commas; `all` is every one.
        paper_methods: Methods that train the paper's own (which of TEAM-Net are light ones, too).
        audit_epochs: Epochs of the classifiers that are trained by the reference's choices.
        audit_classifiers: Which those are: `light`, or the `paper`'s own.
        crossfit_folds: Parts of the training groups for the cross-fitted I-frame teacher, whose network is trained anew
            without each; 0 for no such teacher.
        flatness_clips: Training clips on which curvature is measured.
        flatness_batch: Of these, clips at a time: memory grows with them.
        flatness_probes: Products that no measure of curvature may exceed.
        flatness_controls: What networks are compared in flatness: keys of `confounders.CONTROLS`, separated by commas.
        flatness_biases: Scene biases at which flatness is measured too, separated by commas; only with Marionette.
    """

    profile: str
    dataset: str = "marionette"
    root: str = ""
    pattern: str = ""
    folds: int = 5
    backbone: str = presets.DEFAULT
    iframe_network: str = ""
    iframe_epochs: int = 8
    iframe_lr: float = 0.002
    split: int = -1
    seed: int = -1
    threads: int = 2
    device: str = "auto"
    precision: str = "float32"
    deterministic: bool = False
    compiled: bool = False
    frames: str = "bank"
    workers: int = 0
    keep: bool = False
    runs: str = "runs"
    cache: str = "cache"
    clip: str = ""
    marionette_clips_per_pair: int
    marionette_actors: int
    marionette_actions: int
    marionette_frames: int
    marionette_scene_bias: float = 0.8
    marionette_splits: int
    seeds: int
    size: str
    input_size: int
    segments: int
    candidates: int
    batch_size: int
    batch_parts: int = 1
    backbone_epochs: int
    backbone_lr: float
    backbone_recipe: str = "scratch"
    backbone_weights: str = ""
    exit_epochs: int
    exit_lr: float
    exit_temperature: float = 1.0
    temperatures: str = ""
    light_methods: str = "all"
    paper_methods: str
    audit_epochs: int
    audit_classifiers: str = "light"
    crossfit_folds: int = 0
    flatness_clips: int
    flatness_batch: int = 4
    flatness_probes: int
    flatness_controls: str = "same"
    flatness_biases: str = ""

    @classmethod
    def for_profile(cls, profile: str = "quick", **overrides: Any) -> "Parameters":
        """Take a profile's values, then those that are named.

        Args:
            profile: Its name.
            **overrides: Values that differ from the profile's.

        Returns:
            The parameters.

        Raises:
            ParameterError: On an unknown profile or name, a wrong type or an impossible value.
        """
        named = (overrides.get(name, getattr(cls, name)) for name in ("dataset", "backbone"))
        values = {**_read_profile(profile, *named), **overrides}
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise ParameterError(_unknown(name, kinds))
            values[name] = _checked(name, value, kinds[name])
        parameters = cls(**values)
        _check_ranges(parameters)
        return dataclasses.replace(parameters, device=_own_device()) if parameters.device == "auto" else parameters

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> "Parameters":
        """Take the parameters from a notebook's `globals()`.

        papermill only warns of a name that it does not know, and defines it all the same; so every name must be a
        parameter that is defined by the notebook's cell of parameters, known by its `profile`, or by the one that
        papermill puts behind it, as each was executed last. Whatever else the reader has defined is the reader's own.
        Where IPython remembers no such cell, every flat value in the namespace must be a parameter.

        Args:
            namespace: The notebook's `globals()`, in which IPython keeps what was executed as `In`.

        Returns:
            The parameters.

        Raises:
            ParameterError: On an unknown profile or name, a wrong type or an impossible value.
        """  # noqa: DOC502
        names = _defined_as_parameters(namespace.get("In", ()))
        names = names or {name for name, value in namespace.items() if _is_flat(name, value)}
        values = {name: namespace[name] for name in namespace if name in names}
        return cls.for_profile(values.pop("profile", "quick"), **values)

    def flat(self) -> dict[str, Any]:
        """Return all values by name, as papermill takes them.

        Returns:
            Name to value.
        """
        return dataclasses.asdict(self)

    def only(self, *prefixes: str) -> dict[str, Any]:
        """Return the values whose names begin with one of the prefixes, to record what decides a step.

        Args:
            *prefixes: Names, or beginnings of names.

        Returns:
            Name to value.
        """
        return {name: value for name, value in self.flat().items() if name.startswith(prefixes)}

    @property
    def plan(self) -> presets.Plan:
        """The plan of the backbone."""
        return presets.PLANS[self.backbone]

    @property
    def tuning(self) -> Tuning:
        """How the backbone's networks are trained."""
        return self.plan.tuning if self.backbone_recipe == "scratch" else self.plan.fine_tuning

    @property
    def common_network(self) -> presets.Network:
        """The network that reads whatever has none of its own."""
        return presets.Network(
            size=self.size,
            weights=self.backbone_weights,
            epochs=self.backbone_epochs,
            lr=self.backbone_lr,
            tuning=self.tuning,
        )

    def network_of(self, reads: str) -> presets.Network:
        """Say which network reads something.

        Args:
            reads: One of the plan's networks.

        Returns:
            The network, and how it is trained.
        """
        if reads != "iframe" or not self.iframe_network:
            return self.common_network
        return presets.Network(
            size=self.iframe_network,
            weights="imagenet",
            epochs=self.iframe_epochs,
            lr=self.iframe_lr,
            tuning=presets.IFRAME_NETWORKS[self.iframe_network],
        )

    @property
    def exit_tuning(self) -> Tuning:
        """How their internal classifiers are trained."""
        return self.plan.exit_tuning if self.backbone_recipe == "scratch" else self.plan.exit_fine_tuning

    @property
    def scene_biases(self) -> tuple[float, ...]:
        """The scene biases at which flatness is measured too."""
        return tuple(float(word) for word in self.flatness_biases.split(",") if word.strip())

    @property
    def temperature_factors(self) -> tuple[float, ...]:
        """Further temperatures at which internal classifiers learn, as factors on `exit_temperature`."""
        return tuple(float(word) for word in self.temperatures.split(",") if word.strip())

    @property
    def own_profile(self) -> "Parameters":
        """What the profile says of this data set and backbone, with nothing changed."""
        return Parameters.for_profile(self.profile, dataset=self.dataset, backbone=self.backbone)

    @property
    def variant(self) -> str:
        """The profile's name, those of the backbone and I-frame network if any, and a digest of what else decides."""
        where = {
            "iframe_network",
            "root",
            "pattern",
            "dataset",
            "split",
            "seed",
            "seeds",
            "marionette_splits",
            "runs",
            "cache",
            "clip",
            "keep",
            "frames",
            "workers",
            "temperatures",
            "light_methods",
            "paper_methods",
            "crossfit_folds",
            "flatness_controls",
            "flatness_biases",
        }
        # A profile that names no device has its name for runs on a processor, those that the book states.
        named = _read_profile(self.profile, self.dataset, self.backbone).get("device", "auto")
        usual = self.own_profile.flat() | {"device": "cpu" if named == "auto" else named}
        changed = {name: value for name, value in self.flat().items() if name not in where and value != usual[name]}
        backbone = "" if self.backbone == presets.DEFAULT else self.backbone
        digest = store.digest(changed)[:8] if changed else ""
        return "-".join(filter(None, [self.profile, backbone, self.iframe_network, digest]))


def _read_profile(profile: Any, dataset: Any, backbone: Any) -> dict[str, Any]:
    import yaml  # PyYAML comes with the extras; the base install has no profiles to read

    folder = _resources.folder("profiles")
    path = folder / f"{profile}.yaml"
    if not isinstance(profile, str) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml") if "." not in file.stem))
        raise ParameterError(f"profile = {profile!r} is not known; the profiles are: {known}")
    # What every profile says otherwise for one backbone, such as a learning rate; and what this one does for one
    # backbone, for one data set, such as more epochs where the clips are few, or for both together.
    names = (
        profile,
        f"any.{backbone}",
        f"{profile}.{backbone}",
        f"{profile}.{dataset}",
        f"{profile}.{dataset}.{backbone}",
    )
    files = [path for path in (folder / f"{name}.yaml" for name in names) if path.is_file()]
    return {name: value for file in files for name, value in yaml.safe_load(file.read_text(encoding="utf-8")).items()}


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown parameter {name!r}; {hint}the valid ones are: {', '.join(known)}"


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ParameterError(
            f"parameter {name} = {value!r} must be of type {kind.__name__}, not {type(value).__name__}"
        )
    return value


def _check_ranges(parameters: Parameters) -> None:
    values = parameters.flat()
    may_be_zero = {"split", "seed", "marionette_scene_bias", "workers", "crossfit_folds"}
    for name, value in values.items():
        if type(value) in (int, float) and name not in may_be_zero and not 0 < value < float("inf"):
            raise ParameterError(f"parameter {name} = {value!r} must be above 0")
    if not 0 <= parameters.marionette_scene_bias <= 1:
        raise ParameterError(f"parameter marionette_scene_bias = {parameters.marionette_scene_bias} must lie in 0..1")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", parameters.device):
        raise ParameterError(
            f"parameter device = {parameters.device!r} must be 'auto', 'cpu', 'cuda' or, say, 'cuda:1'"
        )
    if parameters.precision not in ("float32", "bfloat16"):
        raise ParameterError(f"parameter precision = {parameters.precision!r} must be 'float32' or 'bfloat16'")
    if parameters.frames not in ("bank", "decode"):
        raise ParameterError(f"parameter frames = {parameters.frames!r} must be 'bank' or 'decode'")
    if parameters.audit_classifiers not in ("light", "paper"):
        kind = parameters.audit_classifiers
        raise ParameterError(f"parameter audit_classifiers = {kind!r} must be 'light' or 'paper'")
    if parameters.workers < 0:
        raise ParameterError(f"parameter workers = {parameters.workers} must be at least 0")
    if parameters.batch_parts > parameters.batch_size:
        raise ParameterError(
            f"parameter batch_parts = {parameters.batch_parts} must be at most batch_size = {parameters.batch_size}"
        )
    if parameters.backbone not in presets.PLANS:
        known = ", ".join(presets.PLANS)
        raise ParameterError(f"parameter backbone = {parameters.backbone!r} is not known; the backbones are: {known}")
    if parameters.iframe_network not in ("", *presets.IFRAME_NETWORKS):
        known = ", ".join(map(repr, ("", *presets.IFRAME_NETWORKS)))
        raise ParameterError(
            f"parameter iframe_network = {parameters.iframe_network!r} is not known; it may be {known}"
        )
    if parameters.iframe_network and "iframe" not in parameters.plan.networks:
        raise ParameterError(
            f"parameter iframe_network = {parameters.iframe_network!r}: the backbone {parameters.backbone!r} has no "
            "network for I-frames alone"
        )
    folds = parameters.crossfit_folds
    if folds < 0 or folds == 1:
        raise ParameterError(f"parameter crossfit_folds = {folds} must be at least 2, or 0 for no cross-fitted teacher")
    if folds and "iframe" not in parameters.plan.networks:
        raise ParameterError(
            f"parameter crossfit_folds = {folds}: the backbone {parameters.backbone!r} has no network for I-frames "
            "alone"
        )
    for name in ("split", "seed"):
        if values[name] < -1:
            raise ParameterError(f"parameter {name} = {values[name]} must be at least 0, or -1 for all")
    for name in ("light_methods", "paper_methods"):
        try:
            chosen = schedules.selected(values[name])
        except schedules.MethodError as error:
            raise ParameterError(f"parameter {name}: {error}") from error
        if not {"ce", "pkd"} <= set(chosen):
            raise ParameterError(f"parameter {name} = {values[name]!r} must hold ce and pkd, which the pages compare")
    try:
        confounders.selected(parameters.flatness_controls)
    except confounders.ControlError as error:
        raise ParameterError(f"parameter flatness_controls: {error}") from error
    if not _are_factors(parameters.temperatures):
        raise ParameterError(
            f"parameter temperatures = {parameters.temperatures!r} must be numbers above 0, other than 1, separated by "
            "commas"
        )
    biases = parameters.flatness_biases
    if not re.fullmatch(r"|(0|1|0?\.\d+|1\.0*)(, *(0|1|0?\.\d+|1\.0*))*", biases):
        raise ParameterError(f"parameter flatness_biases = {biases!r} must be numbers in 0..1, separated by commas")
    if biases and parameters.dataset != "marionette":
        raise ParameterError(f"parameter flatness_biases = {biases!r}: only the scenes of marionette can be chosen")
    if parameters.backbone_recipe not in ("scratch", "fine_tuning"):
        recipe = parameters.backbone_recipe
        raise ParameterError(f"parameter backbone_recipe = {recipe!r} must be 'scratch' or 'fine_tuning'")
    weights = parameters.backbone_weights
    if weights and parameters.backbone != presets.DEFAULT:
        raise ParameterError(
            f"parameter backbone_weights = {weights!r}: only networks of the backbone {presets.DEFAULT!r} can "
            "begin from weights"
        )
    needed = {"imagenet": "paper", "marionette": "small"}.get(weights, parameters.size)
    if parameters.size != needed:
        raise ParameterError(
            f"parameter backbone_weights = {weights!r}: these are of networks of size {needed!r}, not of "
            f"size = {parameters.size!r}"
        )
    if parameters.candidates < parameters.segments:
        raise ParameterError(
            f"parameter candidates = {parameters.candidates} must be at least segments = {parameters.segments}"
        )


def _are_factors(text: str) -> bool:
    try:
        return all(0 < float(word) < float("inf") and float(word) != 1 for word in text.split(",") if word.strip())
    except ValueError:
        return False


def _own_device() -> str:
    # torch takes seconds to load, which `pkd reproduce` leaves to the notebooks: without a driver it sees no GPU.
    if sys.modules.get("torch") is None and not _has_driver():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_driver() -> bool:
    if Path("/dev/kfd").exists():  # AMD's, whose GPUs torch calls cuda, too
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _defined_as_parameters(cells: Sequence[str]) -> set[str]:
    # In the order in which they were executed, the same cell perhaps several times.
    own, injected = set(), set()
    for source in cells:
        names = _assigned(source)
        if source.startswith(_INJECTED):
            injected = names
        elif "profile" in names:
            own = names
    return own | injected


def _assigned(source: str) -> set[str]:
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):  # such a cell defined nothing
        return set()
    assignments = [line for line in statements if isinstance(line, ast.Assign | ast.AnnAssign)]
    nodes = [node for line in assignments for node in ast.walk(line) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def _is_flat(name: str, value: Any) -> bool:
    if name.startswith("_") or name in _FOREIGN_NAMES:
        return False
    return isinstance(value, str | int | float | bool | list | tuple | dict | set | types.NoneType | Path)
