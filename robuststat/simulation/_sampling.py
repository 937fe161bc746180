"""Models with a random input whose expectations, indices or probabilities are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import special, stats
from scipy.stats import qmc
from sklearn.utils import Bunch

from robuststat._core.types import Array
from robuststat.sampling import as_law
from robuststat.sampling._law_classes import Law
from robuststat.simulation._labels import Seed, check_integer, check_option

__all__ = [
    "make_beam",
    "make_beam_laws",
    "make_failure_modes",
    "make_flood",
    "make_g_function",
    "make_gaussian_moments",
    "make_ishigami",
    "make_rare_event",
]

RareEvent: TypeAlias = Literal["linear", "parabola", "four_branches"]

# Boxes of the nine parameters of a beam law: means of the six inputs, three correlations.
_BEAM_LOW = np.array([525.0, 425.0, 175.0, 0.06, 0.09, 4.0, -0.6, 0.0, 0.0])
_BEAM_HIGH = np.array([575.0, 475.0, 225.0, 0.07, 0.10, 5.0, 0.0, 0.5, 0.5])
_BEAM_CV = (0.08, 0.08, 0.06)
_BEAM_MEAN = (556.8, 453.6, 200.0, 0.062, 0.0987, 4.29)
# Sobol' indices of the beam with independent inputs, from 16 scrambled Sobol' designs of 2^17
# points (standard errors at most 2e-5), and of the flood model (at most 2e-6).
_BEAM_FIRST = (0.02357, 0.00029, 0.01637, 0.42805, 0.07291, 0.40096)
_FLOOD_FIRST = (0.344848, 0.133774, 0.189578, 0.003458, 0.283816, 0.035478, 0.000000, 0.000093)
_FLOOD_TOTAL = (0.353591, 0.142251, 0.189926, 0.003806, 0.283816, 0.035477, 0.000000, 0.000101)
_BEAM_TOTAL = (0.02908, 0.00043, 0.01989, 0.47530, 0.08446, 0.44963)


def even_powers(X: Array, n_moments: int) -> Array:
    """x^2, x^4, ..., x^(2 n_moments) of the first column."""
    return np.asarray(X[:, [0]] ** (2 * np.arange(1, n_moments + 1)))


def beam_deflection(X: Array) -> Array:
    """Deflection of a cantilever beam, metres; columns F_X, F_Y (N), E (GPa), w, t, L (m)."""
    force_x, force_y, modulus, width, height, length = X.T
    slope = np.hypot(force_x / width**2, force_y / height**2)
    return np.asarray(4.0 * length**3 / (1e9 * modulus * width * height) * slope)


def ishigami(X: Array, a: float = 7.0, b: float = 0.1) -> Array:
    """Sin x1 + a sin^2 x2 + b x3^4 sin x1."""
    return np.asarray(np.sin(X[:, 0]) * (1.0 + b * X[:, 2] ** 4) + a * np.sin(X[:, 1]) ** 2)


def g_function(X: Array, a: Array) -> Array:
    """prod_j (|4 x_j - 2| + a_j) / (1 + a_j)."""
    return np.asarray(np.prod((np.abs(4.0 * X - 2.0) + a) / (1.0 + a), axis=1))


def flood_overflow(X: Array) -> Array:
    """Overflow of a river over its dyke, metres; columns Q, Ks, Zv, Zm, Hd, Cb, L, B."""
    Q, Ks, Zv, Zm, Hd, Cb, L, B = X.T
    return np.asarray(Zv + (Q / (B * Ks * np.sqrt((Zm - Zv) / L))) ** 0.6 - Hd - Cb)


def limit_state(X: Array, event: str) -> Array:
    """Failure where the value is at most zero."""
    if event == "linear":
        return np.asarray(3.5 - X.sum(axis=1) / np.sqrt(X.shape[1]))
    a, b = X[:, 0], X[:, 1]
    if event == "parabola":
        return np.asarray(5.0 - b - 0.5 * (a - 0.1) ** 2)
    return np.asarray(failure_modes(X).min(axis=1))


def failure_modes(X: Array) -> Array:
    """Margins of the four branches, (n, 4)."""
    a, b = X[:, 0], X[:, 1]
    root = np.sqrt(2.0)
    bowl = 3.0 + 0.1 * (a - b) ** 2
    four = [bowl - (a + b) / root, bowl + (a + b) / root, a - b + 7.0 / root, b - a + 7.0 / root]
    return np.column_stack(four)


def make_gaussian_moments(n_moments: int = 10) -> Bunch:
    """Even moments of the standard normal law: x^2, x^4, ...

    Parameters
    ----------
    n_moments : int, default=10
        J.

    Returns
    -------
    sklearn.utils.Bunch
        ``func`` (n, 1) -> (n, J), ``law``, ``truth`` (J,): 1, 3, 15, ...

    Raises
    ------
    ParameterError
        If ``n_moments`` is not a positive integer of at most 80.

    Examples
    --------
    >>> from robuststat.simulation import make_gaussian_moments
    >>> make_gaussian_moments(4).truth
    array([  1.,   3.,  15., 105.])
    """
    J = check_integer("n_moments", n_moments, 1, 80)
    truth = np.cumprod(2.0 * np.arange(1, J + 1) - 1.0)
    return Bunch(func=partial(even_powers, n_moments=J), law=as_law(stats.norm()), truth=truth)


def _lognormal(mean: float, cv: float) -> Any:
    s = np.sqrt(np.log1p(cv**2))
    return stats.lognorm(s, scale=mean * np.exp(-0.5 * s * s))


def _beam_law(parameters: Array) -> Law:
    marginals = {
        name: _lognormal(mean, cv)
        for name, mean, cv in zip(("F_X", "F_Y", "E"), parameters[:3], _BEAM_CV, strict=True)
    }
    for name, mean in zip(("w", "t", "L"), parameters[3:6], strict=True):
        marginals[name] = stats.norm(mean, 0.1 * mean)
    if len(parameters) == 6:
        return as_law(marginals)
    correlation = np.eye(6)
    for (i, j), value in zip(((3, 4), (3, 5), (4, 5)), parameters[6:], strict=True):
        correlation[i, j] = correlation[j, i] = value
    return as_law((marginals, correlation))


def make_beam_laws(n_laws: int = 100, *, n_truth: int = 2**14, random_state: Seed = None) -> Bunch:
    """One beam under many input laws, from a Latin hypercube over the laws' parameters.

    Forces and modulus are lognormal, the dimensions w, t, L normal (standard deviation a tenth of
    the mean) and joined by a Gaussian copula. The nine parameters of a law, means and
    correlations, are uniform in the box of Demange-Chryst, Bachoc and Morio (2023).

    Parameters
    ----------
    n_laws : int, default=100
        J.
    n_truth : int, default=16384
        Scrambled Sobol' points a law, a power of two, times four scrambles, behind ``truth``.
    random_state : int, SeedSequence, Generator or None
        Seed of the hypercube and of the scrambles.

    Returns
    -------
    sklearn.utils.Bunch
        ``func`` (n, 6) -> (n,), ``law`` (list of laws), ``parameters`` (J, 9), ``truth`` (J,),
        mean deflections in metres, and their standard errors ``truth_se``.

    Raises
    ------
    ParameterError
        If a number is outside its range.

    Notes
    -----
    The deflection grows as w^-3, and a normal w has density 1e-22 at zero: strictly, its mean is
    infinite. No sample of a size that anyone draws sees that.

    Examples
    --------
    >>> from robuststat.simulation import make_beam_laws
    >>> data = make_beam_laws(3, n_truth=256, random_state=0)
    >>> len(data.law), data.parameters.shape, data.truth.shape
    (3, (3, 9), (3,))
    """
    J = check_integer("n_laws", n_laws, 1)
    size = check_integer("n_truth", n_truth, 2)
    rng = np.random.default_rng(random_state)
    # The rng keyword of newer SciPy is called seed in the oldest one supported.
    unit = qmc.LatinHypercube(9, seed=rng).random(J)
    parameters = _BEAM_LOW + unit * (_BEAM_HIGH - _BEAM_LOW)
    laws = [_beam_law(row) for row in parameters]
    scrambles = [special.ndtri(qmc.Sobol(6, seed=rng).random(size) + 2.0**-31) for _ in range(4)]
    means = np.array(
        [[beam_deflection(law.from_normal(u)).mean() for u in scrambles] for law in laws]
    )
    return Bunch(
        func=beam_deflection,
        law=laws,
        parameters=parameters,
        truth=means.mean(axis=1),
        truth_se=means.std(axis=1, ddof=1) / 2.0,
    )


def make_beam() -> Bunch:
    """Beam of :func:`make_beam_laws` with independent inputs at fixed means.

    Returns
    -------
    sklearn.utils.Bunch
        ``func``, ``law``, ``first_order`` and ``total_order`` (6,), Sobol' indices.

    Examples
    --------
    >>> from robuststat.simulation import make_beam
    >>> make_beam().law.names
    ('F_X', 'F_Y', 'E', 'w', 't', 'L')
    """
    return Bunch(
        func=beam_deflection,
        law=_beam_law(np.array(_BEAM_MEAN)),
        first_order=np.array(_BEAM_FIRST),
        total_order=np.array(_BEAM_TOTAL),
    )


def make_ishigami(a: float = 7.0, b: float = 0.1) -> Bunch:
    """Ishigami's function of three uniform inputs on (-pi, pi).

    Parameters
    ----------
    a, b : float
        y = sin x1 + a sin^2 x2 + b x3^4 sin x1.

    Returns
    -------
    sklearn.utils.Bunch
        ``func``, ``law``, ``mean``, ``variance``, ``first_order`` and ``total_order`` (3,).

    Examples
    --------
    >>> from robuststat.simulation import make_ishigami
    >>> make_ishigami().first_order.round(4)
    array([0.3139, 0.4424, 0.    ])
    """
    v1 = 0.5 * (1.0 + b * np.pi**4 / 5.0) ** 2
    v2, v13 = a**2 / 8.0, b**2 * np.pi**8 * (1.0 / 18.0 - 1.0 / 50.0)
    total = v1 + v2 + v13
    side = stats.uniform(-np.pi, 2.0 * np.pi)
    return Bunch(
        func=partial(ishigami, a=a, b=b),
        law=as_law({"x1": side, "x2": side, "x3": side}),
        mean=a / 2.0,
        variance=total,
        first_order=np.array([v1, v2, 0.0]) / total,
        total_order=np.array([v1 + v13, v2, v13]) / total,
    )


def make_g_function(a: Any = (0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0)) -> Bunch:
    """Sobol's g-function of uniform inputs on (0, 1).

    Parameters
    ----------
    a : sequence of d floats
        Non-negative; input j matters less the larger a_j.

    Returns
    -------
    sklearn.utils.Bunch
        ``func``, ``law``, ``mean``, ``variance``, ``first_order`` and ``total_order`` (d,).

    Examples
    --------
    >>> from robuststat.simulation import make_g_function
    >>> make_g_function([0.0, 1.0]).first_order.round(4)
    array([0.75  , 0.1875])
    """
    a = np.asarray(a, dtype=np.float64)
    part = 1.0 / (3.0 * (1.0 + a) ** 2)
    variance = float(np.prod(1.0 + part) - 1.0)
    others = np.prod(1.0 + part) / (1.0 + part)
    return Bunch(
        func=partial(g_function, a=a),
        law=as_law([stats.uniform() for _ in a]),
        mean=1.0,
        variance=variance,
        first_order=part / variance,
        total_order=part * others / variance,
    )


@dataclass(frozen=True, slots=True)
class _TruncatedGumbel:
    """Gumbel law of maxima on [low, high], with the methods of scipy's newer distributions."""

    centre: float
    scale: float
    low: float
    high: float

    def _ends(self) -> tuple[Any, Any]:
        law = stats.gumbel_r(self.centre, self.scale)
        return law.cdf(self.low), law.cdf(self.high)

    def logpdf(self, x: Any) -> Any:
        below, above = self._ends()
        inside = (x >= self.low) & (x <= self.high)
        density = stats.gumbel_r.logpdf(x, self.centre, self.scale) - np.log(above - below)
        return np.where(inside, density, -np.inf)

    def cdf(self, x: Any) -> Any:
        below, above = self._ends()
        x = np.clip(x, self.low, self.high)
        return (stats.gumbel_r.cdf(x, self.centre, self.scale) - below) / (above - below)

    def ccdf(self, x: Any) -> Any:
        return 1.0 - self.cdf(x)

    def icdf(self, p: Any) -> Any:
        below, above = self._ends()
        return stats.gumbel_r.ppf(below + p * (above - below), self.centre, self.scale)

    def iccdf(self, p: Any) -> Any:
        return self.icdf(1.0 - p)

    def sample(self, n: int, rng: np.random.Generator) -> Any:
        return self.icdf(rng.random(n))

    def mean(self) -> float:
        return float(self.icdf((np.arange(4096) + 0.5) / 4096).mean())


def make_flood() -> Bunch:
    """Flood model: overflow of a river over its dyke, eight independent inputs.

    Returns
    -------
    sklearn.utils.Bunch
        ``func`` (metres), ``law``, ``first_order`` and ``total_order`` (8,), Sobol' indices.

    Examples
    --------
    >>> from robuststat.simulation import make_flood
    >>> make_flood().law.names
    ('Q', 'Ks', 'Zv', 'Zm', 'Hd', 'Cb', 'L', 'B')
    """
    river = _TruncatedGumbel(1013.0, 558.0, 500.0, 3000.0)
    return Bunch(
        func=flood_overflow,
        law=as_law(
            {
                "Q": river,
                "Ks": stats.truncnorm(-1.875, np.inf, 30.0, 8.0),
                "Zv": stats.triang(0.5, 49.0, 2.0),
                "Zm": stats.triang(0.5, 54.0, 2.0),
                "Hd": stats.uniform(7.0, 2.0),
                "Cb": stats.triang(0.5, 55.0, 1.0),
                "L": stats.triang(0.5, 4990.0, 20.0),
                "B": stats.triang(0.5, 295.0, 10.0),
            }
        ),
        first_order=np.array(_FLOOD_FIRST),
        total_order=np.array(_FLOOD_TOTAL),
    )


def make_rare_event(event: RareEvent = "four_branches", dim: int = 2) -> Bunch:
    """Rare failures of a system with standard normal inputs.

    Parameters
    ----------
    event : {"four_branches", "linear", "parabola"}
        Limit state; failure where ``func`` is at most zero.
    dim : int, default=2
        Number of inputs; other than 2 for "linear" only.

    Returns
    -------
    sklearn.utils.Bunch
        ``func``, ``law``, ``probability``.

    Raises
    ------
    ParameterError
        If ``event`` is not one of these, or ``dim`` does not go with it.

    Examples
    --------
    >>> from robuststat.simulation import make_rare_event
    >>> round(make_rare_event("linear", 10).probability, 7)
    0.0002326
    """
    check_option("event", event, RareEvent)
    d = check_integer("dim", dim, 1) if event == "linear" else check_integer("dim", dim, 2, 2)
    # Four branches and parabola: one-dimensional adaptive quadrature.
    known = {
        "linear": float(special.ndtr(-3.5)),
        "parabola": 3.0163119013095568e-3,
        "four_branches": 2.2227950661944385e-3,
    }
    return Bunch(
        func=partial(limit_state, event=event),
        law=as_law([stats.norm() for _ in range(d)]),
        probability=known[event],
    )


def make_failure_modes() -> Bunch:
    """Four causes of failure, whose union is the event "four_branches" of :func:`make_rare_event`.

    Returns
    -------
    sklearn.utils.Bunch
        ``func`` (n, 2) -> (n, 4) margins, a cause being active where its margin is at most zero;
        ``law``, ``probabilities`` (4,) of the causes, ``probability`` of any of them.

    Examples
    --------
    >>> from robuststat.simulation import make_failure_modes
    >>> make_failure_modes().probabilities.round(7)
    array([0.0008788, 0.0008788, 0.0002326, 0.0002326])
    """
    # (a + b)/sqrt 2 and (a - b)/sqrt 2 are independent normal: 3 + 0.2 z^2 below another one.
    z = np.linspace(-12.0, 12.0, 4801)
    curved = float(np.sum(special.ndtr(-3.0 - 0.2 * z * z) * stats.norm.pdf(z)) * (z[1] - z[0]))
    straight = float(special.ndtr(-3.5))
    return Bunch(
        func=failure_modes,
        law=as_law([stats.norm(), stats.norm()]),
        probabilities=np.array([curved, curved, straight, straight]),
        probability=make_rare_event("four_branches").probability,
    )
