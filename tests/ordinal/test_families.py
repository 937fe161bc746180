"""Likelihoods of the four ordinal families: probabilities, derivatives, thresholds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from robuststat._core.moments import numerical_jacobian
from robuststat.ordinal._families import (
    FAMILIES,
    class_probabilities,
    make_family,
    row_terms,
    start_thresholds,
)
from robuststat.ordinal._links import LINKS
from robuststat.ordinal._newton import maximise
from robuststat.ordinal._slabs import (
    Layout,
    class_scores,
    likelihood_sums,
    log_likelihood,
    make_slabs,
)
from robuststat.ordinal._structure import threshold_jacobian

K, N = 4, 120
MODELS = [(name, link, reverse) for name in FAMILIES for link in LINKS for reverse in (False, True)]


def predictors():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.uniform(0.3, 1.2, size=(K - 1, 9)), axis=0) - 2.0


@pytest.mark.parametrize(("name", "link", "reverse"), MODELS)
def test_probabilities_and_derivatives(name, link, reverse):
    family, D = make_family(name, link, reverse), predictors()
    p = class_probabilities(family, D.T)
    assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    for code in range(K):
        touched = list(family.touched(code, K))
        terms = row_terms(family, code, K, D[touched])
        assert_allclose(np.exp(terms.loglik), p[:, code], rtol=1e-10)
        h = 1e-4
        for a, k in enumerate(touched):
            up, down = D.copy(), D.copy()
            up[k] += h
            down[k] -= h
            plus, minus = (row_terms(family, code, K, part[touched]) for part in (up, down))
            slope = (plus.loglik - minus.loglik) / (2 * h)
            assert_allclose(terms.gradient[a], slope, rtol=1e-5, atol=1e-6)
            for b in range(a, len(touched)):
                curve = -(plus.gradient[b] - minus.gradient[b]) / (2 * h)
                found = terms.information.get((a, b), np.zeros(9))
                assert_allclose(found, curve, rtol=1e-5, atol=1e-5)


# Which probability the link stands for, computed from the class probabilities.
DEFINED = {
    ("cumulative", False): lambda p, k: (p[:, : k + 1].sum(1), 1),
    ("cumulative", True): lambda p, k: (p[:, k + 1 :].sum(1), -1),
    ("stopping", False): lambda p, k: (p[:, k] / p[:, k:].sum(1), 1),
    ("stopping", True): lambda p, k: (p[:, k + 1] / p[:, : k + 2].sum(1), -1),
    ("continuation", False): lambda p, k: (p[:, k + 1 :].sum(1) / p[:, k:].sum(1), -1),
    ("continuation", True): lambda p, k: (p[:, : k + 1].sum(1) / p[:, : k + 2].sum(1), 1),
    ("adjacent", False): lambda p, k: (p[:, k + 1] / p[:, k : k + 2].sum(1), -1),
    ("adjacent", True): lambda p, k: (p[:, k] / p[:, k : k + 2].sum(1), 1),
}


@pytest.mark.parametrize("key", DEFINED, ids=str)
def test_definitions(key):
    D = predictors()
    p = class_probabilities(make_family(key[0], "cloglog", key[1]), D.T)
    for k in range(K - 1):
        value, sign = DEFINED[key](p, k)
        assert_allclose(value, 1.0 - np.exp(-np.exp(sign * D[k])), rtol=1e-10)


def rows(layout):
    rng = np.random.default_rng(1)
    X, codes = rng.normal(size=(N, 4)), rng.integers(0, K, N)
    return make_slabs(
        X,
        codes,
        layout,
        weights=rng.uniform(0.5, 2.0, N),
        offset=0.1 * rng.normal(size=N),
        centre=X.mean(axis=0),
        unit=1.3 * X.std(axis=0),
    )


@pytest.mark.parametrize("kind", ["flexible", "symmetric", "equidistant"])
@pytest.mark.parametrize("scale", [[], [1, 2]], ids=["plain", "scaled"])
@pytest.mark.parametrize("varying", [[], [0, 3]], ids=["parallel", "partial"])
@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("cumulative", "logit"),
        ("cumulative", "cauchit"),
        ("stopping", "probit"),
        ("adjacent", "cloglog"),
    ],
)
def test_sums_are_derivatives(name, link, varying, scale, kind):
    common = np.setdiff1d(np.arange(4), varying)
    J, _ = threshold_jacobian(kind, K - 1)
    layout = Layout(
        make_family(name, link, False), K, common, np.array(varying, int), np.array(scale, int), J
    )
    slabs = rows(layout)
    theta = np.linalg.lstsq(J, np.array([-1.0, 0.1, 1.2]), rcond=None)[0]
    rest = 0.03 * np.random.default_rng(2).normal(size=layout.n_params - theta.size)
    phi = np.concatenate([theta, rest])
    loglik, gradient, info = likelihood_sums(layout, slabs, phi)
    assert_allclose(log_likelihood(layout, slabs, phi), loglik, rtol=1e-12)
    numeric = numerical_jacobian(lambda t: np.array([log_likelihood(layout, slabs, t)]), phi)[0]
    assert_allclose(gradient, numeric, atol=1e-5)
    curve = numerical_jacobian(lambda t: likelihood_sums(layout, slabs, t)[1], phi)
    assert_allclose(info, -curve, atol=1e-5)
    values, psi = class_scores(layout, slabs, phi)
    assert_allclose(psi.sum(axis=0), gradient, atol=1e-10)
    assert_allclose(values.sum(), loglik, rtol=1e-12)


@pytest.mark.parametrize(("name", "link", "reverse"), MODELS)
def test_start_is_the_model_without_covariates(name, link, reverse):
    counts = np.array([30.0, 20.0, 45.0, 5.0])
    family = make_family(name, link, reverse)
    p = class_probabilities(family, start_thresholds(family, counts)[None, :])
    assert_allclose(p[0], counts / 100.0, rtol=1e-10)


def test_far_tails_are_finite():
    D = np.array([[30.0, -700.0, 36.0], [30.0 + 1e-9, -699.0, 37.0]])
    for link in ("logit", "probit", "cauchit"):
        found = row_terms(make_family("cumulative", link, False), 1, 3, D[:, ::2])
        for part in (found.loglik, *found.gradient, *found.information.values()):
            assert np.isfinite(part).all()


def test_newton_climbs_where_the_surface_is_not_concave():
    def sums(x):
        value = float(-np.log1p((x[0] - 3.0) ** 2))
        gap = 1.0 + (x[0] - 3.0) ** 2
        gradient = -2.0 * (x - 3.0) / gap
        info = 2.0 / gap - 4.0 * (x[0] - 3.0) ** 2 / gap**2
        return value, gradient, np.array([[info]])

    found = maximise(sums, np.array([-4.0]))
    assert found.convergence.converged
    assert_allclose(found.phi, 3.0, atol=1e-8)


def test_newton_says_when_it_stops_early():
    def sums(x):
        return float(x[0]), np.ones(1), np.array([[1e-3]])

    found = maximise(sums, np.zeros(1), max_iter=3)
    assert not found.convergence.converged
    assert "3 iterations" in found.convergence.message
