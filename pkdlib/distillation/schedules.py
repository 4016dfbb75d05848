"""The ways to train internal classifiers, as data: schedules of teachers, and the weight of a label term.

`labels`, `teacher` and `progressive` make them. METHODS are those of the study; a new one is a line in `with_shares`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

LABELS, OWN = "labels", "own"
_ROUNDING = 1e-9  # of shares that are meant to sum to 1, or to end with an epoch


class MethodError(ValueError):
    """A method that is not known, or cannot be followed; the message says what would do."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a schedule.

    Args:
        teacher: A modality, whose network's (or whose branch's of a joint network) final logits teach; `own`, the
            student network's own; or `labels`.
        share: Its share of the epochs.
    """

    teacher: str
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train internal classifiers: a schedule of teachers.

    Args:
        stages: Its teachers in turn; their shares sum to 1.
        label_weight: Weight w of the label term beside the teacher's, 0..1.
    """

    stages: tuple[Stage, ...]
    label_weight: float = 0.0

    def __post_init__(self):
        """Refuse what makes no schedule.

        Raises:
            MethodError: If a share is not above 0, they do not sum to 1, or the label weight is not within 0..1.
        """
        told = ", ".join(f"{stage.teacher} = {stage.share:.4g}" for stage in self.stages)
        if not all(stage.share > 0 for stage in self.stages):
            raise MethodError(f"shares of the epochs ({told}): each must be above 0; leave out who does not teach")
        if not math.isclose(total := sum(stage.share for stage in self.stages), 1, abs_tol=_ROUNDING):
            raise MethodError(f"shares of the epochs ({told or 'none'}): they sum to {total:.4g}; they must sum to 1")
        if not 0 <= self.label_weight <= 1:
            raise MethodError(f"label_weight = {self.label_weight}: it must be within 0 and 1")


def labels() -> Method:
    """Train on the labels alone, by cross-entropy.

    Returns:
        The schedule.

    Example:
        >>> from pkdlib import labels
        >>> labels()
        Method(stages=(Stage(teacher='labels', share=1.0),), label_weight=0.0)
    """
    return Method((Stage(LABELS),))


def teacher(name: str, *, label_weight: float = 0.0) -> Method:
    """Let one network teach from the first epoch to the last.

    Args:
        name: Of the network; `own` is the student's own network, whose final output then teaches its exits.
        label_weight: Weight of the label term beside the teacher's, 0..1.

    Returns:
        The schedule.

    Example:
        The network's own end teaches, beside the labels.

        >>> from pkdlib import teacher
        >>> teacher("own", label_weight=0.5)
        Method(stages=(Stage(teacher='own', share=1.0),), label_weight=0.5)
    """
    return Method((Stage(name),), label_weight)


def progressive(*, label_weight: float = 0.0, **shares: float) -> Method:
    """Let networks teach one after the other: progressive knowledge distillation.

    Args:
        label_weight: Weight of the label term beside the teacher's, 0..1.
        **shares: Network -> its share of the epochs, in the order in which they teach; `own` is the student's own, and
            `labels` no network. They sum to 1.

    Returns:
        The schedule.

    Raises:
        MethodError: If a share is not above 0, or they do not sum to 1.

    Example:
        The paper's: motion, then residuals, then I-frames for two thirds of the epochs.

        >>> from pkdlib import distillation
        >>> paper = distillation.progressive(motion=1 / 6, residual=1 / 6, iframe=2 / 3)
        >>> [stage.teacher for stage in paper.stages]
        ['motion', 'residual', 'iframe']
    """  # noqa: DOC502
    return Method(tuple(Stage(name, share) for name, share in shares.items()), label_weight)


def with_shares(*shares: float) -> dict[str, Method]:
    """List the methods, with three teachers in turn given these shares of the epochs.

    Args:
        *shares: Three, of the first, second and third teacher; their sum is 1.

    Returns:
        Name -> method, in order of importance: of methods that coincide for a network the first gives its name to both.
    """
    first, second, third = shares
    # PKD's third teacher is the I-frame network, as the paper's abstract says; in the reference's code for three
    # networks it is the student's own final exit.
    pkd = {"motion": first, "residual": second, "iframe": third}
    return {
        "ce": labels(),
        "pkd": progressive(**pkd),
        "self": teacher(OWN),
        "iframe": teacher("iframe"),
        "anti": progressive(iframe=first, residual=second, motion=third),
        "swapped": progressive(residual=first, motion=second, iframe=third),
        "pkd_reference": progressive(motion=first, residual=second, own=third),
        "motion_only": teacher("motion"),
        "residual_only": teacher("residual"),
        "pkd+labels": progressive(**pkd, label_weight=0.5),
    }


# PKD's shares in the reference: 50, 50 and 200 of 300 epochs, and for TEAM-Net 3, 3 and 34 of 40.
SHARES, TEAM_SHARES = (50 / 300, 50 / 300, 200 / 300), (3 / 40, 3 / 40, 34 / 40)
METHODS, TEAM_METHODS = with_shares(*SHARES), with_shares(*TEAM_SHARES)


def selected(names: str, methods: Mapping[str, Method] = METHODS) -> list[str]:
    """Read a list of methods, beside which one's own are always taken.

    Args:
        names: Of METHODS, separated by commas; `all` is every one, and nothing none.
        methods: Name -> method, with those of one's own.

    Returns:
        Keys of `methods`, in its order: those that are listed, and those that METHODS has not.

    Raises:
        MethodError: If a name is not known.
    """
    if names == "all":
        return list(methods)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in METHODS:
            raise MethodError(f"method {name!r} is not known; the methods are: {', '.join(METHODS)}")
    return [name for name in methods if name in wanted or name not in METHODS]


def canonical(method: str, modality: str, methods: Mapping[str, Method] = METHODS) -> str:
    """Name the first method that trains a network's classifiers just so: its own last exit is one of the teachers.

    Args:
        method: A key of `methods`.
        modality: What the student network reads.
        methods: Name -> method, in order of importance.

    Returns:
        A key of `methods`; for the I-frame network `self` and `iframe` are one, for instance.
    """
    wanted = _resolved(methods[method], modality)
    return next(name for name, other in methods.items() if _resolved(other, modality) == wanted)


def teacher_at(schedule: Sequence[Stage], progress: float) -> str:
    """Say who teaches at a point of the training.

    Args:
        schedule: A method's stages; their shares sum to 1.
        progress: Share of the epochs done, 0 <= progress < 1.

    Returns:
        A modality, `own` or `labels`.
    """
    end = 0.0
    for stage in schedule:
        end += stage.share
        # The tolerance keeps a boundary that falls on a whole epoch there, whatever the rounding of the shares.
        if progress < end - _ROUNDING:
            return stage.teacher
    return schedule[-1].teacher


def _resolved(method: Method, modality: str) -> Method:
    # With the student's own end named by its modality, methods that coincide are equal.
    stages = tuple(
        dataclasses.replace(stage, teacher=modality if stage.teacher == OWN else stage.teacher)
        for stage in method.stages
    )
    return dataclasses.replace(method, stages=stages)
