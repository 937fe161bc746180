"""PerturbedLawIndices: laws with a moment moved, and closed forms of the indices."""

from __future__ import annotations

import pickle
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

from robuststat import DataError, OverlapWarning, ParameterError, PerturbedLawIndices, as_law
from robuststat._core.errors import ConvergenceWarning
from robuststat.sampling._tilt import TiltedLaw, find_tilt, read_axes

mpl.use("Agg")
SIX = 6.0  # standard errors: each check fails by chance once in 1e8 runs
PAIR = {"a": stats.norm(), "b": stats.norm(2.0, 3.0)}
DELTAS = np.array([-1.0, -0.5, 0.5, 1.0])
COPULA = (
    {"n": stats.norm(1, 2), "u": stats.uniform(0, 1), "e": stats.expon()},
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]],
)


def margin(X):
    """Standard normal under PAIR, less 3."""
    return 3.0 - 0.6 * X[:, 0] - 0.8 * (X[:, 1] - 2.0) / 3.0


def probability(deltas):
    return np.concatenate([stats.norm.sf(3.0 - w * deltas) for w in (0.6, 0.8)])


def symmetric(new, p):
    return np.where(new > p, new / p - 1.0, 1.0 - p / new)


def assert_near(est, truth):
    z = (est.estimate_ - truth) / est.std_error_
    assert (np.abs(z) < SIX).all(), z


def test_probability_symmetric_form():
    est = PerturbedLawIndices(4000, target="probability", deltas=DELTAS, random_state=0)
    est.fit(margin, PAIR)
    p = stats.norm.sf(3.0)
    assert_near(est, symmetric(probability(DELTAS), p))
    assert abs(est.reference_ - p) < SIX * est.reference_std_error_
    assert list(est.tidy()["term"])[:2] == ["a[-1]", "a[-0.5]"]
    table = est.indices_
    assert list(table["input"]) == ["a"] * 4 + ["b"] * 4
    np.testing.assert_allclose(table["index"], symmetric(table["value"], est.reference_))
    np.testing.assert_allclose(est.targets_.estimate[1:], table["value"])
    assert (table["std_error"] > 0).all()
    assert est.khat_.shape == est.ess_.shape == (8,)


@pytest.mark.parametrize("form", ["relative", "difference"])
def test_other_forms_by_their_definition(form):
    est = PerturbedLawIndices(2000, target="probability", deltas=[0.5], form=form, random_state=0)
    est.fit(margin, PAIR)
    p, new = stats.norm.sf(3.0), probability(np.array([0.5]))
    assert_near(est, new / p - 1.0 if form == "relative" else new - p)


def test_standard_errors_by_numerical_derivatives():
    est = PerturbedLawIndices(2000, target="probability", deltas=[-0.5, 0.5], random_state=0)
    est.fit(margin, PAIR)
    answers = np.array(est.targets_.estimate)
    G = np.empty((4, 5))
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-6 * answers[j]
        up, down = (symmetric(x[1:], x[0]) for x in (answers + step, answers - step))
        G[:, j] = (up - down) / (2 * step[j])
    np.testing.assert_allclose(est.cov_, G @ est.targets_.vcov @ G.T, rtol=1e-6)


def test_mean_and_variance_of_the_law_are_moved():
    def model(X):
        return 5.0 + X[:, 0] ** 2 + X[:, 1]

    est = PerturbedLawIndices(4000, deltas=DELTAS, random_state=0).fit(model, PAIR)
    moved = np.concatenate([DELTAS**2, 3.0 * DELTAS])  # E a^2 grows by delta^2, E b by 3 delta
    assert_near(est, moved / 8.0)
    assert est.n_used_ == est.n_final_ == 4000
    var = PerturbedLawIndices(4000, moment="variance", deltas=[-0.5, 0.5], random_state=0)
    assert_near(var.fit(model, PAIR), np.array([-0.5, 0.5, 0.0, 0.0]) / 8.0)


@pytest.mark.parametrize("p", [0.99, 0.02])
def test_quantile(p):
    est = PerturbedLawIndices(
        4000,
        target="quantile",
        probability=p,
        form="difference",
        deltas=[-0.5, 0.5],
        random_state=0,
    ).fit(lambda X: -margin(X), PAIR)
    assert_near(est, np.array([-0.3, 0.3, -0.4, 0.4]))
    assert abs(est.reference_ - stats.norm.ppf(p) + 3.0) < SIX * est.reference_std_error_


@pytest.mark.parametrize("moment", ["mean", "variance"])
@pytest.mark.parametrize("column", range(3))
def test_tilted_law_has_its_moment_and_is_a_law(moment, column):
    law = as_law(COPULA)
    axes = read_axes(law)
    tilt = find_tilt(axes, column, 0.4 if moment == "mean" else -0.3, moment)
    axis, new = axes[column], TiltedLaw(law, axes, tilt)
    X = law.rvs(200_000, np.random.default_rng(0))
    ratio = np.exp(tilt.log_ratio(X, axes))
    t = (X[:, column] - axis.mean) / axis.sd
    n = len(X)
    powers = [(np.ones(n), 1.0)]
    powers += [(t, 0.4)] if moment == "mean" else [(t, 0.0), (t**2, 0.7)]
    for value, expected in powers:
        v = ratio * value
        assert abs(v.mean() - expected) < SIX * v.std() / np.sqrt(n)
    # Its own draws agree with reweighted ones, also in the inputs that depend on it.
    Z = new.rvs(100_000, np.random.default_rng(1))
    for j in range(3):
        for f in (np.sin, np.cos):
            a, b = ratio * f(X[:, j]), f(Z[:, j])
            se = np.hypot(a.std() / np.sqrt(n), b.std() / np.sqrt(len(b)))
            assert abs(a.mean() - b.mean()) < SIX * se
    np.testing.assert_allclose(new.logpdf(X[:9]), law.logpdf(X[:9]) + np.log(ratio[:9]))


def test_tilts_in_closed_form():
    axes = read_axes(as_law([stats.norm(1, 2), stats.expon(0, 3)]))
    np.testing.assert_allclose([axes[0].mean, axes[0].sd], [1.0, 2.0], atol=1e-10)
    np.testing.assert_allclose([axes[1].mean, axes[1].sd], [3.0, 3.0], rtol=1e-5)
    mean = find_tilt(axes, 0, 0.7, "mean")
    np.testing.assert_allclose([*mean.coef, mean.psi], [0.7, 0.245], atol=1e-9)
    variance = find_tilt(axes, 0, 0.5, "variance")
    np.testing.assert_allclose(variance.coef, [0.0, 0.5 * (1 - 1 / 1.5)], atol=1e-9)
    # Exponential with mean (1 + delta) theta: exp(x (1 - 1/(1 + delta)) / theta).
    np.testing.assert_allclose(find_tilt(axes, 1, 0.5, "mean").coef, 1 - 1 / 1.5, rtol=1e-4)
    log_mass = axes[0].log_mass + mean.coef[0] * axes[0].unit - mean.psi
    np.testing.assert_allclose(logsumexp(log_mass), 0.0, atol=1e-12)


def test_multivariate_normal_and_chosen_inputs():
    cov = [[1.0, 0.5], [0.5, 4.0]]
    law = stats.multivariate_normal([1.0, 0.0], cov)
    est = PerturbedLawIndices(4000, inputs=["x2"], deltas=[1.0], random_state=0)
    est.fit(lambda X: X[:, 0] + 3.0, law)
    # x2 up by its sd 2 takes E x1 up by 0.5/4 * 2.
    assert_near(est, np.array([0.25 / 4.0]))
    by_position = PerturbedLawIndices(4000, inputs=[1], deltas=[1.0], random_state=0)
    np.testing.assert_array_equal(
        by_position.fit(lambda X: X[:, 0] + 3.0, law).estimate_, est.estimate_
    )


def test_reproducible_whoever_runs_it_and_sample_kept():
    options = {"target": "probability", "deltas": [0.5], "random_state": 3}
    one = PerturbedLawIndices(1500, keep_sample=True, **options).fit(margin, PAIR)
    two = PerturbedLawIndices(1500, n_jobs=2, backend="threading", batch_size=100, **options)
    three = PerturbedLawIndices(1500, batch_size=100, **options).fit(margin, PAIR)
    np.testing.assert_array_equal(two.fit(margin, PAIR).estimate_, three.estimate_)
    assert one.log_weights_.shape == (one.n_final_, 3)
    values = np.exp(one.log_weights_) * (margin(one.X_) <= 0)[:, None]
    np.testing.assert_allclose(values.mean(axis=0), one.targets_.estimate)
    assert str(pickle.loads(pickle.dumps(one)).summary()) == str(one.summary())


def test_joint_intervals_and_picture():
    est = PerturbedLawIndices(2000, deltas=DELTAS, random_state=0)
    est.fit(lambda X: 5.0 + X[:, 0], PAIR)
    joint, alone = est.confint(kind="simultaneous"), est.confint()
    assert (joint["conf_low"] < alone["conf_low"]).all()
    ax = est.plot_indices()
    assert ax.get_xlabel() == "Mean moved by (standard deviations)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    # Through the origin: an unperturbed law moves nothing.
    assert all(line.get_ydata()[2] == 0.0 for line in ax.get_lines()[:2])
    var = PerturbedLawIndices(2000, moment="variance", deltas=[0.5], random_state=0)
    ax = var.fit(lambda X: 5.0 + X[:, 0], PAIR).plot_indices(kind="pointwise")
    assert ax.get_xlabel() == "Variance moved by (share)"


def test_heavy_weights_are_told():
    est = PerturbedLawIndices(300, target="probability", deltas=[3.0], random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(lambda X: -X[:, 0] + 1.0, PAIR)
    kinds = {one.category for one in caught}
    assert kinds & {OverlapWarning, ConvergenceWarning}
    assert "deltas" in " ".join(str(est.summary()).split())


LOGNORMAL = [stats.lognorm(0.5), stats.norm()]
BAD = [
    ({"deltas": [0.0]}, PAIR, ParameterError, "without 0"),
    ({"deltas": []}, PAIR, ParameterError, "deltas must be"),
    ({"deltas": [0.5, 0.5]}, PAIR, ParameterError, "deltas must be"),
    ({"deltas": "up"}, PAIR, ParameterError, "deltas must be"),
    ({"deltas": [-1.0], "moment": "variance"}, PAIR, ParameterError, "has to be positive"),
    ({"inputs": ["c"]}, PAIR, ParameterError, "inputs has 'c'; the law has a, b"),
    ({"inputs": [7]}, PAIR, ParameterError, "inputs has 7"),
    ({"inputs": ["a", "a"]}, PAIR, ParameterError, "inputs must be"),
    ({"target": "median"}, PAIR, ParameterError, "target must be one of"),
    ({}, LOGNORMAL, ParameterError, "without exponential moments"),
    ({"deltas": [2.0]}, [stats.uniform(), stats.norm()], ParameterError, "cannot be reached"),
    ({}, pd.DataFrame({"a": [1.0, 2.0]}), ParameterError, "needs the marginal laws"),
    ({}, None, ParameterError, "takes a function and a law"),
    ({}, [stats.poisson(3), stats.norm()], ParameterError, "needs the marginal laws"),
    ({"form": "symmetric"}, PAIR, DataError, "needs positive answers"),
]


@pytest.mark.parametrize(("options", "law", "error", "words"), BAD, ids=lambda v: str(v)[:30])
def test_refusals(options, law, error, words):
    with pytest.raises(error, match=words):
        PerturbedLawIndices(500, random_state=0, **options).fit(lambda X: X[:, 0] - 5.0, law)


@pytest.mark.parametrize("target", ["mean", "probability", "quantile"])
def test_one_output_only(target):
    with pytest.raises((DataError, ParameterError), match="outputs"):
        PerturbedLawIndices(500, target=target, random_state=0).fit(lambda X: X, PAIR)


@pytest.mark.parametrize("target", ["mean", "probability"])
def test_runs_that_fail_are_told(target):
    def broken(X):
        return np.where(X[:, 1] > 8.0, np.nan, margin(X))

    with pytest.raises(DataError, match="NaN or infinite"):
        PerturbedLawIndices(800, target=target, random_state=0).fit(broken, PAIR)
    est = PerturbedLawIndices(800, target=target, random_state=0, on_error="nan_drop")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(broken, PAIR)
    assert "runs failed" in " ".join(str(est.summary()).split())
