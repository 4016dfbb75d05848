"""The parameters of a run: flat values with a profile's defaults, which raise on an unknown name or a wrong type."""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from pkdlib.companion import flatness_controls, notebook_cells, presets, profiles
from pkdlib.companion.profiles import ParameterError
from pkdlib.companion.runs import store
from pkdlib.data.folds import DEFAULT_FOLDS
from pkdlib.distillation import schedules
from pkdlib.training.default_device import default_device
from pkdlib.training.tuning import Tuning

_Count = Annotated[int, Field(gt=0)]
_Rate = Annotated[float, Field(gt=0)]
_Chosen = Annotated[int, Field(ge=-1)]
# What says where a run lies or which of its parts are asked for has no share in the digest of `Parameters.variant`.
_BESIDE_THE_DIGEST = frozenset(
    {
        *("dataset", "root", "pattern", "iframe_network", "split", "seed", "seeds", "splits"),
        *("runs", "cache", "clip", "keep", "recompute", "frames", "workers"),
        *("temperatures", "light_methods", "paper_methods"),
        *("crossfit_folds", "flatness_controls", "flatness_biases"),
    }
)


class Parameters(pydantic.BaseModel):
    """All that decides a run: immutable, and checked whenever it is made."""

    model_config = pydantic.ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    profile: str
    """Which file of `profiles/` gives the values that are not named."""
    dataset: Literal["marionette", "marionette_1", "ut_interaction", "ucf101", "hmdb51", "folder"] = "marionette"
    """The data set: generated, or one of which `root` says where it lies."""
    root: str = ""
    """Where the clips of a data set that is not generated lie; for `ucf101` and `hmdb51`, the folder that `pkd data`
    prepared."""
    pattern: str = ""
    """`folder` only: the regular expression whose one group is a file name's group."""
    folds: _Count = DEFAULT_FOLDS
    """`folder` only: the number of disjoint test sets that the groups are cut into."""
    backbone: Literal[*presets.PLANS] = presets.DEFAULT
    """`coviar`, a network for each modality, or `teamnet`, one for all three: a key of `presets.PLANS`."""
    iframe_network: Literal["", *presets.IFRAME_NETWORKS] = ""
    """Of `coviar`, the I-frame network: empty for one as the others are, or a key of `presets.IFRAME_NETWORKS`, which
    begins from ImageNet's weights. Runs that differ in it alone share the other networks."""
    iframe_epochs: _Count = 8
    """The I-frame network's epochs, where `iframe_network` names it."""
    iframe_lr: _Rate = 0.002
    """The I-frame network's peak learning rate, that of its classifier, where `iframe_network` names it."""
    split: _Chosen = -1
    """The split to run, from 0; -1 for all that the profile runs."""
    seed: _Chosen = -1
    """The seed to run, from 0; -1 for all that the profile runs."""
    threads: _Count = 2
    """Threads of torch; results are the same bits at the same number only."""
    device: str = "auto"
    """Where networks train and are measured: `cpu`, `cuda`, or a GPU by number, as `cuda:1`; the default, `auto`,
    becomes `cuda` where torch sees a GPU, else `cpu`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of training's matrix products and convolutions."""
    deterministic: bool = False
    """Whether a GPU must give the same bits each time, as a processor does; slower."""
    compiled: bool = False
    """Whether a backbone is compiled for training, which takes a minute and a C++ compiler."""
    frames: Literal["bank", "packed", "decode"] = "bank"
    """`bank` decodes clips once, to the cache; `packed` to a fifth of it; `decode` does so whenever they are read."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read ahead while a network trains; 0 for none."""
    keep: bool = False
    """Whether finished steps are shown although other code than the present one made them; pages say so then."""
    recompute: bool = True
    """Whether all is computed here, and the run that comes with the library shown nowhere; in a page's cell `False`."""
    runs: str = "runs"
    """The folder of runs; relative to `_resources.working_folder`."""
    cache: str = "cache"
    """The folder of generated, transcoded and decoded data; likewise."""
    clip: str = ""
    """Notebook 01 only: the video to look at; empty for one of the data set."""
    marionette_clips_per_pair: _Count
    """Clips for each pair of action and actor."""
    marionette_actors: _Count
    """Actors, which are Marionette's groups."""
    marionette_actions: _Count
    """Actions, which are Marionette's classes."""
    marionette_frames: _Count
    """Frames a clip."""
    marionette_scene_bias: Annotated[float, Field(ge=0, le=1)] = 0.8
    """`marionette_1` only: how often a clip's kind of scene belongs to its action."""
    marionette_appearance: Annotated[float, Field(ge=0, le=1)] = 0.8
    """`marionette` only: how often a clip's place and prop belong to its action."""
    splits: _Count
    """How many splits run when none is named, at most; of a folder of one's own all folds do."""
    seeds: _Count
    """How many seeds run when none is named."""
    size: str
    """Of networks: `small` ones for CPUs, or `paper`; a key of `backbones.BACKBONES`."""
    input_size: _Count
    """Side of the networks' input, in pixels."""
    segments: _Count
    """TSN segments of a clip."""
    candidates: _Count
    """Frames of a clip that are decoded into the frame bank."""
    batch_size: _Count
    """Clips a batch."""
    batch_parts: _Count = 1
    """Parts that a batch is cut into while training, each with batch statistics of its own: to fit a GPU's memory, or
    to be spread over several GPUs by `pkd train`."""
    backbone_epochs: _Count
    """Epochs of a backbone."""
    backbone_lr: _Rate
    """A backbone's peak learning rate."""
    backbone_recipe: Literal["scratch", "fine_tuning"] = "scratch"
    """`fine_tuning` is for networks that begin from weights: the optimiser, decay, schedule and factors on the learning
    rate, of the backbone's plan; the internal classifiers' go with it."""
    backbone_weights: str = ""
    """What a backbone begins from: empty for new weights, `imagenet` with networks of size `paper`, `marionette` for
    the shipped ones, of size `small`; or a file of weights in whose name `{modality}` stands for what the network
    reads."""
    exit_epochs: _Count
    """Epochs of the internal classifiers, whatever the method."""
    exit_lr: _Rate
    """The internal classifiers' peak learning rate."""
    exit_temperature: _Rate = 1.0
    """Of the soft targets that internal classifiers learn from."""
    temperatures: str = ""
    """Further temperatures, as factors on `exit_temperature`, separated by commas."""
    light_methods: str = "all"
    """Methods that train the light internal classifiers, separated by commas; `all` is every one."""
    paper_methods: str
    """Methods that train the paper's own classifiers (which of TEAM-Net are light ones, too)."""
    audit_epochs: _Count
    """Epochs of the classifiers that are trained by the reference's choices."""
    audit_classifiers: Literal["light", "paper"] = "light"
    """Which classifiers are trained by the reference's choices: light ones, or the paper's own."""
    crossfit_folds: Annotated[int, Field(ge=0)] = 0
    """Parts of the training groups, two at least, for the cross-fitted I-frame teacher, whose network is trained anew
    without each; 0 for no such teacher."""
    flatness_clips: _Count
    """Training clips on which curvature is measured."""
    flatness_batch: _Count = 4
    """Of the clips on which curvature is measured, those at a time: memory grows with them."""
    flatness_probes: _Count
    """Products that no measure of curvature may exceed."""
    flatness_controls: str = "same"
    """What networks are compared in flatness: keys of `flatness_controls.CONTROLS`, separated by commas."""
    flatness_biases: str = ""
    """Scene biases at which flatness is measured too, separated by commas; only with `marionette_1`."""

    @pydantic.field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError("must be 'auto', 'cpu', 'cuda' or, say, 'cuda:1'")
        return default_device() if device == "auto" else device

    @pydantic.field_validator("light_methods", "paper_methods")
    @classmethod
    def _hold_what_is_compared(cls, methods: str) -> str:
        if not {"ce", "pkd"} <= set(schedules.selected(methods)):
            raise ValueError("must hold ce and pkd, which the pages compare")
        return methods

    @pydantic.field_validator("temperatures")
    @classmethod
    def _are_factors(cls, temperatures: str) -> str:
        if not all(0 < factor < math.inf and factor != 1 for factor in _numbers(temperatures)):
            raise ValueError("must be numbers above 0, other than 1, separated by commas")
        return temperatures

    @pydantic.field_validator("flatness_biases")
    @classmethod
    def _are_shares(cls, biases: str) -> str:
        if not all(0 <= bias <= 1 for bias in _numbers(biases)):
            raise ValueError("must be numbers in 0..1, separated by commas")
        return biases

    @pydantic.field_validator("flatness_controls")
    @classmethod
    def _are_controls(cls, controls: str) -> str:
        flatness_controls.selected(controls)
        return controls

    @pydantic.model_validator(mode="after")
    def _go_together(self) -> "Parameters":
        needed = {"imagenet": "paper", "marionette": "small"}.get(self.backbone_weights, self.size)
        no_iframes = f"the backbone {self.backbone!r} has no network for I-frames alone"
        has_iframes = "iframe" in self.plan.networks
        no_scenes = "only the scenes of marionette_1 can be chosen"
        for name, is_right, reason in (
            ("batch_parts", self.batch_parts <= self.batch_size, f"must be at most batch_size = {self.batch_size}"),
            ("candidates", self.candidates >= self.segments, f"must be at least segments = {self.segments}"),
            ("iframe_network", has_iframes or not self.iframe_network, no_iframes),
            ("crossfit_folds", self.crossfit_folds != 1, "must be at least 2, or 0 for no cross-fitted teacher"),
            ("crossfit_folds", has_iframes or not self.crossfit_folds, no_iframes),
            (
                "backbone_weights",
                self.backbone == presets.DEFAULT or not self.backbone_weights,
                f"only networks of the backbone {presets.DEFAULT!r} can begin from weights",
            ),
            (
                "backbone_weights",
                self.size == needed,
                f"these are of networks of size {needed!r}, not of size = {self.size!r}",
            ),
            ("flatness_biases", self.dataset == "marionette_1" or not self.flatness_biases, no_scenes),
        ):
            if not is_right:
                raise ValueError(f"parameter {name} = {getattr(self, name)!r}: {reason}")
        return self

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
        """  # noqa: DOC502
        named = {name: overrides.get(name, cls.model_fields[name].default) for name in ("dataset", "backbone")}
        return cls._checked(profiles.read(profile, **named) | overrides)

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> "Parameters":
        """Take the parameters from a notebook's `globals()`; a cell that is interrupted from then on ends in one line.

        Args:
            namespace: As `notebook_cells.given_parameters` takes it; that says which names count. `device = "auto"`,
                which every page's own cell says, leaves the device to a profile that names one.

        Returns:
            The parameters.

        Raises:
            ParameterError: On an unknown profile or name, a wrong type or an impossible value.
        """  # noqa: DOC502
        notebook_cells.answer_interruptions()
        values = notebook_cells.given_parameters(namespace)
        if values.get("device") == "auto":
            del values["device"]
        return cls.for_profile(values.pop("profile", "quick"), **values)

    def replace(self, **changes: Any) -> "Parameters":
        """Change values, whatever the profile says of them.

        Args:
            **changes: Name to value.

        Returns:
            The parameters with these values.

        Raises:
            ParameterError: On an unknown name, a wrong type or an impossible value.
        """  # noqa: DOC502
        return self._checked(self.flat() | changes)

    @classmethod
    def _checked(cls, values: Mapping[str, Any]) -> "Parameters":
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise ParameterError(_told(error)) from None

    def flat(self) -> dict[str, Any]:
        """Return all values by name, as papermill takes them.

        Returns:
            Name to value.
        """
        return self.model_dump()

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
        return _numbers(self.flatness_biases)

    @property
    def temperature_factors(self) -> tuple[float, ...]:
        """Further temperatures at which internal classifiers learn, as factors on `exit_temperature`."""
        return _numbers(self.temperatures)

    @property
    def own_profile(self) -> "Parameters":
        """What the profile says of this data set and backbone, with nothing changed."""
        return Parameters.for_profile(self.profile, dataset=self.dataset, backbone=self.backbone)

    @property
    def variant(self) -> str:
        """The profile's name, those of the backbone and I-frame network if any, and a digest of what else decides."""
        # A profile that names no device has its name for runs on a processor, those that the book states.
        named = profiles.read(self.profile, dataset=self.dataset, backbone=self.backbone).get("device", "auto")
        usual = self.own_profile.flat() | {"device": "cpu" if named == "auto" else named}
        deciding = {name: value for name, value in self.flat().items() if name not in _BESIDE_THE_DIGEST}
        changed = {name: value for name, value in deciding.items() if value != usual[name]}
        backbone = "" if self.backbone == presets.DEFAULT else self.backbone
        digest = store.digest(changed)[:8] if changed else ""
        return "-".join(filter(None, [self.profile, backbone, self.iframe_network, digest]))


def _told(error: pydantic.ValidationError) -> str:
    # The first fault in one line, with what the parameter means.
    fault, fields = error.errors()[0], Parameters.model_fields
    if not fault["loc"]:  # of `_go_together`
        return str(fault["ctx"]["error"])
    (name,) = fault["loc"]
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown parameter {name!r}; {hint}the valid ones are: {', '.join(fields)}"
    meaning = " ".join(fields[name].description.split())
    if fault["type"] == "missing":
        return f"parameter {name} has no value: name it, or let the profile do so. {meaning}"
    reason = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"parameter {name} = {fault['input']!r}: {reason}. {meaning}"


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise ValueError("must be numbers, separated by commas") from None
