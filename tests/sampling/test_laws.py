"""as_law: densities, transforms and draws of everything it reads, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robuststat import AdaptiveISCV, DataError, ParameterError, as_law
from robuststat.sampling._laws import check_law, is_law, read_laws

R = np.array([[1.0, 0.5], [0.5, 1.0]])
MARGINALS = [stats.lognorm(0.3, 1.0, 2.0), stats.gumbel_r(3.0, 2.0)]


class Library:
    """An object with the methods of OpenTURNS' distributions."""

    def getSample(self, n):  # noqa: N802
        return np.random.default_rng(0).normal(size=(n, 2)).tolist()

    def computeLogPDF(self, points):  # noqa: N802
        return [[float(v)] for v in stats.norm.logpdf(np.array(points)).sum(axis=1)]


LAWS = {
    "one": stats.expon(),
    "list": [*MARGINALS, stats.uniform(1.0, 2.0)],
    "dict": {"a": stats.norm(1.0, 2.0), "b": stats.beta(2.0, 3.0)},
    "copula": (MARGINALS, R),
    "normal": stats.multivariate_normal([1.0, 0.0], R),
    "t": stats.multivariate_t([0.0, 0.0], R, df=4),
    "pair": (lambda n, rng: rng.normal(size=(n, 2)), lambda X: stats.norm.logpdf(X).sum(axis=1)),
    "library": Library(),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name):
    law = as_law(LAWS[name])
    check_law(law, name)
    assert is_law(LAWS[name])
    assert as_law(law) is law
    X = law.rvs(300, np.random.default_rng(1))
    assert X.shape == (300, law.dim)
    assert len(law.names) == law.dim
    assert law.transforms == (name not in ("t", "pair", "library"))
    if law.transforms:
        np.testing.assert_allclose(law.from_normal(law.to_normal(X)), X, rtol=1e-9, atol=1e-9)
        # Change of variables: f(x) = phi(u) |du/dx|, by central differences.
        x, h = X[:1], 1e-6
        slope = [
            (law.to_normal(x + h * e) - law.to_normal(x - h * e))[0] / (2 * h)
            for e in np.eye(law.dim)
        ]
        log_det = np.linalg.slogdet(np.array(slope))[1]
        expected = stats.norm.logpdf(law.to_normal(x)).sum() + log_det
        np.testing.assert_allclose(law.logpdf(x)[0], expected, rtol=1e-5, atol=1e-6)
        many = law.to_normal(law.rvs(4000, np.random.default_rng(2)))
        assert stats.kstest(many.ravel(), "norm").pvalue > 1e-4
        np.testing.assert_allclose(np.corrcoef(many.T), np.eye(law.dim), atol=0.08)


def test_natural_coordinates():
    law = as_law(([stats.lognorm(0.3, 1.0, 2.0), stats.norm(1.0, 2.0)], R))
    natural = law.natural()
    X = law.rvs(20_000, np.random.default_rng(0))
    t = natural.transform(X)
    np.testing.assert_allclose(t.mean(axis=0), natural.mean, atol=0.06)
    np.testing.assert_allclose(np.cov(t.T), natural.covariance, rtol=0.05)
    assert np.isnan(natural.transform(np.array([[0.5, 0.0]]))[0, 0])
    assert as_law(MARGINALS).natural() is None
    assert law.logpdf(np.array([[0.5, 0.0]]))[0] == -np.inf
    assert law.logpdf(X).std() > 0
    reference = stats.multivariate_normal(natural.mean, natural.covariance).logpdf(t) - t[:, 0]
    np.testing.assert_allclose(law.logpdf(X), reference, rtol=1e-10, atol=1e-10)


def test_far_tails_keep_their_digits():
    law = as_law(stats.gumbel_r())
    z = np.array([[-6.0], [-1.0], [1.0], [8.0]])
    np.testing.assert_allclose(law.to_normal(law.from_normal(z)), z, rtol=1e-8)


def test_one_law_or_several():
    assert read_laws([stats.norm(), stats.norm()])[2] is False
    laws, names, several = read_laws({"a": [stats.norm()], "b": stats.expon()})
    assert (len(laws), names, several) == (2, ["a", "b"], True)
    assert read_laws([LAWS["normal"], LAWS["normal"]])[1:] == (None, True)


BAD = [
    (3, "law is 3, which is not understood"),
    (([stats.norm(), stats.norm()], np.eye(3)), r"symmetric \(2, 2\) matrix .* shape \(3, 3\)"),
    (([stats.norm(), stats.norm()], np.ones((2, 2))), "not positive definite"),
    (([stats.norm(), stats.poisson(2.0)], R), "continuous marginals; one is discrete"),
    (
        stats.multivariate_normal([0, 0], np.ones((2, 2)), allow_singular=True),
        "singular covariance",
    ),
    (stats.norm([0.0, 1.0]), r"parameters of shape \(2,\)"),
    (pd.DataFrame({"x": ["a", "b"]}), "columns that are no numbers"),
    (pd.DataFrame({"x": [1.0, np.nan]}), "2 rows, 1 of them with missing"),
]


@pytest.mark.parametrize(("law", "match"), BAD, ids=lambda v: str(v)[:30])
def test_refusals(law, match):
    with pytest.raises((ParameterError, DataError), match=match):
        as_law(law)


def test_law_that_contradicts_itself():
    pair = (lambda n, rng: rng.normal(size=(n, 1)), lambda X: np.where(X[:, 0] > 0, 0.0, -np.inf))
    with pytest.raises(DataError, match=r"law: logpdf is not finite at \d+ of 16"):
        AdaptiveISCV(1000).fit(lambda X: X[:, 0], pair)
    wide = (lambda n, rng: rng.normal(size=(n + 1, 1)), lambda X: X[:, 0])
    with pytest.raises(DataError, match=r"asked for 2 draws answered with shape \(3, 1\)"):
        as_law(wide)
    undefined = (
        lambda n, rng: rng.normal(size=(n, 1)),
        lambda X: np.where(np.abs(X[:, 0]) < 2.6, 0.0, np.nan),
    )
    with pytest.raises(DataError, match="logpdf is NaN at"):
        AdaptiveISCV(4000, random_state=0).fit(lambda X: X[:, 0] ** 2, undefined)
    with pytest.raises(ParameterError, match=r"The laws have dimensions \[1, 2\]"):
        AdaptiveISCV(1000).fit(lambda X: X[:, 0], [as_law(stats.norm()), LAWS["normal"]])


def test_library_objects_are_named_as_not_seeded():
    est = AdaptiveISCV(1000, random_state=0).fit(lambda X: X[:, 0] ** 2, Library())
    assert "its own library's generator" in str(est.summary()).replace("\n  ", " ")
    assert abs(est.estimate_[0] - 1.0) < 6 * est.std_error_[0]
