"""Designs against large full-gold fits; the Monte Carlo runner against hand-computed numbers."""

import builtins
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch
from statsmodels.discrete.discrete_model import Logit, Poisson
from statsmodels.regression.linear_model import OLS

from robuststat import simulation
from robuststat._core.errors import ParameterError
from robuststat.simulation import (
    draw_labels,
    make_predicted_covariate,
    make_surrogate_linear,
    make_surrogate_logit,
    make_surrogate_poisson,
    make_surrogate_prevalence,
    monte_carlo,
)

LARGE = 200_000
# A correct value lies outside this many standard errors with probability 6e-5.
BOUND = 4.0
DESIGNS = ["srs", "bernoulli", "stratified", "unequal"]
MAKERS = {
    "linear": make_surrogate_linear,
    "logit": make_surrogate_logit,
    "poisson": make_surrogate_poisson,
    "prevalence": make_surrogate_prevalence,
    "covariate": make_predicted_covariate,
    "covariate-logit": partial(make_predicted_covariate, model="logit"),
    "linear-poor": partial(make_surrogate_linear, surrogate="poor"),
    "poisson-poor": partial(make_surrogate_poisson, surrogate="poor"),
}
MODELS = {"linear": OLS, "logit": Logit, "poisson": Poisson}
# Table 3 of the reference: prevalence, accuracy, bias (one class against the rest of several)
TABLE_3 = {
    "misinfo": (1 / 2, 0.776, 0.090),
    "emotion": (1 / 6, 1 - 2 * (1 - 0.703) / 6, 0.020),
    "figurative": (1 / 4, 1 - 2 * (1 - 0.640) / 4, 0.055),
    "power": (1 / 2, 0.608, 0.266),
    "toxic": (1 / 2, 0.566, 0.348),
}


def with_intercept(X):
    return np.column_stack([np.ones(len(X)), X])


def fit(model, y, X):
    result = MODELS[model](np.asarray(y), with_intercept(X))
    return result.fit() if model == "linear" else result.fit(disp=False)


def z_scores(model, draw, y, X):
    result = fit(model, y, X)
    return (result.params - draw.truth.to_numpy()) / result.bse


def equal(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key])


# ---------------------------------------------------------------- designs


@pytest.mark.parametrize("surrogate", ["biased", "poor"])
@pytest.mark.parametrize("model", ["linear", "poisson"])
def test_truth_of_linear_and_poisson(model, surrogate):
    draw = MAKERS[model](LARGE, surrogate=surrogate, random_state=1)
    assert np.abs(z_scores(model, draw, draw.y_gold, draw.X)).max() < BOUND
    # surrogate labels give another answer, far beyond sampling error
    assert np.abs(z_scores(model, draw, draw.prediction, draw.X)).max() > 20


def test_surrogates_of_the_linear_design_are_as_stated():
    for surrogate, coef, sd in [
        ("biased", [0.5, 0.8, 0.0, 0.4], 0.4),
        ("poor", [0.0, 0.3, 0.5, 0.0], 1.5),
    ]:
        draw = make_surrogate_linear(LARGE, surrogate=surrogate, random_state=2)
        Z = np.column_stack([draw.y_gold, draw.X["x1"], draw.X["x1"] > 0])
        result = OLS(draw.prediction, with_intercept(Z)).fit()
        assert np.abs((result.params - coef) / result.bse).max() < BOUND
        assert np.sqrt(result.scale) == pytest.approx(sd, rel=0.01)


def test_surrogate_counts_have_the_stated_means():
    draw = make_surrogate_poisson(LARGE, random_state=3)
    Z = np.column_stack([draw.y_gold, draw.X["x1"] > 0])
    result = OLS(draw.prediction, with_intercept(Z)).fit(cov_type="HC0")
    assert np.abs((result.params - [0.5, 0.8, 0.4]) / result.bse).max() < BOUND
    poor = make_surrogate_poisson(LARGE, surrogate="poor", random_state=3)
    invented = poor.prediction - 0.3 * poor.y_gold - np.exp(0.5 * poor.X["x1"].to_numpy())
    assert abs(invented.mean()) < BOUND * invented.std() / np.sqrt(LARGE)
    for counts in [draw.y_gold, draw.prediction, poor.prediction]:
        assert (counts == np.round(counts)).all()
        assert counts.min() >= 0


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 1.0])
def test_logit_truth_accuracy_and_differential_errors(accuracy):
    draw = make_surrogate_logit(LARGE, accuracy=accuracy, random_state=4)
    assert np.abs(z_scores("logit", draw, draw.y_gold, draw.X)).max() < BOUND
    right = draw.prediction == draw.y_gold
    bound = BOUND * 0.5 / np.sqrt(LARGE / 2)
    assert right.mean() == pytest.approx(accuracy, abs=bound)
    above = draw.X["x1"].to_numpy() > 0
    assert right[above].mean() == pytest.approx(1 - 1.8 * (1 - accuracy), abs=bound)
    assert right[~above].mean() == pytest.approx(1 - 0.2 * (1 - accuracy), abs=bound)
    if accuracy < 1:
        assert np.abs(z_scores("logit", draw, draw.prediction, draw.X)).max() > 20


@pytest.mark.parametrize("row", TABLE_3)
def test_prevalence_meets_accuracy_and_bias_of_each_row_of_table_3(row):
    prevalence, accuracy, bias = TABLE_3[row]
    options = {"prevalence": prevalence, "accuracy": accuracy, "bias": bias}
    draw = make_surrogate_prevalence(LARGE, random_state=5, **options)
    # exactly, in the population
    a, b = draw.sensitivity, draw.specificity
    assert prevalence * a + (1 - prevalence) * b == pytest.approx(accuracy, abs=1e-12)
    assert prevalence * a + (1 - prevalence) * (1 - b) == pytest.approx(
        prevalence + bias, abs=1e-12
    )
    # and in a large sample
    bound = BOUND * 0.5 / np.sqrt(LARGE)
    assert draw.y_gold.mean() == pytest.approx(prevalence, abs=bound)
    assert draw.prediction.mean() == pytest.approx(prevalence + bias, abs=bound)
    assert (draw.prediction == draw.y_gold).mean() == pytest.approx(accuracy, abs=bound)
    assert draw.truth.to_dict() == {"prevalence": prevalence}


@pytest.mark.parametrize("model", ["linear", "logit"])
def test_predicted_covariate(model):
    draw = make_predicted_covariate(LARGE, 20_000, model=model, random_state=6)
    assert np.abs(z_scores(model, draw, draw.y, draw.X_gold)).max() < BOUND
    naive = draw.X_gold.assign(x1=draw.prediction)
    assert np.abs(z_scores(model, draw, draw.y, naive)).max() > 20
    assert draw.predicted == "x1"
    np.testing.assert_array_equal(draw.X["x1"].notna(), draw.labeled)
    pd.testing.assert_frame_equal(draw.X[draw.labeled], draw.X_gold[draw.labeled])
    np.testing.assert_array_equal(draw.y, draw.y_gold)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("design", DESIGNS)
def test_every_draw_is_complete_and_repeatable(name, design):
    maker = partial(MAKERS[name], n=1000, n_labeled=140, design=design, n_clusters=30)
    draw = maker(random_state=7)
    equal(draw, maker(random_state=7))
    equal(draw, maker(random_state=np.random.default_rng(7)))
    equal(draw, maker(random_state=np.random.SeedSequence(7)))
    assert (draw.prediction != maker(random_state=8).prediction).any()
    assert draw.labeled.dtype == bool
    assert (draw.y_gold == draw.y)[draw.labeled].all()
    if not name.startswith("covariate"):
        np.testing.assert_array_equal(np.isfinite(draw.y), draw.labeled)
    assert np.isfinite(draw.y_gold).all()
    assert ((draw.sample_prob > 0) & (draw.sample_prob <= 1)).all()
    assert draw.sample_prob.sum() == pytest.approx(140)
    if design in ("srs", "stratified"):
        assert draw.labeled.sum() == 140
    else:  # independent draws
        sd = np.sqrt(np.sum(draw.sample_prob * (1 - draw.sample_prob)))
        assert 0 < abs(draw.labeled.sum() - 140) < BOUND * sd
    assert ("strata" in draw) == (design == "stratified")
    assert np.bincount(draw.clusters).tolist() == [34 if i % 3 == 0 else 33 for i in range(30)]


@pytest.mark.parametrize("name", MAKERS)
def test_default_number_of_labels(name):
    maker = MAKERS[name]
    expected = 100 if name == "prevalence" else 50
    assert maker(n=500, random_state=0).labeled.sum() == expected
    by = "x2" if name.startswith("covariate") else "x1"
    for design in ["unequal", "stratified"]:
        draw = maker(n=2000, n_labeled=None, design=design, random_state=0)
        column = draw.get("X_gold", draw.X)[by]
        if design == "unequal":
            np.testing.assert_array_equal(draw.sample_prob, np.where(column > 0, 0.2, 0.08))
        else:
            np.testing.assert_array_equal(draw.strata, column > 0)
            assert np.bincount(draw.strata, draw.labeled).tolist() == [80, 200]


def test_clusters_keep_the_distribution_and_add_correlation():
    kwargs = {"n": LARGE, "n_clusters": 2000, "random_state": 9}
    linear = make_surrogate_linear(**kwargs)
    index = 0.3 + linear.X.to_numpy() @ [0.5, -0.4, 0.2]
    for values in [linear.X["x1"].to_numpy(), linear.y_gold - index]:
        assert values.std() == pytest.approx(1, abs=0.03)
        # variance of a mean of 100 values with correlation 0.3
        means = np.bincount(linear.clusters, values) / 100
        assert means.var() == pytest.approx(0.3 + 0.7 / 100, rel=0.15)
    for model, maker in [("logit", make_surrogate_logit), ("poisson", make_surrogate_poisson)]:
        draw = maker(**kwargs)
        robust = MODELS[model](draw.y_gold, with_intercept(draw.X)).fit(
            disp=False, cov_type="cluster", cov_kwds={"groups": draw.clusters}
        )
        assert np.abs((robust.params - draw.truth.to_numpy()) / robust.bse).max() < BOUND
        plain = fit(model, draw.y_gold, draw.X)
        assert (robust.bse[:2] > 2 * plain.bse[:2]).all()
    assert make_surrogate_prevalence(**kwargs).y_gold.mean() == pytest.approx(0.5, abs=0.04)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("design", DESIGNS)
def test_labelling_probabilities_are_true(design):
    n = 30
    options = {
        "stratified": {"strata": np.repeat(["a", "b"], [20, 10]), "n_labeled": {"a": 4, "b": 6}},
        "unequal": {"prob": np.linspace(0.1, 1, n), "n_labeled": None},
    }.get(design, {"n_labeled": 10})
    rng = np.random.default_rng(10)
    draws = [draw_labels(n, design=design, random_state=rng, **options) for _ in range(4000)]
    share = np.mean([draw.labeled for draw in draws], axis=0)
    prob = draws[0].sample_prob
    z = (share - prob) / np.sqrt(np.maximum(prob * (1 - prob), 1e-12) / 4000)
    assert np.abs(z).max() < BOUND
    if design == "stratified":
        assert {tuple(np.add.reduceat(draw.labeled, [0, 20])) for draw in draws} == {(4, 6)}


def test_strata_share_labels_by_size():
    strata = np.repeat([3, 1, 2], [50, 25, 26])
    draw = draw_labels(101, 10, design="stratified", strata=strata, random_state=0)
    assert [int(draw.labeled[strata == level].sum()) for level in (3, 1, 2)] == [5, 2, 3]
    np.testing.assert_allclose(draw.sample_prob, np.repeat([5 / 50, 2 / 25, 3 / 26], [50, 25, 26]))


def test_unequal_probabilities_are_scaled():
    prob = np.array([1.0, 2.0, 3.0, 4.0])
    draw = draw_labels(4, 2, design="unequal", prob=prob, random_state=0)
    np.testing.assert_allclose(draw.sample_prob, prob / 5)
    np.testing.assert_array_equal(prob, [1.0, 2.0, 3.0, 4.0])
    everyone = draw_labels(7, 7, design="unequal", prob=np.full(7, 0.1), random_state=0)
    assert everyone.labeled.all()
    assert everyone.sample_prob.max() <= 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: draw_labels(0, 1), "n must be an integer of at least 1; got 0"),
        (lambda: draw_labels(10, 11), "n_labeled .* at least 1 and at most 10; got 11"),
        (lambda: draw_labels(10, 2.5), "n_labeled .* got 2.5"),
        (lambda: draw_labels(10, True), "n_labeled .* got True"),
        (lambda: draw_labels(10), "n_labeled .* got None"),
        (lambda: draw_labels(10, 2, design="quota"), "design must be one of 'srs', .*'quota'"),
        (lambda: draw_labels(10, 2, design="stratified"), "strata is missing. Pass strata"),
        (lambda: draw_labels(10, 2, strata=[0] * 10), "strata is given. Drop strata"),
        (lambda: draw_labels(10, 2, design="bernoulli", prob=[0.1] * 10), "prob is given"),
        (lambda: draw_labels(10, 2, design="unequal"), "prob is missing"),
        (lambda: draw_labels(10, 2, design="stratified", strata=[0]), r"strata has shape \(1,\)"),
        (
            lambda: draw_labels(3, {"a": 1}, design="stratified", strata=list("aab")),
            r"names the strata \['a'\], but strata holds \['a', 'b'\]",
        ),
        (
            lambda: draw_labels(3, {"a": 3, "b": 1}, design="stratified", strata=list("aab")),
            r"n_labeled\['a'\] must be .* at most 2; got 3",
        ),
        (
            lambda: draw_labels(9, 1, design="stratified", strata=list("aaaaaaaab")),
            "n_labeled=1 leaves no label for the stratum 'b'",
        ),
        (lambda: draw_labels(2, design="unequal", prob=[0.5]), r"prob has shape \(1,\)"),
        (
            lambda: draw_labels(2, design="unequal", prob=[0.5, 1.5]),
            r"prob has 1 values above 1 \(first 1.5 at row 1\)",
        ),
        (
            lambda: draw_labels(3, 1, design="unequal", prob=[0.5, 0, np.nan]),
            r"prob has 2 values that are not positive and finite \(first 0 at row 1\)",
        ),
        (
            lambda: draw_labels(2, 2, design="unequal", prob=[0.1, 0.9]),
            "above 1 after scaling to n_labeled=2",
        ),
        (lambda: make_surrogate_linear(n=-1), "n must be an integer of at least 1; got -1"),
        (lambda: make_surrogate_linear(surrogate="good"), "surrogate must be one of 'biased'"),
        (lambda: make_surrogate_linear(design="quota"), "design must be one of"),
        (lambda: make_surrogate_linear(n_labeled=0, design="stratified"), "n_labeled .* got 0"),
        (lambda: make_surrogate_linear(n_clusters=0), "n_clusters .* got 0"),
        (lambda: make_surrogate_poisson(surrogate=None), "surrogate must be one of"),
        (lambda: make_surrogate_logit(accuracy=0.4), r"accuracy must lie in \[0.5, 1.0\]; got 0.4"),
        (lambda: make_surrogate_prevalence(prevalence=1), r"prevalence must lie in \(0.0, 1.0\)"),
        (
            lambda: make_surrogate_prevalence(accuracy=0.9, bias=0.3),
            "sensitivity 1.200 and specificity 0.600, which must lie in",
        ),
        (
            lambda: make_predicted_covariate(model="probit"),
            "model must be one of 'linear', 'logit'",
        ),
    ],
)
def test_bad_arguments_of_designs(call, match):
    with pytest.raises(ParameterError, match=match):
        call()


# ---------------------------------------------------------------- published numbers


def ols_hc1(y, X):
    result = OLS(y, with_intercept(X)).fit(cov_type="HC1")
    return result.params, result.bse


def design_adjusted(draw):
    """Regress the surrogate plus the weighted correction on X, without any learner."""
    weight = draw.labeled / draw.sample_prob
    weight *= weight.size / weight.sum()
    error = np.where(draw.labeled, draw.y_gold - draw.prediction, 0.0)
    return ols_hc1(draw.prediction + weight * error, draw.X)


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("biased", {"gold": [0.070, 0.071], "adjusted": [0.039, 0.058]}),
        ("poor", {"gold": [0.070, 0.071], "adjusted": [0.115, None]}),
    ],
)
def test_linear_design_has_the_spread_recorded_in_the_specification(surrogate, expected):
    result = monte_carlo(
        partial(make_surrogate_linear, n=2000, n_labeled=200, surrogate=surrogate),
        {
            "gold": lambda draw: ols_hc1(draw.y[draw.labeled], draw.X[draw.labeled]),
            "adjusted": design_adjusted,
        },
        n_rep=400,
        random_state=11,
    )
    table = result.table.set_index(["estimator", "term"])
    assert (table["bias"].abs() < BOUND * table["bias_mcse"]).all()
    for name, (intercept, slopes) in expected.items():
        rows = table.loc[name]
        # the recorded numbers are rounded to 3 decimals and come from 1500 repetitions themselves
        error = BOUND * rows["sd_mcse"] * np.sqrt(1 + 400 / 1500) + 0.0005
        assert rows["sd"].iloc[0] == pytest.approx(intercept, abs=error.iloc[0])
        if slopes is not None:
            assert rows["sd"].iloc[1:].mean() == pytest.approx(slopes, abs=error.iloc[1:].mean())
    gold = table.loc["gold"]
    assert (np.abs(gold["coverage"] - 0.943) < BOUND * gold["coverage_mcse"]).all()


def share(values):
    p = np.nanmean(values)
    return p, np.sqrt(p * (1 - p) / np.sum(~np.isnan(values)))


def test_prevalence_design_gives_the_first_row_of_table_3():
    result = monte_carlo(
        make_surrogate_prevalence,
        {"SO": lambda draw: share(draw.prediction), "GSO": lambda draw: share(draw.y)},
        n_rep=800,
        random_state=12,
    )
    table = result.table.set_index("estimator")
    assert table.loc["SO", "bias"] == pytest.approx(0.09, abs=BOUND * table.loc["SO", "bias_mcse"])
    assert table.loc["SO", "coverage"] < 0.05
    assert table.loc["GSO", "rmse"] == pytest.approx(
        0.05, abs=BOUND * table.loc["GSO", "rmse_mcse"]
    )
    assert table.loc["GSO", "coverage"] == pytest.approx(0.948, abs=0.035)


# ---------------------------------------------------------------- the runner

TERMS = ["a", "b"]


def functions_for_workers():
    """Nested functions travel to workers by value: those need not be able to import this file."""

    def normal_design(random_state):
        rng = np.random.default_rng(random_state)
        truth = pd.Series([1.0, -2.0], index=TERMS)
        return Bunch(z=truth + rng.standard_normal(2) * [1.0, 0.5], truth=truth)

    def pair(draw):
        return np.asarray(draw.z), np.array([1.0, 0.25])

    def random_fit(draw):
        return np.random.default_rng(draw.random_state).normal(size=2) + draw.z, [1.0, 1.0]

    def failing(draw):
        if draw.z["a"] > 1:
            raise ZeroDivisionError("no labels")
        return pair(draw)

    def nan_answer(draw):
        return pair(draw)[0], [np.nan, 1.0] if draw.z["a"] > 1 else [1.0, 1.0]

    return normal_design, pair, random_fit, failing, nan_answer


normal_design, pair, random_fit, failing, nan_answer = functions_for_workers()


class Result:
    """What a result of the package offers to the runner, and no more."""

    names = ("b", "a")

    def __init__(self, draw):
        self.estimate = np.array([draw.z["b"], draw.z["a"]])
        self.std_error = np.array([0.5, 1.0])

    def confint(self, level=0.95):
        half = {0.95: 1.0, 0.5: 0.1}[level]
        bounds = {"conf_low": self.estimate - half, "conf_high": self.estimate + half}
        return pd.DataFrame(bounds, index=list(self.names))


class Fitted:
    def __init__(self, draw):
        self.result_ = Result(draw)


def test_measures_are_what_their_names_say():
    result = monte_carlo(normal_design, pair, 50, random_state=13, level=0.9)
    assert repr(result) == "MonteCarloResult(n_rep=50, estimators=['estimator'])"
    e = result.estimates["estimator"] - [1.0, -2.0]
    assert e.shape == (50, 2)
    s = result.std_errors["estimator"]
    np.testing.assert_array_equal(s, np.tile([1.0, 0.25], (50, 1)))
    covered = np.mean(np.abs(e) <= 1.6448536269514722 * s, axis=0)
    sd = e.std(axis=0, ddof=1)
    rmse = np.sqrt((e**2).mean(axis=0))
    expected = pd.DataFrame(
        {
            "estimator": "estimator",
            "term": TERMS,
            "truth": [1.0, -2.0],
            "bias": e.mean(axis=0),
            "sd": sd,
            "mean_se": [1.0, 0.25],
            "se_ratio": [1.0, 0.25] / sd,
            "rmse": rmse,
            "coverage": covered,
            "n_failed": 0,
            "bias_mcse": sd / np.sqrt(50),
            "sd_mcse": sd / np.sqrt(98),
            "mean_se_mcse": 0.0,
            "se_ratio_mcse": [1.0, 0.25] / sd / np.sqrt(98),
            "rmse_mcse": (e**2).std(axis=0, ddof=1) / (2 * rmse * np.sqrt(50)),
            "coverage_mcse": np.sqrt(covered * (1 - covered) / 50),
        }
    )
    pd.testing.assert_frame_equal(result.table, expected)
    assert result.failures.empty
    assert (result.n_rep, result.level) == (50, 0.9)
    with pytest.raises(AttributeError):
        result.level = 0.5


def noisy_mean(draw):
    return draw.x.mean(), draw.x.std(ddof=1) / np.sqrt(draw.x.size)


def exponential_design(random_state):
    return {"x": np.random.default_rng(random_state).exponential(size=30), "truth": 1.0}


def test_monte_carlo_errors_are_calibrated():
    tables = [
        monte_carlo(exponential_design, noisy_mean, 200, random_state=seed).table.iloc[0]
        for seed in range(60)
    ]
    frame = pd.DataFrame(tables)
    for name in ["bias", "sd", "mean_se", "se_ratio", "rmse", "coverage"]:
        # a standard deviation from 60 values has a relative error of 9 %
        ratio = frame[f"{name}_mcse"].astype(float).mean() / frame[name].astype(float).std()
        assert 0.7 < ratio < 1.4, name


@pytest.mark.parametrize("fake", [Fitted, Result])
def test_results_of_the_package_are_read_by_name(fake):
    both = monte_carlo(normal_design, {"pair": pair, "fake": fake}, 20, random_state=14)
    table = both.table.set_index(["estimator", "term"])
    assert list(table.loc["fake"].index) == ["b", "a"]
    np.testing.assert_array_equal(both.estimates["fake"][:, ::-1], both.estimates["pair"])
    for measure in ["truth", "bias", "rmse"]:
        a, b = table.loc["fake", measure], table.loc["pair", measure]
        pd.testing.assert_series_equal(a[TERMS], b[TERMS])
    # the interval is the result's own, at the level asked for
    error = both.estimates["fake"] - [-2.0, 1.0]
    np.testing.assert_allclose(table.loc["fake", "coverage"], (np.abs(error) <= 1).mean(axis=0))
    narrow = monte_carlo(normal_design, fake, 20, level=0.5, random_state=14).table
    np.testing.assert_allclose(narrow["coverage"], (np.abs(error) <= 0.1).mean(axis=0))


def test_other_forms_of_answers():
    def four(draw):
        return (*pair(draw), [-np.inf, -2.0], [np.inf, np.inf])

    def mapping(draw):
        estimate, std_error = pair(draw)
        return {"estimate": estimate, "std_error": std_error}

    def named(draw):
        return {**mapping(draw), "names": TERMS, "conf_low": [0, 0], "conf_high": [0, 0]}

    def series(draw):
        return draw.z, pd.Series([1.0, 0.25], index=TERMS)

    functions = {f.__name__: f for f in [four, mapping, named, series]}
    result = monte_carlo(normal_design, functions, 10, random_state=15)
    table = result.table.set_index(["estimator", "term"])
    assert table.loc["four", "coverage"].tolist() == [1.0, 1.0]
    assert table.loc["named", "coverage"].tolist() == [0.0, 0.0]
    for name in functions:
        np.testing.assert_array_equal(result.estimates[name], result.estimates["mapping"])


@pytest.mark.parametrize(
    ("truth", "terms"),
    [
        ({"b": -2.0, "a": 1.0, "unused": 9.0}, ["b", "a"]),
        (pd.Series({"b": -2.0, "a": 1.0}), ["b", "a"]),
        ([-2.0, 1.0], ["b", "a"]),
    ],
)
def test_truth_may_be_passed(truth, terms):
    table = monte_carlo(normal_design, Result, 5, truth=truth, random_state=16).table
    assert table["term"].tolist() == terms
    assert table["truth"].tolist() == [-2.0, 1.0]


def test_names_of_terms():
    unnamed = monte_carlo(normal_design, pair, 5, truth=[1.0, -2.0], random_state=0)
    assert unnamed.table["term"].tolist() == ["term0", "term1"]

    def single(draw):
        return {"estimate": 0.5, "std_error": 0.1, "names": ["mean"]}

    design = partial(make_surrogate_prevalence, n=50, n_labeled=10)
    assert monte_carlo(design, single, 2).table["term"].tolist() == ["prevalence"]
    assert monte_carlo(design, single, 2, truth=0.5).table["term"].tolist() == ["mean"]


def test_truth_may_differ_between_draws():
    def design(random_state):
        target = random_state.normal()
        return {"truth": target, "estimate": target + 0.1}

    result = monte_carlo(design, lambda draw: (draw.estimate, 0.2), 20, random_state=17)
    row = result.table.iloc[0]
    assert row["bias"] == pytest.approx(0.1)
    assert row["sd"] == pytest.approx(0, abs=1e-12)
    assert row["coverage"] == 1
    assert row["truth"] == pytest.approx(result.estimates["estimator"].mean() - 0.1)


def test_same_seed_same_answer_for_any_number_of_workers():
    functions = {"pair": pair, "random": random_fit}
    run = partial(monte_carlo, normal_design, functions, 12)
    one, two = run(random_state=18, n_jobs=1), run(random_state=18, n_jobs=2)
    pd.testing.assert_frame_equal(one.table, two.table)
    equal(one.estimates, two.estimates)
    sequence = np.random.SeedSequence(18)
    equal(one.estimates, run(random_state=sequence).estimates)
    equal(one.estimates, run(random_state=sequence).estimates)
    assert (one.estimates["pair"] != run(random_state=19).estimates["pair"]).all()
    # each repetition has its own numbers, and more repetitions keep the first ones
    assert len(np.unique(one.estimates["random"])) == 24
    more = monte_carlo(normal_design, functions, 20, random_state=18)
    np.testing.assert_array_equal(more.estimates["random"][:12], one.estimates["random"])
    generator = np.random.default_rng(18)
    first, second = run(random_state=generator), run(random_state=generator)
    assert (first.estimates["pair"] != second.estimates["pair"]).all()
    equal(first.estimates, run(random_state=np.random.default_rng(18)).estimates)
    assert (run().estimates["pair"] != run().estimates["pair"]).all()


def test_a_seed_set_by_the_design_stays():
    def design(random_state):
        return {"truth": 0.0, "random_state": 77}

    result = monte_carlo(design, lambda draw: (draw["random_state"], 1.0), 3)
    assert (result.estimates["estimator"] == 77).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_failures_stop_by_default(n_jobs):
    with pytest.raises(ZeroDivisionError, match="no labels") as caught:
        monte_carlo(normal_design, {"bad": failing}, 20, random_state=20, n_jobs=n_jobs)
    assert "estimator 'bad' in repetition" in caught.value.__notes__[0]
    with pytest.raises(ArithmeticError, match=r"not finite: estimator 'estimator', repetition \d"):
        monte_carlo(normal_design, nan_answer, 20, random_state=20, n_jobs=n_jobs)


def test_failures_are_counted_listed_and_warned_about():
    functions = {"bad": failing, "nan": nan_answer, "good": pair}
    with pytest.warns(UserWarning, match=r"out of 20: \{'bad': \d+, 'nan': \d+\}") as caught:
        result = monte_carlo(normal_design, functions, 20, errors="count", random_state=20)
    assert len(caught) == 1
    failed = result.estimates["good"][:, 0] > 1
    table = result.table.set_index("estimator")
    assert 0 < failed.sum() < 20
    assert (table["n_failed"] == [failed.sum()] * 4 + [0] * 2).all()
    for name in ["bad", "nan"]:
        rows = result.failures[result.failures["estimator"] == name]
        assert rows["repetition"].tolist() == np.flatnonzero(failed).tolist()
        assert np.isnan(result.estimates[name][failed]).all()
        assert np.isnan(result.std_errors[name][failed]).all()
        kept = result.estimates["good"][~failed]
        np.testing.assert_array_equal(result.estimates[name][~failed], kept)
        np.testing.assert_allclose(table.loc[name, "bias"], kept.mean(axis=0) - [1.0, -2.0])
    first = int(np.flatnonzero(failed)[0])
    message = "ZeroDivisionError: no labels"
    assert result.failures.iloc[0].tolist() == ["bad", first, message]
    text = str(result)
    assert f"{2 * failed.sum()} failures left out; first: bad, repetition {first}: " in text


def test_one_answer_left_has_no_spread():
    def once(draw):
        if draw.z["a"] < largest:
            raise ValueError("too small")
        return pair(draw)

    largest = (
        monte_carlo(normal_design, pair, 10, random_state=3).estimates["estimator"][:, 0].max()
    )
    with pytest.warns(UserWarning, match="without an answer"):
        result = monte_carlo(normal_design, once, 10, errors="count", random_state=3)
    row = result.table.iloc[0]
    assert row["n_failed"] == 9
    assert np.isnan(row[["sd", "se_ratio", "bias_mcse", "sd_mcse", "rmse_mcse"]].to_list()).all()
    assert np.isfinite(row[["bias", "rmse", "mean_se", "coverage"]].to_list()).all()


def test_str_is_a_table_of_the_measures():
    text = str(monte_carlo(normal_design, {"one": pair, "two": Result}, 10, random_state=21))
    lines = text.splitlines()
    assert lines[0] == "Monte Carlo: 10 repetitions, intervals at level 0.95"
    assert lines[1].split() == [
        "estimator", "term", "truth", "bias", "sd", "mean_se", "se_ratio", "rmse", "coverage",
        "n_failed",
    ]  # fmt: skip
    assert [line.split()[:3] for line in lines[2:6]] == [
        ["one", "a", "1.0000"],
        ["one", "b", "-2.0000"],
        ["two", "b", "-2.0000"],
        ["two", "a", "1.0000"],
    ]
    assert lines[6].startswith("Largest Monte Carlo standard error: bias 0.")
    assert len(lines) == 7


def test_progress_bar(capsys):
    plain = monte_carlo(normal_design, pair, 4, random_state=22)
    assert capsys.readouterr().err == ""
    shown = monte_carlo(normal_design, pair, 4, random_state=22, progress=True)
    assert "monte_carlo: 100%" in capsys.readouterr().err
    equal(plain.estimates, shown.estimates)


def test_progress_without_tqdm_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    with pytest.raises(ImportError, match=r'pip install "robuststat\[progress\]"'):
        monte_carlo(normal_design, pair, 4, progress=True)


def unstable(draw):
    names = TERMS if draw.z["a"] > 1 else TERMS[::-1]
    return {"estimate": [0, 0], "std_error": [1, 1], "names": names}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_rep": 1}, "n_rep must be an integer of at least 2; got 1"),
        ({"level": 1.0}, r"level must lie in \(0.0, 1.0\); got 1.0"),
        ({"errors": "ignore"}, "errors must be one of 'raise', 'count'; got 'ignore'"),
        ({"estimator": {}}, "must be a callable or a mapping of names to callables; got {}"),
        ({"estimator": 3}, "Wrap an estimator"),
        ({"estimator": {"a": 3}}, "must be a callable or a mapping"),
        ({"design": lambda random_state: [1]}, "design must return a mapping .* got list"),
        ({"design": lambda random_state: {"z": 1}}, r"no truth: design returned the keys \['z'\]"),
        ({"estimator": lambda draw: 1.0}, "estimator 'estimator' returned float. Return a fitted"),
        ({"estimator": lambda draw: (1, 2, 3)}, "returned tuple. Return"),
        ({"estimator": lambda draw: {"estimate": 1}}, "returned dict. Return"),
        (
            {"estimator": lambda draw: {"estimate": 1, "std_error": 1, "conf_low": 0}},
            "returned dict. Return",
        ),
        (
            {"estimator": lambda draw: ([1, 2], [1])},
            r"tuple with parts of shapes \[\(1,\), \(2,\)\]",
        ),
        ({"estimator": lambda draw: ([[1]], [[1]])}, r"tuple with parts of shapes \[\(1, 1\)\]"),
        ({"estimator": lambda draw: (1, 2)}, "returned 1 estimates, but the truth has 2 values"),
        (
            {"estimator": Result, "truth": {"a": 1, "c": 2}},
            r"estimates \['b'\], of which the truth",
        ),
        ({"estimator": unstable}, "different terms in different repetitions"),
    ],
)
@pytest.mark.parametrize("errors", ["raise", "count"])
def test_bad_arguments_of_the_runner(options, match, errors):
    arguments = {
        "design": normal_design,
        "estimator": pair,
        "n_rep": 20,
        "errors": errors,
        "random_state": 23,
    }
    with pytest.raises(ParameterError, match=match):
        monte_carlo(**{**arguments, **options})


def test_names_must_be_as_many_as_estimates():
    def wrong(draw):
        return {"estimate": [1.0, 2.0], "std_error": [1.0, 1.0], "names": ["a"]}

    with pytest.raises(ParameterError, match="1 names for 2 estimates"):
        monte_carlo(normal_design, wrong, 2)


def test_an_estimator_that_never_answers():
    def never(draw):
        raise ParameterError("of its own")

    with pytest.raises(ArithmeticError, match=r"failed in every .*: ParameterError: of its own"):
        monte_carlo(normal_design, never, 3, errors="count")


def test_fitted_attribute_wins_over_the_object():
    odd = SimpleNamespace(result_=(np.array([1.0, -2.0]), np.ones(2)))
    assert monte_carlo(normal_design, lambda draw: odd, 2).table["bias"].tolist() == [0.0, 0.0]


def test_public_names():
    assert set(simulation.__all__) == {
        "MonteCarloResult",
        "draw_cloud",
        "draw_labels",
        "make_environments",
        "make_invariant_sem",
        "holdout_reuse",
        "make_beam",
        "make_beam_laws",
        "make_failure_modes",
        "make_flood",
        "make_g_function",
        "make_gaussian_moments",
        "make_genius",
        "make_holdout_reuse",
        "make_invalid_iv",
        "make_ishigami",
        "make_many_iv",
        "make_ordinal",
        "make_predicted_covariate",
        "make_presto",
        "make_rare_events",
        "make_rare_event",
        "make_surrogate_linear",
        "make_surrogate_logit",
        "make_surrogate_poisson",
        "make_surrogate_prevalence",
        "make_weak_iv",
        "monte_carlo",
    }
    assert all(hasattr(simulation, name) for name in simulation.__all__)


def test_union_of_the_failure_modes_is_the_four_branches():
    modes, whole = simulation.make_failure_modes(), simulation.make_rare_event("four_branches")
    X = np.random.default_rng(0).normal(size=(500, 2)) * 3.0
    np.testing.assert_array_equal(modes.func(X).min(axis=1), whole.func(X))
    # Two causes are seldom active at once: the sum is an upper bound, nearly met.
    assert modes.probability < modes.probabilities.sum() < 1.001 * modes.probability
