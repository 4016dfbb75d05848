"""One training loop, which an interruption does not change, on one device or several.

Begin with `trainer`: how a backbone is trained by a `Recipe` on any batches. `loop` has the epochs of any training.
`tuning` says how weights are stepped, `optimisers` do so, `target_loss` ends a training at a stated loss, `devices`
prepare a processor or a GPU (`default_device` chooses one), and `distributed` lets several processes train together.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.training.loop import TrainingError as TrainingError
    from pkdlib.training.trainer import Recipe as Recipe
    from pkdlib.training.trainer import train_backbone as train_backbone
    from pkdlib.training.tuning import Tuning as Tuning

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {"loop": ("TrainingError",), "trainer": ("Recipe", "train_backbone"), "tuning": ("Tuning",)},
)
