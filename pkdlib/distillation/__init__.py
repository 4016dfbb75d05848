"""Progressive knowledge distillation (PKD): which teacher an exit learns from, and when.

Begin with `train_exits`, which hangs exits on frozen backbones and trains them side by side, each by a schedule of
teachers that `labels`, `teacher` and `progressive` make. `schedules` has those of the study, `losses` what an exit's
logits cost beside its teacher's, `exit_training` the training, and `specs` says what it trains.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.distillation.exit_training import train_exits as train_exits
    from pkdlib.distillation.exit_training import train_specs as train_specs
    from pkdlib.distillation.losses import soft_cross_entropy as soft_cross_entropy
    from pkdlib.distillation.schedules import Method as Method
    from pkdlib.distillation.schedules import MethodError as MethodError
    from pkdlib.distillation.schedules import Stage as Stage
    from pkdlib.distillation.schedules import labels as labels
    from pkdlib.distillation.schedules import progressive as progressive
    from pkdlib.distillation.schedules import selected as selected
    from pkdlib.distillation.schedules import teacher as teacher
    from pkdlib.distillation.specs import ExitSpec as ExitSpec
    from pkdlib.distillation.specs import exit_specs as exit_specs

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "exit_training": ("train_exits", "train_specs"),
        "losses": ("soft_cross_entropy",),
        "schedules": ("Method", "MethodError", "Stage", "labels", "progressive", "selected", "teacher"),
        "specs": ("ExitSpec", "exit_specs"),
    },
)
