"""Links: differences of probabilities and derivatives, in the middle and in the tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from robuststat.ordinal._links import LINKS, get_link, interval_terms, log1mexp
from robuststat.ordinal._predict import isotonic_rows

# F and f of every link from another library.
PEERS = {
    "logit": stats.logistic,
    "probit": stats.norm,
    "loglog": stats.gumbel_r,
    "cloglog": stats.gumbel_l,
    "cauchit": stats.cauchy,
}
INTERVALS = [(1.0, 0.0), (-3.0, -4.5), (2.5, -2.0), (3.2, 3.1), (np.inf, 2.0), (-1.0, -np.inf)]


@pytest.mark.parametrize("name", LINKS)
def test_functions_equal_scipy(name):
    link, peer = get_link(name), PEERS[name]
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(link.cdf(x), peer.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(link.sf(x), peer.sf(x), rtol=1e-12)
    np.testing.assert_allclose(link.logcdf(x), peer.logcdf(x), rtol=1e-9)
    np.testing.assert_allclose(link.logsf(x), peer.logsf(x), rtol=1e-9)
    np.testing.assert_allclose(link.logpdf(x), peer.logpdf(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        link.cdf(link.quantile(np.array([0.01, 0.5, 0.9]))), [0.01, 0.5, 0.9]
    )
    h = 1e-6
    numeric = (link.logpdf(x + h) - link.logpdf(x - h)) / (2 * h)
    np.testing.assert_allclose(link.slope(x), numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(("a", "b"), INTERVALS)
def test_interval_equals_the_integral_of_the_density(name, a, b):
    link = get_link(name)
    with np.errstate(over="ignore"):
        area = integrate.quad(PEERS[name].pdf, b, a, epsabs=1e-14)[0]
    found = interval_terms(link, np.array([a]), np.array([b]))
    assert found.log_p[0] == pytest.approx(np.log(area), rel=1e-6)
    h, parts = 1e-5, {}
    for part, (da, db) in {"upper": (h, 0), "lower": (0, h)}.items():
        ends = [
            interval_terms(link, np.array([a + s * da]), np.array([b + s * db])) for s in (1, -1)
        ]
        slope = (ends[0].log_p - ends[1].log_p)[0] / (2 * h)
        parts[part] = 0.0 if np.isinf(a if part == "upper" else b) else slope
        assert getattr(found, part)[0] == pytest.approx(parts[part], rel=1e-4, abs=1e-7)
        second = -(getattr(ends[0], part) - getattr(ends[1], part))[0] / (2 * h)
        assert getattr(found, f"{part}2")[0] == pytest.approx(second, rel=1e-4, abs=1e-6)
    if np.isfinite(a) and np.isfinite(b):
        ends = [interval_terms(link, np.array([a + s * h]), np.array([b])) for s in (1, -1)]
        mixed = (ends[0].lower - ends[1].lower)[0] / (2 * h)
        assert found.cross[0] == pytest.approx(mixed, rel=1e-4, abs=1e-6)


def test_tails_keep_their_precision():
    a, b = np.array([38.0, -37.0, 1e-9]), np.array([37.0, -38.0, 0.0])
    logit = get_link("logit").log_interval(a, b)
    exact = -37.0 + np.log(-np.expm1(-1.0))
    np.testing.assert_allclose(logit[:2], exact, rtol=1e-12)
    assert logit[2] == pytest.approx(np.log(0.25e-9), rel=1e-12)
    probit = get_link("probit").log_interval(a[:2], b[:2])
    np.testing.assert_allclose(probit, stats.norm.logsf(37.0), rtol=1e-9)
    cauchit = get_link("cauchit").log_interval(np.array([2e8]), np.array([1e8]))
    assert cauchit[0] == pytest.approx(np.log(0.5e-8 / np.pi), rel=1e-9)


@pytest.mark.parametrize("name", LINKS)
def test_crossing_boundaries_have_no_probability(name):
    found = interval_terms(get_link(name), np.array([0.0, 1.0]), np.array([0.5, 1.0]))
    assert (found.log_p == -np.inf).all()
    assert not found.upper.any()
    assert not found.upper2.any()


def test_log1mexp():
    x = np.array([1e-12, 0.5, 0.7, 50.0])
    exact = [np.log(1e-12), np.log(-np.expm1(-0.5)), np.log1p(-np.exp(-0.7)), -np.exp(-50.0)]
    np.testing.assert_allclose(log1mexp(x), exact, rtol=1e-12)
    assert log1mexp(np.array([0.0]))[0] == -np.inf


def test_isotonic_rows_equal_scipy():
    from scipy.optimize import isotonic_regression

    rows = expit(np.random.default_rng(0).normal(size=(50, 6)))
    expected = np.array([isotonic_regression(row).x for row in rows])
    np.testing.assert_allclose(isotonic_rows(rows), expected, atol=1e-12)
