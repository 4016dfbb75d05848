"""Networks that read compressed video, and the exits that make any network able to stop early.

Begin with `tapped`, which hangs exits on named submodules of any torch module, or with `backbone`, which makes the
study's networks by what they read. `backbones` has what these share: `FeatureBackbone`, which yields what exits read,
and `MultiExitNetwork`, which is one with exits. `taps` has the first, `exit_heads` are the internal classifiers,
`teamnet` is TEAM-Net, `lite` EfficientNet-Lite0, `registry` makes any of them by name. `pretrained` reads published
weights, `cost` counts multiply-accumulates.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.models.backbones import CHANNELS as CHANNELS
    from pkdlib.models.backbones import MODALITIES as MODALITIES
    from pkdlib.models.backbones import FeatureBackbone as FeatureBackbone
    from pkdlib.models.backbones import MultiExitNetwork as MultiExitNetwork
    from pkdlib.models.backbones import NetworkError as NetworkError
    from pkdlib.models.cost import ExitCosts as ExitCosts
    from pkdlib.models.cost import exit_costs as exit_costs
    from pkdlib.models.exit_heads import light_classifiers as light_classifiers
    from pkdlib.models.exit_heads import paper_classifiers as paper_classifiers
    from pkdlib.models.registry import backbone as backbone
    from pkdlib.models.registry import network as network
    from pkdlib.models.taps import tapped as tapped

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "backbones": ("CHANNELS", "MODALITIES", "FeatureBackbone", "MultiExitNetwork", "NetworkError"),
        "cost": ("ExitCosts", "exit_costs"),
        "exit_heads": ("light_classifiers", "paper_classifiers"),
        "registry": ("backbone", "network"),
        "taps": ("tapped",),
    },
)
