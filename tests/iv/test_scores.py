"""Scores, their derivatives, the stacked system and score sets, on plain arrays."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from robuststat._core.moments import check_jacobian
from robuststat.iv._bases import Basis
from robuststat.iv._nuisances import Problem
from robuststat.iv._score_set import RatioMoments, score_set
from robuststat.iv._scores import keep_sign_away_from_zero
from robuststat.iv._stack import Stack

DERIVATIVE = 1e-8  # central differences of a smooth function
ALL = ("ate", "direct", "confounding", "overlap")


def problem(*, numeric=False, fixed=None, terms=False, weights=False, **options):
    rng = np.random.default_rng(3)
    n = 60
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 2))])
    z = (np.arange(n) % 2).astype(float)
    a = rng.standard_normal(n) if numeric else (rng.random(n) < 0.3 + 0.4 * z).astype(float)
    if fixed is not None:
        a[z == fixed] = 0.0
    main = Basis(("o", "x1", "x2"), X)
    crossed = Basis(("o", "x1", "x2", "Z", "Z:x1", "Z:x2"), X, crossed=True)
    if terms:
        one = np.column_stack([X, np.ones(n), X[:, 1] ** 2])
        zero = np.column_stack([X, np.zeros(n), np.zeros(n)])
        crossed = Basis(("o", "x1", "x2", "Z", "Z:x1**2"), zero, one)
    treatment, confounding, arms = crossed, main, (None, None)
    if fixed is not None:
        treatment, confounding = main, Basis((), np.empty((n, 0)))
        arms = (0.0, None) if fixed == 0 else (None, 0.0)
    return Problem(
        y=rng.standard_normal(n),
        a=a,
        z=z,
        weights=rng.uniform(0.5, 2.0, n) if weights else None,
        instrument=main,
        treatment=treatment,
        effect=main,
        direct=crossed,
        confounding=confounding,
        spread=treatment if numeric else None,
        scales={},
        fixed=arms,
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"targeted": True},
        {"weights": True},
        {"terms": True, "targeted": True},
        {"numeric": True},
        {"numeric": True, "targeted": True, "weights": True},
        {"fixed": 0},
        {"fixed": 1, "targeted": True},
        {"clip_pi": 0.45},
        {"min_abs_d": 0.1, "targeted": True},
    ],
    ids=str,
)
def test_derivative_of_the_stack(options):
    p = problem(**options)
    ridge = (np.full(p.instrument.size, 0.1), np.full(p.treatment.size, 0.2))
    summaries = tuple(s for s in ALL if not ("fixed" in options and s == "confounding"))
    stack = Stack(p, ridge, summaries)
    theta = 0.3 * np.random.default_rng(1).standard_normal(stack.n_moments)
    # D stays away from zero, where differences would be as rough as 1/D.
    place = stack.places()["treatment" if p.spread is None else "spread"]
    theta[place] *= 0.1
    first = [-1.8, 0.1, 0.1, 1.6][: place.stop - place.start]
    theta[place.start : place.start + len(first)] = first
    if "fixed" in options:
        theta[place.start] = 0.2
    assert check_jacobian(stack, theta) < DERIVATIVE
    whole = stack.scores(theta, slice(0, p.n_obs))
    assert_allclose(whole.mean(axis=0), stack.sums(theta)[0], atol=1e-12)
    assert_allclose(stack.scores(theta, slice(7, 20)), whole[7:20], atol=1e-14)


def test_bound_keeps_the_sign():
    D = np.array([-0.3, -0.001, 0.0, 0.002, 0.2])
    assert_allclose(keep_sign_away_from_zero(D, 0.01), [-0.3, -0.01, 0.01, 0.01, 0.2])
    assert keep_sign_away_from_zero(D, 0.0) is D


def moments(n, d, v):
    return RatioMoments(np.array([n, d]), np.array(v))


@pytest.mark.parametrize(
    ("parts", "kind", "rows"),
    [
        ((1.0, 1.0, [[0.01, 0.0], [0.0, 0.01]]), "interval", 1),
        ((1.0, 0.1, [[0.01, 0.0], [0.0, 0.01]]), "complement", 2),
        ((0.1, 0.1, [[0.01, 0.0], [0.0, 0.01]]), "line", 1),
    ],
)
def test_score_set_is_the_inverted_test(parts, kind, rows):
    from scipy.stats import chi2

    m = moments(*parts)
    found = score_set(m, 0.95)
    assert found.kind == kind
    assert len(found.limits) == rows
    t = np.linspace(-40, 40, 8001)
    statistic = (m.mean[0] - t * m.mean[1]) ** 2 / (
        m.vcov[0, 0] - 2 * t * m.vcov[0, 1] + t**2 * m.vcov[1, 1]
    )
    accepted = statistic <= chi2.ppf(0.95, 1)
    inside = np.zeros(t.size, bool)
    for low, high in found.limits:
        inside |= (t >= low) & (t <= high)
    assert (accepted == inside).all()
    # Bounded exactly when the denominator is significant.
    assert (kind == "interval") == (abs(m.strength) > np.sqrt(chi2.ppf(0.95, 1)))


def test_score_set_without_noise_and_at_the_edge():
    exact = score_set(moments(2.0, 1.0, [[0.0, 0.0], [0.0, 0.0]]), 0.95)
    assert_allclose(exact.limits, [[2.0, 2.0]])
    zero = score_set(moments(0.0, 1.0, [[0.0, 0.0], [0.0, 0.0]]), 0.95)
    assert_allclose(zero.limits, [[0.0, 0.0]])
    nothing = score_set(moments(0.0, 0.0, [[1.0, 0.0], [0.0, 0.0]]), 0.95)
    assert nothing.kind == "line"
    assert "every value" in nothing.words()
    ray = score_set(moments(1.0, 0.0, [[0.01, -0.01], [-0.01, 0.0]]), 0.95)
    assert np.isinf(ray.limits).sum() == 1
    two = score_set(moments(1.0, 0.1, [[0.01, 0.0], [0.0, 0.01]]), 0.95)
    assert " and " in two.words()
    assert "inf)" in two.words()
