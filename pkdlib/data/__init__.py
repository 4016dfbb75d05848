"""Data sets, their splits, and clips as tensors.

Begin with `datasets`: what a clip, a split and a data set are. `folder` makes one of your own clips, `ut_interaction`
is such a one, `marionette` draws one, and `official` has the paper's two. `frame_cache` keeps their frames, `sampling`
makes tensors of them, the same crop for each modality, `loader` feeds a training, and `batches` says what any training
is fed. `folds`, `sources`, `survey` and the modules with an underscore serve these.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.data.batches import Batches as Batches
    from pkdlib.data.batches import PairedBatches as PairedBatches
    from pkdlib.data.datasets import Clip as Clip
    from pkdlib.data.datasets import Dataset as Dataset
    from pkdlib.data.datasets import DatasetError as DatasetError
    from pkdlib.data.datasets import Split as Split
    from pkdlib.data.frame_cache import frame_bank as frame_bank
    from pkdlib.data.loader import BatchLoader as BatchLoader
    from pkdlib.data.loader import EvaluationLoader as EvaluationLoader
    from pkdlib.data.sampling import read_clip as read_clip

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "batches": ("Batches", "PairedBatches"),
        "datasets": ("Clip", "Dataset", "DatasetError", "Split"),
        "frame_cache": ("frame_bank",),
        "loader": ("BatchLoader", "EvaluationLoader"),
        "sampling": ("read_clip",),
    },
)
