"""How weights are stepped, as data; nothing here needs torch."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """How weights are stepped, at any learning rate.

    Args:
        optimiser: A key of `optimisers.OPTIMISERS`.
        weight_decay: Of matrices and kernels; biases and norms have none.
        milestones: Shares of the epochs at which the learning rate falls tenfold; where there are none, it warms up
            and falls by a half cosine.
        factors: Patterns of parameters' names (of `fnmatch`) -> factor on the learning rate of these; the first that
            matches counts.
        network_factors: What a network reads -> factor on its learning rate, where it is not 1.
    """

    optimiser: str = "adam"
    weight_decay: float = 0.0
    milestones: tuple[float, ...] = ()
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    network_factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
