"""How flat or sharp the minimum is in which a network ends: any module, any batches.

Begin with `flatness_measures`, which takes all of them of a network; `measures` has it. They lie in `traces`, `spectra`
(whose densities are `quadrature`), `sharpness` and `landscape`, take a network as an `objective`, through the curvature
of `operators`, and say how sure they are as `estimates` do.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.flatness.landscape import slices as slices
    from pkdlib.flatness.landscape import surface as surface
    from pkdlib.flatness.measures import flatness_measures as flatness_measures
    from pkdlib.flatness.objective import Objective as Objective
    from pkdlib.flatness.operators import GaussNewton as GaussNewton
    from pkdlib.flatness.operators import Hessian as Hessian
    from pkdlib.flatness.operators import InputHessian as InputHessian
    from pkdlib.flatness.sharpness import average_sharpness as average_sharpness
    from pkdlib.flatness.sharpness import fisher_rao_norm as fisher_rao_norm
    from pkdlib.flatness.sharpness import worst_sharpness as worst_sharpness
    from pkdlib.flatness.spectra import lanczos_eigenvalues as lanczos_eigenvalues
    from pkdlib.flatness.spectra import lanczos_quadrature as lanczos_quadrature
    from pkdlib.flatness.traces import hutchinson_trace as hutchinson_trace
    from pkdlib.flatness.traces import xtrace as xtrace

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "landscape": ("slices", "surface"),
        "measures": ("flatness_measures",),
        "objective": ("Objective",),
        "operators": ("GaussNewton", "Hessian", "InputHessian"),
        "sharpness": ("average_sharpness", "fisher_rao_norm", "worst_sharpness"),
        "spectra": ("lanczos_eigenvalues", "lanczos_quadrature"),
        "traces": ("hutchinson_trace", "xtrace"),
    },
)
