"""Designs with an instrument that acts on the outcome directly, and with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.simulation._labels import Seed, check_fraction, check_integer, check_option

__all__ = ["make_invalid_iv", "make_weak_iv"]

InvalidDesign: TypeAlias = Literal[
    "standard", "union", "strong", "one_sided", "linear", "nonlinear", "numeric"
]
OfX: TypeAlias = Callable[[Array], Array]
OfZX: TypeAlias = Callable[[float, Array], Array]

# Right and wrong bases of the design "union".
_RIGHT = {
    "instrument": "x1 + x2",
    "treatment": "Z + x1 + x2 + Z:x1",
    "effect": "x1 + x2",
    "direct": "Z + x1 + x2 + Z:x1 + Z:x2",
    "confounding": "x1 + x2",
}
_WRONG = {"instrument": "1", "treatment": "Z", "effect": "1", "direct": "Z", "confounding": "1"}


@dataclass(frozen=True, slots=True)
class _Law:
    """Functions of covariates X (n, d) and of z that generate the data.

    Exposures have mean p(z, X) + pull U and, when they are numbers, standard deviation ``sd``;
    Y = beta A + h + push(X) U + noise N(0, 1), with U uniform on (-1, 1), so that omega is
    pull * push / 3.
    """

    pi: OfX
    p: OfZX
    pull: float
    beta: OfX
    h: OfZX
    push: OfX
    noise: float
    n_covariates: int = 3
    binary_last: bool = True
    sd: tuple[float, float] | None = None


def _logit(*coef: float) -> OfX:
    return lambda X: expit(coef[0] + X @ np.array(coef[1:]))


def _standard() -> _Law:
    return _Law(
        pi=_logit(0.1, 0.8, -0.6, 0.3),
        p=lambda z, X: expit(-2 + 1.9 * z + (0.3 - 0.4 * z) * X[:, 0] + 0.3 * X[:, 1]),
        pull=0.05,
        beta=lambda X: 1 + X[:, 0] + 0.5 * X[:, 2],
        h=lambda z, X: 0.5 + 0.7 * z + (1 + 0.6 * z) * X[:, 0] - 0.5 * X[:, 1] + 0.3 * X[:, 2],
        push=lambda X: 3 + 2 * X[:, 0],
        noise=0.5,
    )


def _union() -> _Law:
    return _Law(
        pi=_logit(0.2, 1.2, -0.8),
        p=lambda z, X: expit(-1.9 + 1.7 * z + (0.3 - 0.5 * z) * X[:, 0] + 0.4 * X[:, 1]),
        pull=0.06,
        beta=lambda X: 1 + 1.5 * X[:, 0] + 0.5 * X[:, 1],
        h=lambda z, X: 0.5 + z + (2 + 1.5 * z) * X[:, 0] - (1.5 + z) * X[:, 1],
        push=lambda X: 6 + 6 * X[:, 0] - 4 * X[:, 1],
        noise=1.0,
        n_covariates=2,
        binary_last=False,
    )


def _strong() -> _Law:
    return replace(
        _standard(),
        p=lambda z, X: expit(-1.5 + 1.5 * z + 0.2 * X[:, 0] + 0.2 * X[:, 1]),
        pull=0.12,
    )


def _one_sided() -> _Law:
    # Nobody is exposed at Z = 0, which leaves no room for confounding at Z = 1.
    return replace(
        _standard(),
        p=lambda z, X: z * expit(-0.1 + 0.5 * X[:, 0] + 0.3 * X[:, 1]),
        pull=0.0,
    )


def _curved(X: Array) -> Array:
    return np.column_stack([2 * X[:, 0] ** 2 - 0.66, 1.2 * np.sin(3 * X[:, 1]), X[:, 2]])


def _machine(transform: OfX) -> _Law:
    def first(X: Array) -> Array:
        return transform(X)[:, 0]

    def second(X: Array) -> Array:
        return transform(X)[:, 1]

    return _Law(
        pi=lambda X: expit(first(X) - 0.8 * second(X)),
        p=lambda z, X: expit(-1.6 + 1.7 * z + 0.5 * first(X) + 0.4 * second(X)),
        pull=0.08,
        beta=lambda X: 1 + first(X),
        h=lambda z, X: 0.7 * z + 1.5 * first(X) - 1.5 * second(X) + z * first(X),
        push=lambda X: np.full(len(X), 3.0),
        noise=0.5,
        binary_last=False,
    )


def _numeric() -> _Law:
    return replace(
        _standard(),
        p=lambda z, X: 0.5 + 0.8 * z + 0.4 * X[:, 0] - 0.2 * z * X[:, 1],
        pull=0.5,
        sd=(0.6, 1.1),
    )


_LAWS: dict[str, Callable[[], _Law]] = {
    "standard": _standard,
    "union": _union,
    "strong": _strong,
    "one_sided": _one_sided,
    "linear": lambda: _machine(lambda X: X),
    "nonlinear": lambda: _machine(_curved),
    "numeric": _numeric,
}


def make_invalid_iv(
    n: int = 4000, design: InvalidDesign = "standard", *, random_state: Seed = None
) -> Bunch:
    """Draw an exposure, its only instrument with a direct effect on the outcome, and the outcome.

    Covariates are uniform on (-1, 1), x3 of the designs "standard", "strong", "one_sided" and
    "numeric" is Bernoulli(0.4); U, uniform on (-1, 1), is unmeasured. The outcome is
    Y = beta(X) A + h(Z, X) + c(X) U + e.

    Parameters
    ----------
    n : int, default 4000
        Number of rows.
    design : str, default "standard"
        - "standard": effect 1 + x1 + x3/2, direct effect of Z 0.7 + 0.6 x1, weak confounding.
        - "union": two covariates, all functions linear in known bases; ``terms_right`` and
          ``terms_wrong`` name right and wrong ones for every nuisance model.
        - "strong": as "standard" with more confounding.
        - "one_sided": as "standard" with nobody exposed at Z = 0, and no confounding.
        - "linear", "nonlinear": three covariates; the same functions of (x1, x2), or of
          (2 x1^2 - 0.66, 1.2 sin(3 x2)), for learners.
        - "numeric": as "standard" with a numeric exposure, heteroscedastic in Z.
    random_state : int, SeedSequence, Generator or None, default None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        With the keys

        X : DataFrame of shape (n, p)
            Covariates.
        y, treatment, instruments : ndarray of shape (n,)
            Outcome, exposure and instrument.
        beta : ndarray of shape (n,)
            Conditional effect.
        truth : Series of length 4
            ATE, overlap ATE, direct effect of Z, confounding covariance; computed by quadrature.
            Under "one_sided" without the last.
        terms_right, terms_wrong : dict
            Bases, under "union".

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_invalid_iv
    >>> draw = make_invalid_iv(n=500, random_state=0)
    >>> draw.X.shape
    (500, 3)
    >>> {name: round(value, 3) for name, value in draw.truth.items()}
    {'ATE': 1.2, 'overlap ATE': 1.112, 'direct effect of Z': 0.7, 'confounding covariance': 0.05}
    """
    check_option("design", design, InvalidDesign)
    draw = _draw(_LAWS[design](), n, random_state)
    if design == "union":
        draw["terms_right"], draw["terms_wrong"] = dict(_RIGHT), dict(_WRONG)
    if design == "one_sided":
        draw["truth"] = draw.truth.drop("confounding covariance")
    return draw


def make_weak_iv(n: int = 2000, *, mean_d: float = 0.0075, random_state: Seed = None) -> Bunch:
    """Draw data whose exposure is hardly heteroscedastic, so that Wald intervals fail.

    P(Z=1|X) = expit(x1 / 2), P(A=1|.) = 0.4 + d Z + 0.12 U, Y = A + 0.7 Z + x1 + 4 U + N(0, 1)/2,
    with d chosen so that D = var(A|Z=1) - var(A|Z=0) has the given value in every row.

    Parameters
    ----------
    n : int, default 2000
        Number of rows.
    mean_d : float, default 0.0075
        D, in (0, 0.0099].
    random_state : int, SeedSequence, Generator or None, default None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        As from :func:`make_invalid_iv`; the effect is 1 for everybody.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_weak_iv
    >>> make_weak_iv(n=500, random_state=0).truth["ATE"].round(6)
    np.float64(1.0)
    """
    check_fraction("mean_d", mean_d, 0.0, 0.0099, closed=True)
    if mean_d <= 0.0:
        raise ParameterError(f"mean_d must be positive, got {mean_d}. Use 0.0075, for instance.")
    # D = 0.2 d - d^2; the larger root moves the mean of the exposure more.
    shift = 0.1 + np.sqrt(0.01 - mean_d)
    law = _Law(
        pi=lambda X: expit(0.5 * X[:, 0]),
        p=lambda z, X: np.full(len(X), 0.4 + shift * z),
        pull=0.12,
        beta=lambda X: np.ones(len(X)),
        h=lambda z, X: 0.7 * z + X[:, 0],
        push=lambda X: np.full(len(X), 4.0),
        noise=0.5,
        n_covariates=2,
        binary_last=False,
    )
    return _draw(law, n, random_state)


def _draw(law: _Law, n: int, random_state: Seed) -> Bunch:
    check_integer("n", n, 10)
    rng = np.random.default_rng(random_state)
    X = rng.uniform(-1.0, 1.0, (n, law.n_covariates))
    if law.binary_last:
        X[:, -1] = rng.random(n) < 0.4
    z = (rng.random(n) < law.pi(X)).astype(np.float64)
    u = rng.uniform(-1.0, 1.0, n)
    mean = np.where(z > 0.5, law.p(1.0, X), law.p(0.0, X)) + law.pull * u
    if law.sd is None:
        a = (rng.random(n) < mean).astype(np.float64)
    else:
        a = mean + np.where(z > 0.5, law.sd[1], law.sd[0]) * rng.standard_normal(n)
    h = np.where(z > 0.5, law.h(1.0, X), law.h(0.0, X))
    beta = law.beta(X)
    y = beta * a + h + law.push(X) * u + law.noise * rng.standard_normal(n)
    frame = pd.DataFrame(X, columns=[f"x{j + 1}" for j in range(law.n_covariates)])
    return Bunch(X=frame, y=y, treatment=a, instruments=z, beta=beta, truth=_truth(law))


def _truth(law: _Law) -> pd.Series[float]:
    """Exact effects, by Gauss-Legendre quadrature over the covariates."""
    nodes, node_weights = np.polynomial.legendre.leggauss(60)
    grids, weights = [nodes, nodes], [node_weights / 2, node_weights / 2]
    if law.binary_last:
        grids.append(np.array([0.0, 1.0]))
        weights.append(np.array([0.6, 0.4]))
    elif law.n_covariates == 3:
        # No function depends on the third covariate.
        grids.append(np.array([0.0]))
        weights.append(np.array([1.0]))
    X = np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], axis=1)
    w = np.prod([g.ravel() for g in np.meshgrid(*weights, indexing="ij")], axis=0)
    pi, beta = law.pi(X), law.beta(X)
    if law.sd is None:
        p0, p1 = law.p(0.0, X), law.p(1.0, X)
        D = p1 * (1 - p1) - p0 * (1 - p0)
    else:
        D = np.full(len(X), law.sd[1] ** 2 - law.sd[0] ** 2)
    overlap = w * pi * (1 - pi) * D
    values = {
        "ATE": w @ beta,
        "overlap ATE": overlap @ beta / overlap.sum(),
        "direct effect of Z": w @ (law.h(1.0, X) - law.h(0.0, X)),
        "confounding covariance": w @ law.push(X) * law.pull / 3.0,
    }
    return pd.Series(values)
