"""Certificates for environments to come (spec 2.3): balls that most of them are inside of.

The environments are a sample theta_1..theta_m from an unknown population of environments. Gaps are
norms |L_e (w - w_e)| (``_gap.roots``); for the risk that is the root of the risk gap, and radii are
squared when they are handed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import special, stats

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.invariance._calculators import (
    eta_fixed,
    eta_scenario,
    eta_wait_judge,
    invariance_sample_size,
)
from robuststat.invariance._gap import Ball, Measure, smallest_ball
from robuststat.invariance._words import certificate_assumptions, certificate_text

CertificateKind: TypeAlias = Literal["scenario", "split", "wait_judge", "random_effects"]

# Random effects: the share outside is never set above this, where no bound of a quadratic form
# by its mean is sharp.
_ETA_MAX = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertificateResult:
    """What can be said of the coefficients in environments to come.

    Attributes
    ----------
    eta : float
        With confidence 1 - ``delta`` at most this share of new environments is outside: their
        estimates from equally large samples outside ``radius_estimates``, or, for
        ``kind="random_effects"``, their coefficients outside ``radius``.
    eta_coefficients : float
        The same bound for true coefficients and ``radius``: eta / (1 - d1).
    delta : float
        Chance over the environments seen that the statement is false.
    centre : ndarray of shape (k,)
        Common coefficients w0, centre of ``radius``.
    centre_estimates : ndarray of shape (k,)
        Centre of ``radius_estimates``.
    radius : float
        Bound of the gap of the true coefficients, which has the sampling error of every
        environment in it (taken out of it by random effects).
    radius_estimates : float
        Bound of the gap of estimates, without allowance for sampling error.
    measure : str
        Gap: "coef", "risk" (unit of y squared) or "grad".
    kind : str
        Kind of certificate.
    n_env, n_candidates : int
        Environments used, and representations searched on them.
    n_free : int
        Unknowns of the scenario programme (0 when there are none).
    n_support, n_violations : int or None
        Environments at the edge ("wait_judge"), or outside ("split").
    d1 : float
        Miss probability of the confidence set of an environment.
    n_env_needed : int
        Environments that would bring eta to 0.1.
    spread : float or None
        Random effects: standard deviation of the true coefficients (root of the trace of their
        variance), estimated without sampling noise.
    names : tuple of str
        Coefficients in the gap.
    assumptions : tuple of str
        In words.

    Examples
    --------
    >>> from robuststat import InvarianceTest
    >>> from robuststat.simulation import make_environments
    >>> draw = make_environments(n_env=50, random_state=0)
    >>> found = InvarianceTest().fit(draw.X, draw.y, env=draw.env).certificate()
    >>> round(found.eta, 3), found.n_env
    (0.121, 50)
    """

    eta: float
    eta_coefficients: float
    delta: float
    centre: Array
    centre_estimates: Array
    radius: float
    radius_estimates: float
    measure: str
    kind: str
    n_env: int
    n_candidates: int
    n_free: int
    n_support: int | None
    n_violations: int | None
    d1: float
    n_env_needed: int
    spread: float | None
    names: tuple[str, ...]
    assumptions: tuple[str, ...]

    def summary(self) -> str:
        """Sentence for a reader, what it assumes, and how many environments would be better."""
        return certificate_text(self)

    __str__ = summary
    __repr__ = summary

    def plot(self, *, ax: Any = None) -> Any:
        """Draw eta against the number of environments, with this certificate marked.

        The curves are the bounds of the smallest ball and of one fixed beforehand, at the same
        confidence, number of coefficients and number of representations searched. Certificates
        with ``kind="random_effects"`` follow the curve of the smallest ball by choice of their
        ``eta``, not by its theorem.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        from robuststat.invariance._plots import plot_eta

        n_free = len(self.names) + 1
        return plot_eta(self.n_env, n_free, self.delta, self.n_candidates, self.eta, ax)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


@dataclass(frozen=True, slots=True)
class Cloud:
    """Estimates of m environments with their errors.

    Attributes
    ----------
    coef : ndarray of shape (m, k)
        Estimated coefficients.
    vcov : ndarray of shape (m, k, k)
        Their sampling variances.
    roots : ndarray of shape (m, k, k)
        Norms L_e of the gap.
    df : ndarray of shape (m,)
        Degrees of freedom of the variances, n_e less the number of coefficients.
    """

    coef: Array
    vcov: Array
    roots: Array
    df: Array

    @property
    def n_env(self) -> int:
        """Number of environments m."""
        return int(self.coef.shape[0])

    @property
    def n_coef(self) -> int:
        """Number of coefficients in the gap."""
        return int(self.coef.shape[1])

    def take(self, index: IntArray) -> Cloud:
        """Keep some of the environments."""
        return Cloud(self.coef[index], self.vcov[index], self.roots[index], self.df[index])

    def noise(self) -> Array:
        """Variance of L_e w_e in every environment, of shape (m, k, k)."""
        return np.asarray(self.roots @ self.vcov @ np.swapaxes(self.roots, 1, 2))

    def error_radius(self, d1: float) -> Array:
        """Radii rho_e of balls that hold the true coefficients with probability 1 - d1."""
        k = self.n_coef
        largest = np.linalg.eigvalsh(self.noise())[:, -1]
        return np.asarray(np.sqrt(np.maximum(largest, 0.0) * k * stats.f.isf(d1, k, self.df)))

    def distance(self, centre: Array) -> Array:
        """Gap of every environment at a common vector, of shape (m,)."""
        moved = np.einsum("eij,ej->ei", self.roots, self.coef - centre)
        return np.asarray(np.linalg.norm(moved, axis=1))


def scenario(cloud: Cloud, delta: float, d1: float, *, wait: bool) -> dict[str, Any]:
    """Smallest balls around all environments, and the share outside them.

    With ``wait`` the bound follows from the number of environments at the edge, otherwise from the
    number D = k + 1 of unknowns.
    """
    m, free = cloud.n_env, cloud.n_coef + 1
    plain = smallest_ball(cloud.coef, cloud.roots, find_support=wait)
    rho = cloud.error_radius(d1)
    safe = smallest_ball(cloud.coef, cloud.roots, rho, find_support=wait)
    if wait:
        eta, eta_safe = (eta_wait_judge(m, len(b.support), delta) for b in (plain, safe))
    else:
        eta = eta_safe = eta_scenario(m, free, delta)
    return _found(plain, safe, eta, eta_safe, d1) | {
        "n_free": free,
        "n_support": len(plain.support) if wait else None,
    }


def split(
    cloud: Cloud, delta: float, d1: float, fixed: tuple[Array, float] | None, order: IntArray
) -> dict[str, Any]:
    """Ball fixed beforehand, or found on half of the environments; violations on the others."""
    rho = cloud.error_radius(d1)
    if fixed is None:
        half = cloud.n_env // 2
        if half < 1:
            raise DataError("kind='split' needs at least 2 environments. Pass centre and radius.")
        first, rest = order[:half], order[half:]
        seen = cloud.take(first)
        plain = smallest_ball(seen.coef, seen.roots)
        safe = smallest_ball(seen.coef, seen.roots, rho[first])
    else:
        rest = order
        plain = safe = Ball(fixed[0], fixed[1], np.array([], dtype=np.int64))
    judged = cloud.take(rest)
    # The edge belongs to the ball; the solver's rounding must not count as a violation.
    slack = 1e-9 * max(safe.radius, 1e-300)
    outside = int((judged.distance(plain.centre) > plain.radius + slack).sum())
    missed = int((judged.distance(safe.centre) + rho[rest] > safe.radius + slack).sum())
    m = judged.n_env
    eta, eta_safe = eta_fixed(m, outside, delta), eta_fixed(m, missed, delta)
    return _found(plain, safe, eta, eta_safe, d1) | {"n_violations": outside, "n_env": m}


def _found(plain: Ball, safe: Ball, eta: float, eta_safe: float, d1: float) -> dict[str, Any]:
    return {
        "eta": eta,
        "eta_coefficients": min(1.0, eta_safe / (1 - d1)),
        "centre": safe.centre,
        "centre_estimates": plain.centre,
        "radius": safe.radius,
        "radius_estimates": plain.radius,
    }


def random_effects(cloud: Cloud, delta: float, eta: float | None) -> dict[str, Any]:
    """Ball for the true coefficients with the sampling noise taken out of the spread.

    Model: estimate = w_e + noise_e, noise of variance V_e, w_e iid with variance T. Derived here:

    1. S = sum |w_e_hat - wbar|^2/(m - 1) has mean tr T + v, v the average of tr V_e. Upper limit
       S_U = nu S/chi2_{nu; delta/2}, nu the smallest of Satterthwaite's (m - 1) tr(C)^2/tr(C^2),
       C the covariance of the estimates, and 2 S^2/var(S) with the empirical variance of the
       squared distances (which heavy tails and unequal V_e lower). t_U = max(S_U - v, 0).
    2. Ball A about wbar: radius q (t_U + S_U/m)^(1/2). A quadratic form in normals with given mean
       has, for eta <= .2, no heavier tail than its extremes, one direction or all alike (Szekely
       and Bakirov 2003); q is the largest quantile among these, a t with 4 degrees of freedom and
       a one-sided exponential, all of variance one: the shapes allowed for.
    3. Ball B: the smallest ball around the shrunken estimates
       wbar + (w_e_hat - wbar)(t_U/(t_U + tr V_e))^(1/2), whose variance is that of the w_e. Without
       noise it is the scenario ball and keeps its guarantee for every shape.
    4. The smallest ball that holds A and B. ``delta``/2 is left to the sampling of the cloud.

    Neither step is a theorem for all shapes; the failure rates are simulated (benchmarks).
    """
    m, k = cloud.n_env, cloud.n_coef
    if m < 3:
        raise DataError(f"kind='random_effects' needs at least 3 environments, got {m}.")
    share = min(eta_scenario(m, k + 1, delta), _ETA_MAX) if eta is None else eta
    total, upper, limit, noise = _spread(cloud, delta)
    middle = cloud.coef.mean(axis=0)
    reach = quantile_of_shapes(share, k) * np.sqrt(limit + upper / m)
    own = noise + limit
    shrink = np.sqrt(np.divide(limit, own, out=np.zeros(m), where=own > 0))
    shrunken = middle + (cloud.coef - middle) * shrink[:, None]
    norm = cloud.roots[0]
    inner = smallest_ball(shrunken, cloud.roots)
    centre, radius = _holding_both(middle, reach, inner.centre, inner.radius, norm)
    plain = smallest_ball(cloud.coef, cloud.roots)
    return {
        "eta": share,
        "eta_coefficients": share,
        "centre": centre,
        "centre_estimates": plain.centre,
        "radius": radius,
        "radius_estimates": plain.radius,
        "spread": float(np.sqrt(max(total - noise.mean(), 0.0))),
    }


def _spread(cloud: Cloud, delta: float) -> tuple[float, float, float, Array]:
    """S, its upper limit, the upper limit of tr T, and tr V_e in every environment."""
    m, k = cloud.n_env, cloud.n_coef
    moved = (cloud.coef - cloud.coef.mean(axis=0)) @ cloud.roots[0].T
    squares = (moved**2).sum(axis=1)
    total = float(squares.sum()) / (m - 1)
    noise = np.einsum("eii->e", cloud.noise())
    if total == 0:
        return 0.0, 0.0, 0.0, noise
    C = moved.T @ moved / (m - 1)
    nu = min((m - 1) * total**2 / float((C * C).sum()), (m - 1.0) * k)
    nu = min(nu, 2 * total**2 * m / max(float(squares.var(ddof=1)), 1e-300))
    upper = nu * total / float(special.chdtri(nu, 1 - delta / 2))
    return total, upper, max(upper - float(noise.mean()), 0.0), noise


def quantile_of_shapes(eta: float, k: int) -> float:
    """Distance, in root mean squares, that a share ``eta`` exceeds under the shapes allowed for."""
    shapes = [
        np.sqrt(stats.chi2.isf(eta, 1)),
        np.sqrt(stats.chi2.isf(eta, k) / k),
        stats.t.isf(eta / 2, 4) / np.sqrt(2),
        -1 - np.log(eta),
    ]
    return float(max(shapes))


def _holding_both(a: Array, r_a: float, b: Array, r_b: float, norm: Array) -> tuple[Array, float]:
    """Smallest ball that holds two balls."""
    apart = float(np.linalg.norm(norm @ (b - a)))
    if r_a >= r_b + apart:
        return a, r_a
    if r_b >= r_a + apart:
        return b, r_b
    radius = (r_a + r_b + apart) / 2
    return a + (b - a) * ((radius - r_a) / apart), radius


def certify(
    cloud: Cloud,
    *,
    kind: CertificateKind,
    measure: Measure,
    delta: float,
    candidates: int,
    d1: float,
    names: tuple[str, ...],
    fixed: tuple[Array, float] | None,
    order: IntArray,
    eta: float | None,
    fixed_scale: bool,
) -> CertificateResult:
    """Certificate of a cloud of environments.

    ``candidates`` representations were searched, so each has failure probability
    delta/candidates.
    """
    if kind == "random_effects" and measure != "coef":
        raise ParameterError(
            f"kind='random_effects' is for measure='coef'; got {measure!r}, whose scale differs "
            "between environments. Use kind='scenario', or measure='coef'."
        )
    risk = delta / candidates
    values: dict[str, Any] = {"n_free": 0, "n_support": None, "n_violations": None}
    values |= {"spread": None, "n_env": cloud.n_env}
    if kind == "random_effects":
        values |= random_effects(cloud, risk, eta)
    elif kind == "split":
        values |= split(cloud, risk, d1, fixed, order)
    else:
        values |= scenario(cloud, risk, d1, wait=kind == "wait_judge")
    if measure == "risk":
        values |= {name: values[name] ** 2 for name in ("radius", "radius_estimates")}
    needed = _needed(kind, cloud.n_coef + 1, risk)
    return CertificateResult(
        delta=delta,
        measure=measure,
        kind=kind,
        n_candidates=candidates,
        d1=0.0 if kind == "random_effects" else d1,
        n_env_needed=needed,
        names=names,
        assumptions=certificate_assumptions(kind, candidates, d1, fixed_scale=fixed_scale),
        **values,
    )


def _needed(kind: str, n_free: int, risk: float) -> int:
    if kind == "split":
        return invariance_sample_size(0.1, risk, kind="split")
    return invariance_sample_size(0.1, risk, max(n_free - 1, 1))
