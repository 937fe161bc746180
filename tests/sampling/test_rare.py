"""FailureProbability and OutputQuantile: known probabilities, and every edge."""

from __future__ import annotations

import pickle
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robuststat import (
    DataError,
    FailureProbability,
    OutputQuantile,
    OverlapWarning,
    ParameterError,
)
from robuststat._core.errors import ConvergenceWarning
from robuststat.sampling._density import log_sum_exp
from robuststat.sampling._events import read_thresholds, tail_events
from robuststat.sampling._quantiles import tail_quantile, weighted_quantile
from robuststat.sampling._tail_fit import Frame, fit_tails, law_frame, steepest
from robuststat.simulation import make_failure_modes, make_rare_event

mpl.use("Agg")
SIX = 6.0  # standard errors: each check fails by chance once in 1e8 runs
PAIR = {"a": stats.norm(), "b": stats.norm()}


def margin(X):
    return 3.0 - X.sum(axis=1) / np.sqrt(X.shape[1])


P3 = stats.norm.sf(3.0)


def assert_near(est, truth):
    z = (est.estimate_ - truth) / est.std_error_
    assert (np.abs(z) < SIX).all(), z


@pytest.mark.parametrize(
    ("event", "dim"), [("linear", 10), ("linear", 50), ("parabola", 2), ("four_branches", 2)]
)
def test_known_probabilities(event, dim):
    data = make_rare_event(event, dim)
    est = FailureProbability(4000, random_state=3).fit(data.func, data.law)
    assert_near(est, data.probability)
    assert est.std_error_[0] < 0.15 * data.probability
    assert est.reached_.all()
    assert est.levels_[0] == 0.0
    assert est.n_used_ == 4000
    assert est.space_ == "normal"
    assert list(est.tidy()["term"]) == ["g1 <= 0"]


OPTIONS = [
    {},
    {"sampler": "rqmc"},
    {"space": "physical"},
    {"defensive": 0.0},
    {"defensive": 0.5},
    {"learn_fraction": 0.3},
    {"learn_fraction": 0.8},
    {"n_batches": 3},
    {"start": [stats.norm(1.0, 1.5), stats.norm(1.0, 1.5)]},
    {"batch_size": 100, "n_jobs": 2, "backend": "threading"},
    {"vectorized": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ", ".join(o) or "default")
def test_every_option_estimates_the_same(options):
    func = margin if options.get("vectorized", True) else (lambda row: margin(row[None, :])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverlapWarning)
        est = FailureProbability(2000, random_state=0, **options).fit(func, PAIR)
    assert_near(est, P3)
    assert est.n_used_ <= 2000
    share = options.get("defensive", 0.05)
    np.testing.assert_allclose(est.alpha_.sum(), 1.0 - share)


def test_four_causes_and_their_union():
    data = make_failure_modes()
    est = FailureProbability(4000, union=True, random_state=0).fit(data.func, data.law)
    assert_near(est, np.append(data.probabilities, data.probability))
    assert list(est.tidy()["term"])[-1] == "any"
    assert est.alpha_.shape == (4,)
    assert est.components_.means.shape == (4, 2)
    # The union is not the sum of independent estimates: their covariance is used.
    gap = est.contrast({"any": 1.0, "g1 <= 0": -1.0})
    assert abs(gap.estimate[0] - data.probability + data.probabilities[0]) < SIX * gap.std_error[0]


@pytest.mark.parametrize("thresholds", [[1.0, 0.0, -0.5], [[1.0, 0.0, -0.5]]])
def test_several_thresholds_of_one_output(thresholds):
    est = FailureProbability(4000, thresholds=thresholds, random_state=0).fit(margin, PAIR)
    assert_near(est, stats.norm.sf([2.0, 3.0, 3.5]))
    assert list(est.diagnostics_.index) == ["g1 <= 1", "g1 <= 0", "g1 <= -0.5"]


def test_frame_names_the_events_and_thresholds_pair_with_outputs():
    def model(X):
        return pd.DataFrame({"left": 3.0 + X[:, 0], "right": 5.0 - X[:, 0]})

    est = FailureProbability(2000, thresholds=[0.0, 2.0], random_state=0).fit(model, PAIR)
    assert list(est.tidy()["term"]) == ["left <= 0", "right <= 2"]
    assert_near(est, [P3, P3])


def test_laws_of_other_kinds():
    beta = [stats.beta(2, 3), stats.expon()]
    est = FailureProbability(3000, random_state=1).fit(lambda X: 8.0 - X[:, 1], beta)
    assert_near(est, np.exp(-8.0))
    rows = stats.multivariate_normal(np.zeros(2), np.eye(2))
    pair = (lambda n, rng: rng.normal(size=(n, 2)), rows.logpdf)
    est = FailureProbability(3000, random_state=1).fit(margin, pair)
    assert est.space_ == "physical"
    assert_near(est, P3)
    bounded = FailureProbability(2000, random_state=1).fit(
        lambda X: X.max(axis=1), [stats.uniform(-0.001, 1.0)] * 2
    )
    assert_near(bounded, 1e-6)


def test_events_that_are_not_rare():
    est = FailureProbability(1000, thresholds=[0.0, 3.0], random_state=0).fit(
        lambda X: X[:, 0], PAIR
    )
    assert_near(est, stats.norm.cdf([0.0, 3.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverlapWarning)
        sure = FailureProbability(1000, random_state=0).fit(lambda X: np.full(len(X), -1.0), PAIR)
    assert abs(sure.estimate_[0] - 1.0) < SIX * sure.std_error_[0] + 1e-9


def test_never_a_silent_zero():
    impossible = FailureProbability(1000, random_state=0)
    with pytest.raises(DataError, match=r"smallest output while learning 1\)"):
        impossible.fit(lambda X: np.ones(len(X)), PAIR)
    # One of two events is out of reach: it has no estimate, and that is said.
    data = make_rare_event("linear", 50)
    est = FailureProbability(1200, thresholds=[1.0, -4.0], random_state=0)
    with pytest.warns(ConvergenceWarning):
        est.fit(data.func, data.law)
    assert np.isnan(est.estimate_[1])
    assert np.isnan(est.std_error_[1])
    assert list(est.tidy()["term"]) == ["g1 <= 1"]
    assert not est.converged_
    assert "levels did not reach 1 of 2 events" in " ".join(str(est.summary()).split())
    assert "No run of the final sample met g1 <= -4" in " ".join(str(est.summary()).split())
    assert "no probability of zero" in " ".join(str(est.summary()).split())


def test_runs_do_not_depend_on_who_runs_them(tmp_path):
    one = FailureProbability(1500, random_state=5, keep_sample=True).fit(margin, PAIR)
    two = FailureProbability(1500, random_state=5, n_jobs=2, backend="threading").fit(margin, PAIR)
    np.testing.assert_array_equal(one.estimate_, two.estimate_)
    path = tmp_path / "runs"
    FailureProbability(1500, random_state=5, checkpoint=path).fit(margin, PAIR)
    again = FailureProbability(1500, random_state=5, checkpoint=path).fit(margin, PAIR)
    assert again.n_runs_ == 0
    np.testing.assert_array_equal(one.estimate_, again.estimate_)
    # What is kept is the sample the estimate is made of.
    assert one.X_.shape == (one.n_final_, 2)
    np.testing.assert_allclose(one.Y_[:, 0], margin(one.X_))
    plain = np.mean(np.exp(one.log_weights_[:, 0]) * (one.Y_[:, 0] <= 0))
    assert abs(plain - one.estimate_[0]) < 5 * one.std_error_[0]
    copy = pickle.loads(pickle.dumps(one))
    assert str(copy.summary()) == str(one.summary())


def test_runs_that_fail():
    def broken(X):
        y = margin(X)
        return np.where(X[:, 0] > 3.2, np.nan, y)

    with pytest.raises(DataError, match="NaN or infinite"):
        FailureProbability(1500, random_state=0).fit(broken, PAIR)
    est = FailureProbability(1500, random_state=0, on_error="nan_drop").fit(broken, PAIR)
    assert est.n_failed_ > 0
    assert f"{est.n_failed_} runs failed" in str(est.summary())
    q = OutputQuantile(1500, probabilities=0.01, random_state=0, on_error="nan_drop")
    assert q.fit(broken, PAIR).n_failed_ > 0


def test_progress_is_called_back():
    calls = []
    FailureProbability(
        1000, random_state=0, callback=lambda done, total: calls.append((done, total))
    ).fit(margin, PAIR)
    assert calls[-1] == (1000, 1000)


BAD = [
    ({"n_budget": 30}, PAIR, ParameterError, "learning batches of 3 runs.*n_budget >= 60"),
    ({"thresholds": [1.0, 2.0]}, PAIR, ParameterError, r"shape \(2,\) and func returns 3 outputs"),
    ({"thresholds": [[1.0, 1.0]] * 3}, PAIR, ParameterError, "equal values for the same output"),
    ({"thresholds": np.nan}, PAIR, ParameterError, "thresholds must be a finite number"),
    ({"thresholds": "low"}, PAIR, ParameterError, "thresholds must be a finite number"),
    ({"thresholds": [np.arange(40.0)] * 3}, PAIR, ParameterError, "120 events"),
    ({}, [PAIR, PAIR], ParameterError, "under one law; got 2"),
    ({}, None, ParameterError, "takes a function and a law"),
    ({}, {"a": stats.poisson(3), "b": stats.norm()}, ParameterError, "no density"),
    ({"sampler": "sobol"}, PAIR, ParameterError, "sampler must be one of"),
    ({"learn_fraction": 0.0}, PAIR, ParameterError, "learn_fraction must be"),
    ({"n_budget": 50, "n_batches": 2}, PAIR, ParameterError, "3 expectations; at least 60"),
    ({"checkpoint": "x"}, PAIR, ParameterError, "random_state to be an integer"),
]


@pytest.mark.parametrize(("options", "law", "error", "words"), BAD, ids=lambda v: str(v)[:30])
def test_refusals(options, law, error, words):
    options = {"n_budget": 1000} | options
    with pytest.raises(error, match=words):
        FailureProbability(**options).fit(lambda X: np.column_stack([X, X[:, 0]]), law)


def test_outputs_of_the_wrong_shape():
    with pytest.raises(DataError, match="shape"):
        FailureProbability(1000).fit(lambda X: 1.0, PAIR)


def test_intervals_and_pictures():
    est = FailureProbability(2000, random_state=0).fit(margin, PAIR)
    log = est.log_confint()
    ratio = np.exp(stats.norm.ppf(0.975) * est.std_error_ / est.estimate_)
    np.testing.assert_allclose(log["conf_high"], est.estimate_ * ratio)
    np.testing.assert_allclose(log["conf_low"], est.estimate_ / ratio)
    assert est.plot_levels().get_ylabel() == "Level of the output"
    assert est.plot_weights().get_xlabel() == "Tail index k-hat"
    many = FailureProbability(2000, thresholds=np.linspace(0, 2, 8), random_state=0)
    assert many.fit(margin, PAIR).plot_levels().get_legend() is None
    beta = est.transform_estimate(lambda p: -stats.norm.ppf(p), names=["beta"])
    assert abs(beta.estimate[0] - 3.0) < SIX * beta.std_error[0]
    assert {"ess_events", "relative_error"} <= set(est.to_frame())


def test_levels_fall_and_stay():
    data = make_failure_modes()
    est = FailureProbability(4000, random_state=0).fit(data.func, data.law)
    levels = est.history_.filter(like="level[").iloc[1:].to_numpy()
    assert (np.diff(levels, axis=0) <= 0).all()
    assert (levels >= 0).all()
    assert est.history_["level[g1 <= 0]"].isna().iloc[0]
    assert (est.history_["used"].diff().dropna() == 400).all()


def test_densities_of_an_event():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(6000, 2))
    U = np.vstack([U, rng.normal(size=(6000, 2)) * 3.0])
    far = np.abs(U[:, 0]) > 2.5  # two parts
    frame = law_frame(U, np.ones(len(U)), True)
    log_w = np.where(far, stats.norm.logpdf(U).sum(axis=1), -np.inf)[:, None]
    found = fit_tails(U, log_w, frame, rng, np.zeros((1, 2)))
    assert found.n == 1
    np.testing.assert_allclose(found.weight.sum(), 1.0)
    assert len(found.weight) >= 5  # two kernels, their twins, the ring
    grid = np.linspace(-12, 12, 481)
    mesh = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    total = np.exp(log_sum_exp(found.log_density(mesh))).sum() * (grid[1] - grid[0]) ** 2
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    both = np.sign(found.means[np.abs(found.means[:, 0]) > 1.5, 0])
    assert set(both) == {-1.0, 1.0}


def test_direction_of_descent_is_free_of_monotone_transformations():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 20))
    direction = np.arange(20.0) / np.linalg.norm(np.arange(20.0))
    y = X @ direction
    found = steepest(X, np.ones((500, 2)), np.column_stack([-y, np.exp(-3 * y)]), _unit(20))
    np.testing.assert_allclose(found[0], found[1])
    assert found[0] @ direction > 0.99
    flat = steepest(X, np.ones((500, 1)), np.full((500, 1), 2.0), _unit(20))
    assert np.isfinite(flat).all()


def _unit(d):
    return Frame(np.zeros(d), np.eye(d))


def test_frame_of_the_law_from_weighted_points():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3)) * [1.0, 10.0, 0.01] + [5.0, 0.0, 1.0]
    unit = law_frame(X, np.ones(4000), False).to_unit(X)
    np.testing.assert_allclose(unit.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(unit.T, bias=True), np.eye(3), atol=1e-5)


def test_events_are_read():
    events = read_thresholds([1.0, 2.0], ["u", "v"], 2, True)
    Y = np.array([[0.0, 3.0], [2.0, 2.0], [5.0, 5.0]])
    hit = events.indicators(events.values(Y), events.threshold)
    np.testing.assert_array_equal(hit, [[1, 0, 1], [0, 1, 1], [0, 0, 0]])
    tails = tail_events(np.array([0.05, 0.9]), [], 1)
    np.testing.assert_allclose(tails.tail, [0.05, 0.1])
    np.testing.assert_array_equal(tails.sign, [1, -1])
    values = tails.values(np.arange(100.0)[:, None])
    np.testing.assert_allclose(tails.targets(values, np.ones(100)) * tails.sign, [4, 90])


def test_weighted_quantile_against_counting():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=400), rng.gamma(2.0, size=400)
    for p in (0.01, 0.1, 0.4):
        q = weighted_quantile(values, weights, p)
        assert (weights * (values <= q)).mean() >= p
        assert (weights * (values < q)).mean() < p
    assert weighted_quantile(np.array([3.0, 1.0, 2.0]), np.ones(3), 1.0) == 3.0


def test_tail_quantile_is_what_its_words_say():
    rng = np.random.default_rng(2)
    values, weights = rng.normal(size=5000), np.ones(5000)
    found = tail_quantile(values, weights, 0.05, 1.96)
    tail = values[values <= found.value]
    assert len(tail) == 250
    np.testing.assert_allclose(found.mean, tail.mean())
    se = np.sqrt(0.05 * 0.95 / 4999)
    np.testing.assert_allclose(
        [(values <= end).mean() for end in (found.low, found.high)],
        [0.05 - 1.96 * se, 0.05 + 1.96 * se],
        atol=2e-4,
    )
    # Its standard error is near the textbook's sqrt(p (1-p)) / density.
    got = found.influence.std() / np.sqrt(5000)
    np.testing.assert_allclose(got, np.sqrt(0.05 * 0.95 / 5000) / stats.norm.pdf(-1.645), rtol=0.25)
    few = tail_quantile(values[:20], weights[:20], 0.01, 1.96)
    assert few.low == -np.inf


def test_quantiles_and_superquantiles():
    p = np.array([0.001, 0.95, 0.999])
    est = OutputQuantile(4000, probabilities=p[::-1], random_state=0, keep_sample=True)
    est.fit(lambda X: X.sum(axis=1) / np.sqrt(2), PAIR)
    q = stats.norm.ppf(p)
    beyond = np.where(p > 0.5, stats.norm.pdf(q) / (1 - p), -stats.norm.pdf(q) / p)
    assert_near(est, np.concatenate([q, beyond]))
    terms = [f"q[{x:g}]" for x in p] + [f"sq[{x:g}]" for x in p]
    assert list(est.tidy()["term"]) == terms
    table = est.intervals_
    assert (
        (table["conf_low"] < table["estimate"]) & (table["estimate"] < table["conf_high"])
    ).all()
    half = (table["conf_high"] - table["conf_low"]) / 2
    np.testing.assert_allclose(half / stats.norm.ppf(0.975), est.std_error_[:3], rtol=1e-2)
    assert est.Y_.shape == (est.n_final_, 1)
    assert est.log_weights_.shape == (est.n_final_, 1)
    assert est.khat_.shape == (3,)


def test_quantiles_of_several_outputs():
    est = OutputQuantile(3000, probabilities=[0.99], superquantile=False, random_state=0)
    est.fit(lambda X: pd.DataFrame({"u": X[:, 0], "v": 2 * X[:, 1]}), PAIR)
    assert list(est.tidy()["term"]) == ["u:q[0.99]", "v:q[0.99]"]
    assert_near(est, stats.norm.ppf(0.99) * np.array([1.0, 2.0]))


@pytest.mark.parametrize("p", [0.0, 1.0, [0.5, 0.5], "high", [], [[0.5]]])
def test_probabilities_are_checked(p):
    with pytest.raises(ParameterError, match="probabilities must be"):
        OutputQuantile(1000, probabilities=p).fit(margin, PAIR)
