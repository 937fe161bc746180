"""Running sums of the final sample: moments of the estimator's values, and weight diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from robuststat._core.types import Array, IntArray
from robuststat.sampling._psis import pareto_khat

__all__ = ["MAX_COVARIANCE", "Diagnostics", "Moments", "weight_table"]

# Above so many expectations only variances are kept, not their covariances.
MAX_COVARIANCE = 2000
# Numbers kept for the tail index: with more, the first points of the final sample stand for all.
_TAIL_NUMBERS = 4_000_000


class Moments:
    """Mean and (co)variance of rows that come in blocks, merged without cancellation.

    Parameters
    ----------
    J : int
        Columns.
    """

    def __init__(self, J: int) -> None:
        self.n = 0
        self.mean = np.zeros(J)
        self.full = J <= MAX_COVARIANCE
        self.scatter = np.zeros((J, J) if self.full else J)

    def update(self, rows: Array) -> None:
        """Add a block of rows (n, J)."""
        n = len(rows)
        if not n:
            return
        mean = rows.mean(axis=0)
        centred = rows - mean
        scatter = centred.T @ centred if self.full else np.einsum("nj,nj->j", centred, centred)
        shift, total = mean - self.mean, self.n + n
        between = np.outer(shift, shift) if self.full else shift**2
        self.scatter += scatter + between * (self.n * n / total)
        self.mean += shift * (n / total)
        self.n = total

    @property
    def covariance(self) -> Array:
        """Covariance of one row, (J, J), or variances (J,); divisor n - 1."""
        return np.asarray(self.scatter / (self.n - 1))


class Diagnostics:
    """What is to be known about the weights of the final sample.

    Parameters
    ----------
    J, L : int
        Expectations and laws.
    """

    def __init__(self, J: int, L: int) -> None:
        self.n = 0
        self.w_sum, self.w_square, self.w_top = np.zeros(L), np.zeros(L), np.zeros(L)
        self.v_sum, self.v_square = np.zeros(J), np.zeros(J)
        self.a_sum, self.a_square, self.a_top = np.zeros(J), np.zeros(J), np.zeros(J)
        self.room = max(200, _TAIL_NUMBERS // (J + L))
        self.kept: list[tuple[Array, Array]] = []

    def update(self, weight: Array, values: Array, v: Array) -> None:
        """Add a block: f_l/q (n, L), phi_j f_j/q (n, J), and the estimator's values (n, J)."""
        if not len(v):
            return
        size, spread = np.abs(values), np.abs(v)
        self.n += len(v)
        self.w_sum += weight.sum(axis=0)
        self.w_square += np.einsum("nl,nl->l", weight, weight)
        self.w_top = np.maximum(self.w_top, weight.max(axis=0))
        self.v_sum += spread.sum(axis=0)
        self.v_square += np.einsum("nj,nj->j", spread, spread)
        self.a_sum += size.sum(axis=0)
        self.a_square += np.einsum("nj,nj->j", size, size)
        self.a_top = np.maximum(self.a_top, size.max(axis=0))
        if self.room > 0:
            take = slice(0, self.room)
            self.kept.append((np.array(weight[take]), size[take]))
            self.room -= len(weight[take])

    def mass(self) -> tuple[Array, Array]:
        """Mean of abs(phi_j f_j/q) and its variance, (J,) each."""
        mean = self.a_sum / self.n
        return mean, np.maximum(self.a_square / self.n - mean**2, 0.0) / self.n


@dataclass(frozen=True, slots=True)
class _Ratio:
    top: Array
    bottom: Array

    @property
    def value(self) -> Array:
        safe = np.where(self.bottom > 0, self.bottom, 1.0)
        return np.where(self.bottom > 0, self.top / safe, 0.0)


def weight_table(found: Diagnostics, law_col: IntArray) -> pd.DataFrame:
    """One row an expectation.

    Returns
    -------
    DataFrame
        ``ess_weights`` (Kish) of f_j/q, ``ess`` of the estimator's values, ``khat_weights`` and
        ``khat_values`` (tail indices of f_j/q and of abs(phi_j f_j/q)), ``max_share`` (largest part
        of the sum of abs(phi_j f_j/q) in one point), ``weight_z`` (mean of f_j/q less one, in
        standard errors).
    """
    n = found.n
    weight = np.vstack([w for w, _ in found.kept])
    size = np.vstack([a for _, a in found.kept])
    k_law = np.array([pareto_khat(weight[:, one]) for one in range(weight.shape[1])])
    mean = found.w_sum / n
    variance = np.maximum(found.w_square / n - mean**2, 0.0) * n / max(n - 1, 1)
    se = np.sqrt(variance / n)
    # Rounding of a weight that is one everywhere is no deviation.
    z = np.where(se > 1e-12, (mean - 1.0) / np.where(se > 0, se, 1.0), 0.0)
    ess_law = _Ratio(found.w_sum**2, found.w_square).value
    return pd.DataFrame(
        {
            "ess_weights": ess_law[law_col],
            "ess": _Ratio(found.v_sum**2, found.v_square).value,
            "khat_weights": k_law[law_col],
            "khat_values": [pareto_khat(size[:, j]) for j in range(size.shape[1])],
            "max_share": _Ratio(found.a_top, found.a_sum).value,
            "weight_z": z[law_col],
        }
    )
