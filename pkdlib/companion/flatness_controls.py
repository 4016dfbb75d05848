"""What the study of flatness measures, and what it holds alike between networks, as data.

What else differs between networks can pass for a difference between modalities. `same` is the study's own networks, of
one architecture and one recipe; `matched` takes each where its training loss comes down to that of the worst of the
run's own (Jiang et al., "Fantastic generalization measures and where to find them", ICLR 2020, stop at one loss, too);
`mix` gives the networks the paper's proportions instead, to show what these do.
"""

import dataclasses
from collections.abc import Mapping


class ControlError(ValueError):
    """A control that is not known; the message names those that are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """What the networks of a comparison have in common.

    Args:
        title: For readers.
        size: Of the networks, a key of `backbones.BACKBONES`; empty for the parameters' own.
        lr_factors: Modality -> factor on the learning rate, where it is not 1.
        matched: Each network's training ends where its loss has come down to the highest of the run's own.
        unchanged: Modalities whose network is the run's own, being of the same architecture and recipe.
    """

    title: str
    size: str = ""
    lr_factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    matched: bool = False
    unchanged: tuple[str, ...] = ()


# Of a run at matched loss, the highest of the networks' losses may be this many times the lowest.
MATCHED_WITHIN = 1.05
# The measures of `measures.flatness_measures`, which needs torch, but for the loss itself; larger is sharper.
MEASURES = {
    "trace": "Hessian trace",
    "top_eigenvalue": "top Hessian eigenvalue",
    "gauss_newton_trace": "Gauss-Newton trace",
    "average_sharpness": "average adaptive sharpness",
    "worst_sharpness": "worst adaptive sharpness",
    "fisher_rao_norm": "Fisher-Rao norm",
    "input_trace": "input Hessian trace",
    "input_top_eigenvalue": "top input eigenvalue",
}
# The one that neither the scale of weights nor their number changes: it can compare different architectures.
PRIMARY_MEASURE = "average_sharpness"
SAME, MIX = "same", "mix"
CONTROLS = {
    SAME: Control(title="one architecture, one recipe", unchanged=("iframe", "motion", "residual", "joint")),
    "matched": Control(title="the same at matched training loss", matched=True),
    # The reference's rates: 0.01 for motion, 0.005 for residuals, 0.0003 for I-frames.
    MIX: Control(
        title="the paper's proportions",
        size="small-mix",
        lr_factors={"residual": 0.5, "iframe": 0.03},
        unchanged=("motion",),
    ),
}


def selected(text: str) -> tuple[str, ...]:
    """Read a list of controls.

    Args:
        text: Keys of CONTROLS, separated by commas.

    Returns:
        Each once, in the order of CONTROLS.

    Raises:
        ControlError: If one is not known.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CONTROLS:
            raise ControlError(f"control {name!r} is not known; the controls are: {', '.join(CONTROLS)}")
    return tuple(name for name in CONTROLS if name in names)
