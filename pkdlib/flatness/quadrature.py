"""What stochastic Lanczos quadrature knows of a spectrum: nodes and weights, and what they say; nothing needs torch."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quadrature:
    """A spectrum as seen through random vectors: sum_i f(lambda_i) / n is the mean over probes of sum_k w_k f(t_k).

    Attributes:
        nodes: The t_k, (probes, steps).
        weights: The w_k, (probes, steps), of sum 1 for each probe.
    """

    nodes: np.ndarray
    weights: np.ndarray

    def density(self, grid: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the spectral density, each eigenvalue blurred to a Gaussian; its integral is 1.

        Args:
            grid: Where, (points,).
            width: Standard deviation of the Gaussian, in units of the eigenvalues.

        Returns:
            The density and its standard error over probes, (points,) each.

        Raises:
            ValueError: If the width is not above 0.
        """
        if not width > 0:
            raise ValueError(f"width is {width}: the standard deviation of a Gaussian must be above 0")
        scaled = (np.asarray(grid)[:, None, None] - self.nodes) / width
        return self._over_probes(np.exp(-(scaled**2) / 2) / (width * math.sqrt(2 * math.pi)))

    def moment(self, power: int) -> tuple[float, float]:
        """Estimate the mean of a power of the eigenvalues, tr(A^power) / n.

        Args:
            power: The power.

        Returns:
            The mean and its standard error over probes.
        """
        value, error = self._over_probes(self.nodes**power)
        return float(value), float(error)

    def _over_probes(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probes = (values * self.weights).sum(axis=-1)
        return probes.mean(axis=-1), probes.std(axis=-1, ddof=1) / math.sqrt(probes.shape[-1])
