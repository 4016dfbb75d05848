"""What is trained when exits are, as data: which network's, of which kind, by which method, for how long."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from pkdlib.distillation.schedules import METHODS, Method, canonical
from pkdlib.models.backbones import MODALITIES


@dataclasses.dataclass(frozen=True)
class ExitSpec:
    """One training of a network's internal classifiers.

    Args:
        modality: The student network, named by what it reads.
        kind: Of the classifiers, a key of `exit_heads.KINDS`, or of other kinds that `train_specs` is given.
        method: A key of `schedules.METHODS`, or of other methods that `train_specs` is given.
        lr_factor: Factor on the recipe's learning rate.
        epochs_factor: Factor on its epochs, a whole number.
        temperature_factor: Factor on the temperature of the soft targets.
    """

    modality: str
    kind: str
    method: str
    lr_factor: float = 1.0
    epochs_factor: int = 1
    temperature_factor: float = 1.0

    @property
    def key(self) -> str:
        """Its name in files."""
        softer = f"-t{self.temperature_factor:.3g}" if self.temperature_factor != 1 else ""
        longer = f"/epochs-x{self.epochs_factor}" if self.epochs_factor > 1 else ""
        return f"{self.modality}/{self.kind}/{self.method}/x{self.lr_factor:.3g}{softer}{longer}"


def exit_specs(
    kind: str,
    names: Iterable[str],
    methods: Mapping[str, Method] = METHODS,
    *,
    networks: Sequence[str] = MODALITIES,
    lr_factors: Sequence[float] = (1.0,),
    temperature_factor: float = 1.0,
) -> list[ExitSpec]:
    """List the trainings of exits of one kind by some methods, each that coincides with another once.

    Args:
        kind: Of the classifiers.
        names: Keys of `methods`.
        methods: Name -> schedule of teachers.
        networks: The students, named by what they read.
        lr_factors: Factors on the learning rate.
        temperature_factor: On the temperature of the soft targets.

    Returns:
        Specs of all networks, without doubles.
    """
    names = list(names)
    found = [
        ExitSpec(modality, kind, canonical(name, modality, methods), factor, temperature_factor=temperature_factor)
        for factor in lr_factors
        for modality in networks
        for name in names
    ]
    return list(dict.fromkeys(found))
