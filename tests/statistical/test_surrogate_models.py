"""Multinomial, quantile, shares, predicted categories, moments and margins by simulation.

Bounds as in `test_surrogate_monte_carlo.py`, where they are derived: |bias| within 4 Monte Carlo
errors; SE / SD between r and 1, widened by 4 Monte Carlo errors, r = sqrt(1 - (k + 2) / m) for k
parameters and m labels; coverage between the 1e-4 and 1 - 1e-4 quantiles of a binomial share with
success probabilities P(|t| <= r q) and .95. The seed is 0; no bound was fitted to what came out.

Quantile regression only: the kernel smooths the density that its standard error divides by. For a
normal error at its quantile z, and a bandwidth h in standard deviations, the smoothed density is
phi(z / s) / s with s = sqrt(1 + h^2), so that standard errors are off by the factor
f = phi(z) s / phi(z / s) (1.24 for the median with 300 labels, .94 for the .9 quantile). SE / SD is
bounded by r min(1, f) and max(1, f), coverage by what normal intervals of these widths cover.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom, norm, t
from sklearn.utils import Bunch

from robuststat import DSLClassifier, DSLMean, DSLMoment, DSLRegressor
from robuststat.simulation import monte_carlo
from robuststat.surrogate._density import hall_sheather

pytestmark = pytest.mark.slow

R = 80
BOUND = 4.0
TAIL = 1e-4
N = 2000


# One process: workers of joblib cannot import this module, whose functions the designs use.
def simulate(design, estimators, n_rep=R, truth=None):
    options = {} if truth is None else {"truth": truth}
    return monte_carlo(design, estimators, n_rep, random_state=0, **options).table


def assert_right(table, name, m, *, k=None, factor=1.0, n_rep=R):
    """No bias, standard errors of the right size up to ``factor``, nominal coverage."""
    rows = table[table["estimator"] == name].set_index("term")
    z = rows["bias"] / rows["bias_mcse"]
    assert z.abs().max() < BOUND, (name, z.to_dict())
    k = len(rows) if k is None else k
    low = np.sqrt(1 - (k + 2) / m) * min(1.0, factor)
    margin = BOUND * rows["se_ratio_mcse"]
    ratio = rows["se_ratio"]
    assert (ratio > low - margin).all(), (name, ratio.to_dict())
    assert (ratio < max(1.0, factor) + margin).all(), (name, ratio.to_dict())
    quantile = norm.ppf(0.975)
    least = 2 * t.cdf(low * quantile, m - k) - 1
    most = 2 * norm.cdf(max(1.0, factor) * quantile) - 1
    bounds = binom.ppf(TAIL, n_rep, least) / n_rep, binom.ppf(1 - TAIL, n_rep, most) / n_rep
    assert rows["coverage"].between(*bounds).all(), (name, bounds, rows["coverage"].to_dict())


def draw_classes(rng, p):
    return (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)


def hide(rng, values, n_labeled):
    """Keep n_labeled values, chosen at random."""
    labeled = np.zeros(len(values), dtype=bool)
    labeled[rng.choice(len(values), n_labeled, replace=False)] = True
    kept = pd.Series(values)
    return kept.where(labeled, None if kept.dtype == object else np.nan)


def test_multinomial():
    theta = np.array([[0.2, 0.6, -0.3], [-0.2, -0.4, 0.5]])
    terms = [f"{c}:{n}" for c in ("mid", "right") for n in ("(Intercept)", "x1", "x2")]
    tools = draw_classes, hide

    def design(random_state):
        classes_of, keep = tools
        rng = np.random.default_rng(random_state)
        X = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["x1", "x2"])
        eta = np.column_stack([np.ones(2000), X]) @ theta.T
        gold = classes_of(rng, softmax(np.column_stack([np.zeros(2000), eta]), axis=1))
        # A machine that errs towards a class that depends on a covariate.
        wrong = np.where(X["x1"] > 0, 1, 2)
        machine = np.where(rng.random(2000) < 0.3, wrong, gold)
        names = np.array(["left", "mid", "right"], dtype=object)
        return Bunch(
            X=X, y=keep(rng, names[gold], 400), s=names[machine], seed=int(rng.integers(1 << 30))
        )

    def passthrough(draw):
        est = DSLClassifier("multinomial", learner="passthrough", variance="design")
        return est.fit(draw.X, draw.y, prediction=draw.s)

    def cross_fitted(draw):
        options = {"n_rep": 1, "variance": "design", "random_state": draw.seed}
        est = DSLClassifier("multinomial", learner="logit", **options)
        return est.fit(draw.X, draw.y, prediction=draw.s, features=draw.X)

    estimators = {"passthrough": passthrough, "cross-fitted": cross_fitted}
    table = simulate(design, estimators, truth=pd.Series(theta.ravel(), index=terms))
    for name in estimators:
        assert_right(table, name, 400)


@pytest.mark.parametrize("n_labeled", [300, 1000])
@pytest.mark.parametrize("tau", [0.25, 0.5, 0.9])
def test_quantile(tau, n_labeled):
    z = norm.ppf(tau)
    keep = hide

    def design(random_state):
        rng = np.random.default_rng(random_state)
        X = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["x1", "x2"])
        y = 0.3 + 0.5 * X["x1"] - 0.4 * X["x2"] + rng.normal(size=2000)
        s = 0.8 * y + 0.5 + 0.4 * (X["x1"] > 0) + 0.4 * rng.normal(size=2000)
        return Bunch(X=X, y=keep(rng, y.to_numpy(), n_labeled), s=s)

    def passthrough(draw):
        est = DSLRegressor("quantile", quantile=tau, learner="passthrough", variance="design")
        return est.fit(draw.X, draw.y, prediction=draw.s)

    truth = pd.Series([0.3 + z, 0.5, -0.4], index=["(Intercept)", "x1", "x2"])
    table = simulate(design, {"quantile": passthrough}, truth=truth)
    width = hall_sheather(n_labeled, tau)
    h = norm.ppf(tau + width) - norm.ppf(tau - width)
    s = np.sqrt(1 + h**2)
    assert_right(table, "quantile", n_labeled, factor=norm.pdf(z) * s / norm.pdf(z / s))


def test_class_shares():
    p = np.array([0.5, 0.3, 0.2])
    tools = draw_classes, hide

    def design(random_state):
        classes_of, keep = tools
        rng = np.random.default_rng(random_state)
        gold = classes_of(rng, np.tile(p, (2000, 1)))
        machine = np.where(rng.random(2000) < 0.25, 2, gold)
        names = np.array(["a", "b", "c"], dtype=object)
        return Bunch(
            y=keep(rng, names[gold], 200), s=names[machine], seed=int(rng.integers(1 << 30))
        )

    def passthrough(draw):
        est = DSLMean(learner="passthrough", variance="design")
        return est.fit(None, draw.y, prediction=draw.s)

    def cross_fitted(draw):
        est = DSLMean(learner="logit", n_rep=1, variance="design", random_state=draw.seed)
        return est.fit(None, draw.y, prediction=draw.s)

    estimators = {"passthrough": passthrough, "cross-fitted": cross_fitted}
    truth = pd.Series(p, index=["a:mean", "b:mean", "c:mean"])
    table = simulate(design, estimators, truth=truth)
    for name in estimators:
        assert_right(table, name, 200, k=1)
    # In theory the machine's labels explain about half of the variance of the shares.
    sd = {name: table[table["estimator"] == name]["sd"].to_numpy() for name in estimators}
    assert (sd["cross-fitted"] < np.sqrt(p * (1 - p) / 200)).all()


def topic_design(outcome):
    """Draws of an outcome on x1 and a topic of three that a machine labels with errors."""
    keep = hide

    def design(random_state):
        rng = np.random.default_rng(random_state)
        x1 = rng.normal(size=2000)
        topics = np.array(["art", "law", "sport"], dtype=object)
        gold = rng.choice(3, 2000, p=[0.4, 0.35, 0.25])
        eta = 0.2 + 0.5 * x1 + np.array([0.0, 0.7, -0.5])[gold]
        y = eta + rng.normal(size=2000)
        if outcome == "binary":
            y = (rng.random(2000) < expit(eta)).astype(float)
        # Errors depend on the outcome: taken for truth, the topics would mislead.
        wrong = np.where(y > np.median(y), 1, 0)
        machine = np.where(rng.random(2000) < 0.25, wrong, gold)
        frame = pd.DataFrame({"x1": x1, "y": y, "k": keep(rng, topics[gold], 500)})
        return Bunch(frame=frame.assign(ks=topics[machine]), seed=int(rng.integers(1 << 30)))

    return design


def test_predicted_category():
    def passthrough(draw):
        est = DSLRegressor(formula="y ~ x1 + k", learner="passthrough", variance="design")
        return est.fit(draw.frame, prediction={"k": "ks"})

    def cross_fitted(draw):
        options = {"learner": "logit", "n_rep": 1, "random_state": draw.seed}
        est = DSLRegressor(formula="y ~ x1 + k", variance="design", **options)
        return est.fit(draw.frame, prediction={"k": "ks"}, features=["x1", "y"])

    truth = pd.Series([0.2, 0.5, 0.7, -0.5], index=["(Intercept)", "x1", "k[T.law]", "k[T.sport]"])
    estimators = {"passthrough": passthrough, "cross-fitted": cross_fitted}
    table = simulate(topic_design("number"), estimators, truth=truth)
    for name in estimators:
        assert_right(table, name, 500)


@pytest.mark.parametrize("invalid", [0.0, 0.3])
def test_instruments_and_their_test(invalid):
    """Level of J with valid instruments, power when one of three has a direct effect."""
    keep = hide

    def design(random_state):
        rng = np.random.default_rng(random_state)
        Z, u = rng.normal(size=(2000, 3)), rng.normal(size=2000)
        x = Z @ [0.5, 0.4, 0.3] + u + rng.normal(size=2000)
        y = 0.3 + 0.5 * x + u + rng.normal(size=2000) + invalid * Z[:, 2]
        s = 0.8 * y + 0.4 + 0.5 * rng.normal(size=2000)
        X = np.column_stack([np.ones(2000), x, Z])
        return Bunch(X=X, y=keep(rng, y, 500), s=s)

    def moment(theta, X, y):
        return X[:, [0, 2, 3, 4]] * (y - X[:, :2] @ theta)[:, None]

    def jacobian(theta, X, y):
        return -X[:, [0, 2, 3, 4], None] * X[:, None, :2]

    def fit(draw):
        est = DSLMoment(moment, jacobian, n_params=2, learner="passthrough", variance="design")
        return est.fit(draw.X, draw.y, prediction=draw.s)

    seeds = np.random.SeedSequence(0).spawn(R)
    rejected = sum(fit(design(seed)).j_pvalue_ < 0.05 for seed in seeds)
    if invalid:
        # The standardised direct effect is .3 sqrt(500) / 1.5 = 4.5 standard errors at least.
        assert rejected > binom.ppf(TAIL, R, 0.9)
        return
    assert binom.ppf(TAIL, R, 0.05) <= rejected <= binom.ppf(1 - TAIL, R, 0.05), rejected
    truth = pd.Series([0.3, 0.5], index=["theta0", "theta1"])
    assert_right(simulate(design, {"gmm": fit}, truth=truth), "gmm", 500, k=4)


def normal_nodes():
    """Nodes and weights of expectations over a standard normal covariate."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return nodes, weights / weights.sum()


def test_average_effects_over_predicted_topics():
    nodes, weights = normal_nodes()
    eta = 0.2 + 0.5 * nodes[:, None] + np.array([0.0, 0.7, -0.5])
    p = expit(eta)
    share = np.array([0.4, 0.35, 0.25])
    slope = weights @ (p * (1 - p)) @ share * 0.5
    levels = weights @ p
    truth = pd.Series(
        [slope, levels[1] - levels[0], levels[2] - levels[0]],
        index=["x1", "k[law - art]", "k[sport - art]"],
    )

    def predicted_topic(draw):
        est = DSLClassifier(formula="y ~ x1 + k", learner="passthrough", variance="design")
        return est.fit(draw.frame, prediction={"k": "ks"}).margins(draw.frame)

    table = simulate(topic_design("binary"), {"topic": predicted_topic}, n_rep=R, truth=truth)
    assert_right(table, "topic", 500, k=4, n_rep=R)


def test_average_effects_on_a_predicted_outcome():
    nodes, weights = normal_nodes()
    keep = hide

    def design(random_state):
        rng = np.random.default_rng(random_state)
        x = rng.normal(size=2000)
        y = (rng.random(2000) < expit(0.2 + 0.8 * x)).astype(float)
        s = np.where(rng.random(2000) < 0.2, x > 0, y == 1).astype(float)
        return Bunch(frame=pd.DataFrame({"x": x, "y": keep(rng, y, 400), "s": s}))

    def predicted_outcome(draw):
        est = DSLClassifier(learner="passthrough", variance="design")
        return est.fit(draw.frame, "y", prediction="s").margins(draw.frame)

    p = expit(0.2 + 0.8 * nodes)
    effect = pd.Series([0.8 * weights @ (p * (1 - p))], index=["x"])
    table = simulate(design, {"outcome": predicted_outcome}, truth=effect)
    assert_right(table, "outcome", 400, k=2)
