"""From the logits of several exits to one answer: logits in, logits out.

Begin with `fit_prefixes`, which fits WISE's weights for each prefix of exits, and `scores`, which combines logits by
them. `wise` has both, with WISE's variants and baselines. `stacking` is a baseline with many more weights; `logits` has
the arithmetic that both share.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.ensemble.stacking import Stacking as Stacking
    from pkdlib.ensemble.wise import ConvergenceError as ConvergenceError
    from pkdlib.ensemble.wise import fit_prefixes as fit_prefixes
    from pkdlib.ensemble.wise import scores as scores
    from pkdlib.ensemble.wise import tempered_weights as tempered_weights
    from pkdlib.ensemble.wise import uniform_weights as uniform_weights

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "stacking": ("Stacking",),
        "wise": ("ConvergenceError", "fit_prefixes", "scores", "tempered_weights", "uniform_weights"),
    },
)
