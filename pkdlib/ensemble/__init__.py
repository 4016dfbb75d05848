"""From the logits of several exits to one answer: logits in, logits out.

Begin with `wise_weights`, which fits WISE's weights for each prefix of exits, and `weighted_scores`, which combines
logits by them. `wise` has both, with WISE's variants and baselines, and `rules` names them; `late_fusion` is for
networks without exits. `stacking` is a baseline with many more weights; `logits` has the arithmetic that both share.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.ensemble.rules import RULES as RULES
    from pkdlib.ensemble.rules import late_fusion as late_fusion
    from pkdlib.ensemble.stacking import Stacking as Stacking
    from pkdlib.ensemble.stacking import fit_stacking as fit_stacking
    from pkdlib.ensemble.wise import ConvergenceError as ConvergenceError
    from pkdlib.ensemble.wise import tempered_weights as tempered_weights
    from pkdlib.ensemble.wise import uniform_weights as uniform_weights
    from pkdlib.ensemble.wise import weighted_scores as weighted_scores
    from pkdlib.ensemble.wise import wise_weights as wise_weights

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "rules": ("RULES", "late_fusion"),
        "stacking": ("Stacking", "fit_stacking"),
        "wise": ("ConvergenceError", "tempered_weights", "uniform_weights", "weighted_scores", "wise_weights"),
    },
)
