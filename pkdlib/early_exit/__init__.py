"""Leave as soon as an exit is sure.

Begin with `Policy`, which says when an answer is sure enough, and `execute`, which really stops computing there.
`choose_threshold` finds one for a budget, `trade_off` what any would cost; all these are in `policies`, and `criteria`
say how sure an exit is. `predictor` keeps a cascade of networks in a folder, and answers for any video file: `predict`.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.early_exit.policies import Answers as Answers
    from pkdlib.early_exit.policies import Policy as Policy
    from pkdlib.early_exit.policies import ScoredOrder as ScoredOrder
    from pkdlib.early_exit.policies import choose_policy as choose_policy
    from pkdlib.early_exit.policies import choose_threshold as choose_threshold
    from pkdlib.early_exit.policies import execute as execute
    from pkdlib.early_exit.policies import leave_at as leave_at
    from pkdlib.early_exit.policies import trade_off as trade_off
    from pkdlib.early_exit.predictor import Cascade as Cascade
    from pkdlib.early_exit.predictor import CascadeError as CascadeError
    from pkdlib.early_exit.predictor import Prediction as Prediction
    from pkdlib.early_exit.predictor import predict as predict

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "policies": (
            *("Answers", "Policy", "ScoredOrder"),
            *("choose_policy", "choose_threshold", "execute", "leave_at", "trade_off"),
        ),
        "predictor": ("Cascade", "CascadeError", "Prediction", "predict"),
    },
)
