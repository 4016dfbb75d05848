"""A training that ends at a stated loss: in the step that comes down to it, taken no farther than that.

From one step of the optimiser to the next, the loss of a network in eval mode leaps, so that no epoch and no step ends
at a level, and the networks of a comparison would lie below it as far as chance has it. But a step is a straight line
through weights and statistics of batch norm, on which the loss is continuous. So where a step leads from above the
level to the level or below, a part of it leads to the level: the same step at a lower learning rate, after which the
statistics have forgotten as much less of the past. Unlike a point between the ends of two epochs, it lies on the way
that the training went.
"""

import dataclasses
from collections.abc import Sequence

import torch
from scipy import optimize
from torch import Tensor, nn

from pkdlib.flatness.objective import Batch, mean_loss

SHARE_TOLERANCE = 1e-4  # of a step


@dataclasses.dataclass(frozen=True)
class Level:
    """A loss at which a training ends.

    Args:
        loss: In nats.
        samples: Of which it is the mean, of `objective.checked_samples`.
    """

    loss: float
    samples: Sequence[Batch]


class Descent:
    """Watches a network that is trained come down to a level.

    Attributes:
        loss: The network's, where it stands, on the level's samples.
    """

    def __init__(self, network: nn.Module, level: Level):
        """Measure where the network stands.

        Args:
            network: What is trained; whether it is in training mode stays as it is.
            level: Where to.
        """
        self._network, self._level = network, level
        self._start: dict[str, Tensor] = {}
        self.stand()

    def stand(self) -> None:
        """Measure where the network stands, which has changed otherwise than by a step."""
        self.loss = self._loss({})

    @property
    def is_down(self) -> bool:
        """Whether the network stands at the level or below."""
        return self.loss <= self._level.loss

    def begin_step(self) -> None:
        """Remember what a step starts from, before its first pass changes the statistics of batch norm."""
        self._start = {name: value.clone() for name, value in self._network.state_dict().items()}

    def end_step(self) -> dict[str, Tensor] | None:
        """Measure where a step has led.

        Returns:
            If it led from above the level to the level or below, the network's state where on the way it came to the
            level; else None.
        """
        was_down, before = self.is_down, self.loss
        self.stand()
        if was_down or not self.is_down:
            return None
        known = {0.0: before, 1.0: self.loss}
        end = {name: value.clone() for name, value in self._network.state_dict().items()}

        def state(share: float) -> dict[str, Tensor]:
            # Counts of batches are no real numbers.
            return {
                name: torch.lerp(self._start[name], value, share) if value.is_floating_point() else value
                for name, value in end.items()
            }

        def height(share: float) -> float:
            return (known[share] if share in known else self._loss(state(share))) - self._level.loss

        return state(optimize.brentq(height, 0.0, 1.0, xtol=SHARE_TOLERANCE))

    def _loss(self, state: dict[str, Tensor]) -> float:
        training = self._network.training
        loss = mean_loss(self._network.eval(), self._level.samples, state)
        self._network.train(training)
        return loss
