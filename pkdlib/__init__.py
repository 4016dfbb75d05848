"""Compressed video, networks that leave early, and progressive knowledge distillation.

What most need stands here, and is loaded when it is first used; each of the packages has more: `video` reads compressed
video, `data` makes tensors of clips, `models` has networks and exits, `training` and `distillation` train them,
`ensemble` combines exits, `early_exit` leaves at them, `flatness` and `statistics` measure. `companion` is this paper's
study and book.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.distillation import labels as labels
    from pkdlib.distillation import progressive as progressive
    from pkdlib.distillation import soft_cross_entropy as soft_cross_entropy
    from pkdlib.distillation import teacher as teacher
    from pkdlib.distillation import train_exits as train_exits
    from pkdlib.early_exit import Policy as Policy
    from pkdlib.early_exit import choose_threshold as choose_threshold
    from pkdlib.early_exit import predict as predict
    from pkdlib.ensemble import fit_stacking as fit_stacking
    from pkdlib.ensemble import late_fusion as late_fusion
    from pkdlib.ensemble import weighted_scores as weighted_scores
    from pkdlib.ensemble import wise_weights as wise_weights
    from pkdlib.flatness import flatness_measures as flatness_measures
    from pkdlib.models import backbone as backbone
    from pkdlib.models import exit_costs as exit_costs
    from pkdlib.models import light_classifiers as light_classifiers
    from pkdlib.models import tapped as tapped
    from pkdlib.statistics import two_way_interval as two_way_interval
    from pkdlib.training import Recipe as Recipe
    from pkdlib.video import CompressedVideo as CompressedVideo
    from pkdlib.video.transcode import transcode as transcode

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "video": ("CompressedVideo",),
        "video.transcode": ("transcode",),
        "models": ("backbone", "exit_costs", "light_classifiers", "tapped"),
        "training": ("Recipe",),
        "distillation": ("labels", "progressive", "soft_cross_entropy", "teacher", "train_exits"),
        "ensemble": ("fit_stacking", "late_fusion", "weighted_scores", "wise_weights"),
        "early_exit": ("Policy", "choose_threshold", "predict"),
        "flatness": ("flatness_measures",),
        "statistics": ("two_way_interval",),
    },
)
