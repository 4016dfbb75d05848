"""The ways to train internal classifiers, as data: schedules of teachers, and the weight of a label term.

Adding one is a line in `with_shares`. `train_exits` trains by them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

LABELS, OWN = "labels", "own"


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
    """A way to train internal classifiers.

    Args:
        stages: Its teachers in turn; their shares sum to 1.
        label_weight: Weight w of the label term beside the teacher's, 0..1.
    """

    stages: tuple[Stage, ...]
    label_weight: float = 0.0


def with_shares(*shares: float) -> dict[str, Method]:
    """List the methods, with three teachers in turn given these shares of the epochs.

    Args:
        *shares: Three, of the first, second and third teacher; their sum is 1.

    Returns:
        Name -> method, in order of importance: of methods that coincide for a network the first gives its name to both.
    """

    def in_turn(*teachers: str) -> tuple[Stage, ...]:
        return tuple(Stage(teacher, share) for teacher, share in zip(teachers, shares, strict=True))

    # PKD's third teacher is the I-frame network, as the paper's abstract says; in the reference's code for three
    # networks it is the student's own final exit.
    return {
        "ce": Method((Stage(LABELS),)),
        "pkd": Method(in_turn("motion", "residual", "iframe")),
        "self": Method((Stage(OWN),)),
        "iframe": Method((Stage("iframe"),)),
        "anti": Method(in_turn("iframe", "residual", "motion")),
        "swapped": Method(in_turn("residual", "motion", "iframe")),
        "pkd_reference": Method(in_turn("motion", "residual", OWN)),
        "motion_only": Method((Stage("motion"),)),
        "residual_only": Method((Stage("residual"),)),
        "pkd+labels": Method(in_turn("motion", "residual", "iframe"), label_weight=0.5),
    }


# PKD's shares in the reference: 50, 50 and 200 of 300 epochs, and for TEAM-Net 3, 3 and 34 of 40.
METHODS = with_shares(50 / 300, 50 / 300, 200 / 300)
TEAM_METHODS = with_shares(3 / 40, 3 / 40, 34 / 40)


class MethodError(Exception):
    """A method that is not known; the message names those that are."""


def selected(names: str) -> list[str]:
    """Read a list of methods.

    Args:
        names: Separated by commas; `all` is every one, and nothing none.

    Returns:
        Keys of METHODS, in its order.

    Raises:
        MethodError: If a name is not known.
    """
    if names == "all":
        return list(METHODS)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in METHODS:
            raise MethodError(f"method {name!r} is not known; the methods are: {', '.join(METHODS)}")
    return [name for name in METHODS if name in wanted]


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
        if progress < end - 1e-9:
            return stage.teacher
    return schedule[-1].teacher


def _resolved(method: Method, modality: str) -> Method:
    # With the student's own end named by its modality, methods that coincide are equal.
    stages = tuple(
        dataclasses.replace(stage, teacher=modality if stage.teacher == OWN else stage.teacher)
        for stage in method.stages
    )
    return dataclasses.replace(method, stages=stages)
