"""Row models against statsmodels, scikit-learn, and the design-adjusted moments in plain numpy.

`solve_by_hand` finds the root of avg m(Dhat) + w (m(D) - m(Dhat)) with scipy and its sandwich with
a numerical derivative: nothing of the package is in it.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import softmax
from scipy.stats import norm
from sklearn.linear_model import QuantileRegressor
from statsmodels.discrete.discrete_model import MNLogit
from statsmodels.regression.quantile_regression import QuantReg, hall_sheather
from statsmodels.sandbox.regression.gmm import IV2SLS, IVGMM

from robuststat import DSLClassifier, DSLMean, DSLMoment, DSLRegressor
from robuststat._core.glm import FAMILIES
from robuststat._core.moments import FunctionMoments, check_jacobian, numerical_jacobian
from robuststat.surrogate._density import density_weights, residual_bandwidth, weighted_quantiles
from robuststat.surrogate._models import (
    GLMRows,
    MultinomialRows,
    SeveralOutcomes,
    UserRows,
    row_model,
)

EXACT = 1e-8  # the same equations solved by another program or with a numerical derivative
ROUNDING = 1e-12  # the same computation in another order
N = 400
NAMES = ["x1", "x2"]
CLASSES = ["left", "mid", "right"]
TOPICS = ["art", "law", "sport"]

pytestmark = pytest.mark.filterwarnings("ignore:All 400 rows are labelled")


def build():
    rng = np.random.default_rng(3)
    f = pd.DataFrame(rng.normal(size=(N, 2)), columns=NAMES)
    eta = np.column_stack([np.zeros(N), 0.3 + 0.6 * f["x1"], -0.2 + 0.5 * f["x2"]])
    f["t_gold"] = np.array(CLASSES)[(softmax(eta, axis=1).cumsum(1) < rng.random((N, 1))).sum(1)]
    f["k_gold"] = rng.choice(TOPICS, N)
    effect = f["k_gold"].map({"art": 0.0, "law": 0.7, "sport": -0.5})
    f["y_gold"] = 0.5 + 0.5 * f["x1"] - 0.4 * f["x2"] + effect + rng.normal(size=N)
    f["b_gold"] = (rng.random(N) < 1 / (1 + np.exp(-f["y_gold"] / 2))).astype(float)
    f["c_gold"] = rng.poisson(np.exp(0.3 * f["y_gold"] - 0.2)).astype(float)
    for name, values in {"t": CLASSES, "k": TOPICS}.items():
        f[f"{name}s"] = np.where(rng.random(N) < 0.75, f[f"{name}_gold"], rng.choice(values, N))
    f["s"] = 0.8 * f["y_gold"] + 0.4 + 0.6 * rng.normal(size=N)
    f["bs"] = np.where(rng.random(N) < 0.85, f["b_gold"], 1 - f["b_gold"])
    f["cs"] = f["c_gold"] + rng.poisson(0.5, N)
    f["pi"] = np.where(f["x1"] > 0, 0.6, 0.35)
    f["R"] = rng.random(N) < f["pi"]
    f["doc"] = rng.integers(0, 40, N)
    f["stratum"] = np.where(f["x1"] > 0, "high", "low")
    f["w"] = rng.uniform(0.5, 2, N)
    for name in "ytkbc":
        f[name] = f[f"{name}_gold"].where(f["R"], None if name in "tk" else np.nan)
    return f


FRAME = build()
X = FRAME[NAMES].to_numpy()
D = np.column_stack([np.ones(N), X])
R = FRAME["R"].to_numpy()
N_R = int(R.sum())
W = FRAME["w"].to_numpy()
Y_GOLD, S = FRAME["y_gold"].to_numpy(), FRAME["s"].to_numpy()


def dummies(values, levels):
    return np.column_stack([(np.asarray(values) == v).astype(float) for v in levels])


def sandwich(psi, A, groups=None):
    """A^-1 (sum of outer products) A^-T / n^2, scores summed within groups."""
    if groups is not None:
        psi = pd.DataFrame(psi).groupby(np.asarray(groups)).sum().to_numpy()
    bread = np.linalg.inv(A)
    return bread @ psi.T @ psi @ bread.T / len(FRAME) ** 2


def solve_by_hand(score, hat, gold, start, *, prob=None, weights=None, kind="robust", **design):
    """Root and variance of the design-adjusted moments; ``score(theta, X, y) -> (n, q)``.

    ``prob`` are the probabilities used; ``design`` may hold groups and strata.
    """
    prob = np.full(N, R.mean()) if prob is None else prob
    a = np.ones(N) if weights is None else weights
    w = a * np.where(R, 1 / prob, 0.0)

    def parts(theta):
        return score(theta, *hat), score(theta, *gold)

    def psi(theta):
        m_hat, m = parts(theta)
        return a[:, None] * m_hat + w[:, None] * (m - m_hat)

    found = root(lambda theta: psi(theta).mean(axis=0), start, tol=1e-13)
    theta = found.x
    A = numerical_jacobian(lambda t: psi(t).mean(axis=0), theta)
    scores = psi(theta)
    if kind != "robust":
        m_hat, m = parts(theta)
        delta = a[:, None] * (m - m_hat)
        strata = np.asarray(design.get("strata", np.zeros(N)))
        centre = np.zeros_like(delta)
        for h in np.unique(strata):
            inside = strata == h
            total = ((delta / prob[:, None])[inside & R]).sum(axis=0)
            centre[inside] = total / (a * prob)[inside].sum()
        if kind == "design":
            scores = scores - (a * (R - prob))[:, None] * centre
        else:
            spread = np.sqrt(np.where(R, (1 - prob) / prob**2, 0.0))
            scores = spread[:, None] * (delta - (a * prob)[:, None] * centre)
    return theta, sandwich(scores, A, design.get("groups"))


def same_as_hand(est, expected, tol=EXACT):
    theta, vcov = expected
    assert est.converged_
    assert_allclose(est.result_.estimate, theta, rtol=tol, atol=tol)
    assert_allclose(est.vcov_, vcov, rtol=1e-6, atol=1e-9)


# Scores and their derivatives.


def multinomial_score(theta, X, Y):
    """X (n, k) with intercept, Y (n, C - 1) indicators."""
    eta = X @ theta.reshape(Y.shape[1], -1).T
    p = softmax(np.column_stack([np.zeros(len(X)), eta]), axis=1)[:, 1:]
    return np.hstack([X * (Y[:, [c]] - p[:, [c]]) for c in range(Y.shape[1])])


def linear_score(theta, X, y):
    return X * (y - X @ theta)[:, None]


def logit_score(theta, X, y):
    return X * (y - 1 / (1 + np.exp(-X @ theta)))[:, None]


class Rows:
    """A row model on rows, in the form ``check_jacobian`` takes."""

    def __init__(self, model, y, weights=None):
        self.model, self.y, self.weights = model, y, weights
        self.n_moments, self.n_params = model.shape(D.shape[1])
        self.n_obs = N

    def sums(self, theta):
        score, information = self.model.sums(D, self.y, self.weights, theta)
        return score / N, -information / N

    def scores(self, theta, rows):
        return self.model.rows(D, self.y, theta, self.weights)[rows]


TWO = FRAME[["y_gold", "s"]].to_numpy()
COUNTS = FRAME[["c_gold", "cs"]].to_numpy()
BINARY = FRAME[["b_gold", "bs"]].to_numpy()
T = dummies(FRAME["t_gold"], CLASSES)[:, 1:]


def iv_moment(theta, X, y):
    return X[:, 1:] * (y - np.tanh(theta[0] * X[:, 1]) - theta[1])[:, None]


def iv_jacobian(theta, X, y):
    slope = X[:, 1] / np.cosh(theta[0] * X[:, 1]) ** 2
    return -X[:, 1:, None] * np.column_stack([slope, np.ones(len(X))])[:, None, :]


MODELS = {
    "linear": (GLMRows(FAMILIES["linear"]), TWO[:, 0]),
    "logit": (GLMRows(FAMILIES["logit"]), BINARY[:, 0]),
    "poisson": (GLMRows(FAMILIES["poisson"]), COUNTS[:, 0]),
    "linear x 2": (SeveralOutcomes(FAMILIES["linear"], 2), TWO),
    "logit x 2": (SeveralOutcomes(FAMILIES["logit"], 2), BINARY),
    "poisson x 2": (SeveralOutcomes(FAMILIES["poisson"], 2), COUNTS),
    "multinomial": (MultinomialRows(3), T),
    "user": (UserRows(iv_moment, iv_jacobian, 2, ("a", "b"), (0.0, 0.0)), TWO[:, 0]),
    "user, numerical": (UserRows(iv_moment, None, 2, ("a", "b"), (0.0, 0.0)), TWO[:, 0]),
}


@pytest.mark.parametrize("weights", [None, W])
@pytest.mark.parametrize("name", MODELS)
def test_derivatives_and_sums(name, weights):
    model, y = MODELS[name]
    rows = Rows(model, y, weights)
    theta = np.random.default_rng(0).normal(scale=0.3, size=rows.n_params)
    assert check_jacobian(rows, theta) < 1e-8
    psi = rows.scores(theta, slice(0, N))
    assert psi.shape == (N, rows.n_moments)
    assert_allclose(rows.sums(theta)[0], psi.mean(axis=0), atol=1e-13)


def test_wrong_derivatives_are_seen():
    wrong = UserRows(iv_moment, lambda *v: 1.01 * iv_jacobian(*v), 2, ("a", "b"), (0.0, 0.0))
    assert check_jacobian(Rows(wrong, TWO[:, 0]), np.array([0.2, 0.1])) > 5e-3


def test_row_models_by_name():
    assert row_model("quantile", quantile=0.3).quantile == 0.3
    assert row_model("multinomial", n_classes=4).shape(3) == (9, 9)
    assert row_model("linear", n_outcomes=3).shape(2) == (6, 6)
    flat = row_model("multinomial", n_classes=2).sums(D, T[:, :1], W, np.zeros(3))
    plain = row_model("logit").sums(D, T[:, 0], W, np.zeros(3))
    assert_allclose(flat[0], plain[0], rtol=ROUNDING)
    assert_allclose(flat[1], plain[1], rtol=ROUNDING)


# Everything labelled.


def test_multinomial_is_mnlogit():
    est = DSLClassifier("multinomial").fit(X, FRAME["t_gold"], prediction=FRAME["ts"])
    peer = MNLogit(dummies(FRAME["t_gold"], CLASSES) @ [0, 1, 2], D).fit(disp=False, tol=1e-14)
    theta = np.asarray(peer.params).T.ravel()
    assert_allclose(est.result_.estimate, theta, atol=1e-6)
    score = multinomial_score(est.result_.estimate, D, T)
    A = numerical_jacobian(lambda t: multinomial_score(t, D, T).mean(axis=0), est.result_.estimate)
    assert_allclose(est.vcov_, sandwich(score, A), rtol=1e-7, atol=1e-10)
    bread = np.asarray(peer.cov_params())  # model-based variance: the bread of the sandwich
    psi = multinomial_score(theta, D, T)
    assert_allclose(est.vcov_, bread @ psi.T @ psi @ bread, rtol=EXACT, atol=1e-9)
    assert list(est.result_.outcomes) == ["mid"] * 3 + ["right"] * 3
    assert est.coef_.shape == (2, 2)
    assert_allclose(est.intercept_, theta[[0, 3]], atol=1e-6)
    assert_allclose(est.predict_proba(X), peer.predict(D), atol=1e-7)
    assert_allclose(est.score(X, FRAME["t_gold"]), (est.predict(X) == FRAME["t_gold"]).mean())


def test_two_class_multinomial_is_logit():
    for roles in ({}, {"sample_weight": W, "clusters": FRAME["doc"]}):
        fits = [
            DSLClassifier(model, learner="passthrough").fit(
                X, FRAME["b"], prediction=FRAME["bs"], **roles
            )
            for model in ("logit", "multinomial")
        ]
        assert_allclose(fits[0].result_.estimate, fits[1].result_.estimate, rtol=EXACT)
        assert_allclose(fits[0].vcov_, fits[1].vcov_, rtol=EXACT)
        assert fits[1].coef_.shape == (1, 2)


QUANTILES = [0.1, 0.25, 0.5, 0.9]


def check_loss(theta, design, y, tau, weights=1.0):
    u = y - design @ theta
    return float(np.sum(weights * u * (tau - (u < 0))))


@pytest.mark.parametrize("tau", QUANTILES)
def test_quantile_is_quantreg(tau):
    y = Y_GOLD
    est = DSLRegressor("quantile", quantile=tau).fit(X, y, prediction=FRAME["s"])
    peer = QuantReg(y, D).fit(q=tau, p_tol=1e-12, max_iter=5000)
    theta = est.result_.estimate
    # The other program stops near the vertex, this one in it.
    assert_allclose(theta, peer.params, atol=1e-3)
    lp = QuantileRegressor(quantile=tau, alpha=0, solver="highs").fit(X, y)
    assert_allclose(theta, [lp.intercept_, *lp.coef_], rtol=1e-7)
    assert (np.abs(y - D @ theta) < 1e-12).sum() == 3
    u = y - D @ theta
    h = hall_sheather(N, tau)
    spread = min(u.std(), np.subtract(*weighted_quantiles(u, np.ones(N), [0.75, 0.25])) / 1.34)
    width = (norm.ppf(tau + h) - norm.ppf(tau - h)) * spread
    A = D.T @ (D * (norm.pdf(u / width) / width)[:, None]) / N
    psi = D * (tau - (u < 1e-10))[:, None]
    assert_allclose(est.vcov_, sandwich(psi, A), rtol=EXACT)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("tau", QUANTILES)
def test_quantile_loss_is_that_of_the_linear_programme(tau, decimals, weighted):
    """Ties in outcome and covariates: several vertices may be best, the loss is unique."""
    y, x = FRAME["y_gold"].to_numpy(), X
    if decimals is not None:
        y, x = y.round(decimals), x.round(decimals)
    w = W if weighted else None
    design = np.column_stack([np.ones(N), x])
    est = DSLRegressor("quantile", quantile=tau).fit(x, y, prediction=FRAME["s"], sample_weight=w)
    lp = QuantileRegressor(quantile=tau, alpha=0, solver="highs").fit(x, y, sample_weight=w)
    weights = 1.0 if w is None else w
    best = check_loss(np.array([lp.intercept_, *lp.coef_]), design, y, tau, weights)
    own = check_loss(est.result_.estimate, design, y, tau, weights)
    assert own <= best * (1 + 1e-10)
    assert np.abs(own - best) < 1e-6 * best


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("n", [30, 400])
def test_bandwidth_is_that_of_quantreg(tau, n):
    """bandwidth.rq(tau, n, hs=TRUE) and the scale of summary.rq(se="ker"), written out."""
    u = np.random.default_rng(n).standard_t(4, size=n)
    x0, f0 = norm.ppf(tau), norm.pdf(norm.ppf(tau))
    h = n ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * (1.5 * f0**2 / (2 * x0**2 + 1)) ** (1 / 3)
    assert h == pytest.approx(hall_sheather(n, tau), rel=ROUNDING)
    while tau - h <= 0 or tau + h >= 1:
        h /= 2
    low, high = np.quantile(u, [0.25, 0.75], method="inverted_cdf")
    width = (norm.ppf(tau + h) - norm.ppf(tau - h)) * min(u.std(), (high - low) / 1.34)
    assert residual_bandwidth(u, tau, None) == pytest.approx(width, rel=ROUNDING)
    assert_allclose(density_weights(u, tau, None), norm.pdf(u / width) / width, rtol=ROUNDING)
    # Whole weights are copies, except in the effective number of rows that sets the bandwidth.
    assert_allclose(
        weighted_quantiles(u, np.full(n, 3.0), [0.2, 0.7]),
        np.quantile(np.repeat(u, 3), [0.2, 0.7], method="inverted_cdf"),
    )
    assert residual_bandwidth(u, tau, np.full(n, 3.0)) == pytest.approx(width, rel=ROUNDING)


SEVERAL = {
    "linear": (["y", "b"], {"y": "s", "b": "bs"}, DSLRegressor("linear", learner="passthrough")),
    "poisson": (["c", "b"], {"c": "cs", "b": "bs"}, DSLRegressor("poisson", learner="passthrough")),
    "logit": (["b", "b2"], {"b": "bs", "b2": "bs2"}, DSLClassifier(learner="passthrough")),
    "mean": (["y", "b"], {"y": "s", "b": "bs"}, DSLMean(learner="passthrough")),
}
WIDE = FRAME.assign(
    b2=(FRAME["x2"] + FRAME["b_gold"] > 0.6).astype(float).where(R),
    bs2=(FRAME["x2"] + FRAME["bs"] > 0.7).astype(float),
)
ROLES = {
    "plain": {},
    "probabilities": {"sample_prob": "pi"},
    "weights": {"sample_weight": "w"},
    "clusters": {"clusters": "doc"},
}


@pytest.mark.parametrize("roles", ROLES)
@pytest.mark.parametrize("variance", ["robust", "design", "finite"])
@pytest.mark.parametrize("kind", SEVERAL)
def test_several_outcomes_are_single_fits(kind, variance, roles):
    outcomes, prediction, base = SEVERAL[kind]
    options = {"population": "finite"} if variance == "finite" else {"variance": variance}
    base = type(base)(**{**base.get_params(), **options})
    used = ROLES[roles]
    columns = [*NAMES, *outcomes, *prediction.values(), *used.values()]
    frame = WIDE[columns]
    both = base.fit(frame, outcomes, prediction=prediction, **used)
    theta, vcov = both.result_.estimate, both.vcov_
    k = theta.size // 2
    assert list(both.result_.outcomes) == [o for o in outcomes for _ in range(k)]
    for j, name in enumerate(outcomes):
        one = type(base)(**base.get_params())
        own = frame.drop(columns=[o for o in outcomes if o != name])
        own = own.drop(columns=[prediction[o] for o in outcomes if o != name])
        one.fit(own, name, prediction=prediction[name], **used)
        block = slice(j * k, (j + 1) * k)
        assert_allclose(theta[block], one.result_.estimate, rtol=1e-9)
        assert_allclose(vcov[block, block], one.vcov_, rtol=1e-9, atol=1e-15)
    if kind in ("linear", "mean") and variance == "robust":
        design = D if kind == "linear" else np.ones((N, 1))
        prob = N_R / N if roles != "probabilities" else FRAME["pi"] * N_R / FRAME["pi"].sum()
        a = W if roles == "weights" else np.ones(N)
        if roles == "weights":
            prob = (W * R).sum() / W.sum()
        psi = []
        for j, name in enumerate(outcomes):
            hat = frame[prediction[name]].to_numpy()
            pseudo = hat + np.where(R, (frame[name].fillna(0).to_numpy() - hat) / prob, 0)
            psi.append(design * (a * (pseudo - design @ theta[j * k : (j + 1) * k]))[:, None])
        bread = np.kron(np.eye(2), (design.T * a) @ design / N)
        groups = FRAME["doc"] if roles == "clusters" else None
        assert_allclose(vcov, sandwich(np.hstack(psi), bread, groups), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("by", [None, "stratum"])
@pytest.mark.parametrize("options", [{}, {"variance": "design"}, {"population": "finite"}])
def test_class_shares_are_one_against_the_rest(by, options):
    options = {"learner": "passthrough", "by": by, **options}
    shares = DSLMean(**options).fit(FRAME, "t", prediction="ts")
    k = shares.result_.estimate.size // 3
    assert shares.classes_.tolist() == CLASSES
    for c, name in enumerate(CLASSES):
        y = (FRAME["t"] == name).astype(float).where(R)
        frame = FRAME.assign(one=y, hit=(FRAME["ts"] == name).astype(float))
        own = DSLMean(**options).fit(frame, "one", prediction="hit")
        block = slice(c * k, (c + 1) * k)
        assert_allclose(shares.result_.estimate[block], own.result_.estimate, rtol=1e-10)
        assert_allclose(shares.vcov_[block, block], own.vcov_, rtol=1e-9)
    total = np.tile(np.eye(k), 3)
    assert_allclose(total @ shares.result_.estimate, 1.0, rtol=1e-12)
    assert_allclose(total @ shares.vcov_ @ total.T, 0.0, atol=1e-12)


# Partly labelled: the moments by hand.

PROB = (FRAME["pi"] * N_R / FRAME["pi"].sum()).to_numpy()
SHARE = np.where(
    FRAME["stratum"] == "high",
    R[FRAME["stratum"] == "high"].mean(),
    R[FRAME["stratum"] == "low"].mean(),
)
DESIGNS = {
    "robust": ({}, {}, {}),
    "design": ({"variance": "design"}, {}, {"kind": "design"}),
    "finite": ({"population": "finite"}, {}, {"kind": "finite"}),
    "unequal": (
        {"design": "bernoulli", "variance": "design"},
        {"sample_prob": FRAME["pi"]},
        {"prob": PROB, "kind": "design"},
    ),
    "stratified": (
        {"design": "stratified", "variance": "design"},
        {"strata": FRAME["stratum"]},
        {"prob": SHARE, "kind": "design", "strata": FRAME["stratum"]},
    ),
    "stratified finite": (
        {"design": "stratified", "population": "finite"},
        {"strata": FRAME["stratum"]},
        {"prob": SHARE, "kind": "finite", "strata": FRAME["stratum"]},
    ),
    "clusters": ({"vcov": "CR0"}, {"clusters": FRAME["doc"]}, {"groups": FRAME["doc"]}),
    "weights": (
        {},
        {"sample_weight": W},
        {"weights": W, "prob": np.full(N, (W * R).sum() / W.sum())},
    ),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_multinomial_by_hand(name):
    options, roles, hand = DESIGNS[name]
    est = DSLClassifier("multinomial", learner="passthrough", **options)
    est.fit(X, FRAME["t"], prediction=FRAME["ts"], **roles)
    hat = D, dummies(FRAME["ts"], CLASSES)[:, 1:]
    same_as_hand(est, solve_by_hand(multinomial_score, hat, (D, T), np.zeros(6), **hand))


def topic_designs(interaction):
    """Design with the predicted and with the expert topic."""
    made = []
    for column in ("ks", "k_gold"):
        parts = [D, dummies(FRAME[column], TOPICS)[:, 1:]]
        if interaction:
            parts.append(parts[1] * FRAME[["x1"]].to_numpy())
        made.append(np.hstack(parts))
    return made


FORMULAS = {False: "~ x1 + x2 + k", True: "~ x1 + x2 + k + k:x1"}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("interaction", [False, True])
def test_predicted_topic_by_hand(interaction, name):
    options, roles, hand = DESIGNS[name]
    y = Y_GOLD
    frame = FRAME[[*NAMES, "k", "ks"]].assign(out=y)
    est = DSLRegressor(formula="out " + FORMULAS[interaction], learner="passthrough", **options)
    est.fit(frame, prediction={"k": "ks"}, **roles)
    X_hat, X_gold = topic_designs(interaction)
    start = np.zeros(X_hat.shape[1])
    expected = solve_by_hand(linear_score, (X_hat, y), (X_gold, y), start, **hand)
    names = list(est.result_.names)
    wanted = ["(Intercept)", "x1", "x2", "k[T.law]", "k[T.sport]"]
    order = [names.index(v) for v in wanted]
    order += [j for j in range(len(names)) if j not in order]
    theta, vcov = est.result_.estimate[order], est.vcov_[np.ix_(order, order)]
    assert_allclose(theta, expected[0], rtol=EXACT, atol=EXACT)
    assert_allclose(vcov, expected[1], rtol=1e-6, atol=1e-9)


def test_predicted_topic_is_predicted_dummies():
    frame = FRAME[[*NAMES, "k", "ks"]].assign(b=FRAME["b_gold"])
    est = DSLClassifier(learner="passthrough", variance="design")
    est.fit(frame, "b", prediction={"k": "ks"})
    gold, hat = (dummies(FRAME[v], TOPICS)[:, 1:] for v in ("k_gold", "ks"))
    gold[~R] = np.nan
    by_hand = DSLClassifier(learner="passthrough", variance="design").fit(
        np.column_stack([X, gold]), FRAME["b_gold"], prediction={"x2": hat[:, 0], "x3": hat[:, 1]}
    )
    assert_allclose(est.result_.estimate, by_hand.result_.estimate, rtol=EXACT)
    assert_allclose(est.vcov_, by_hand.vcov_, rtol=EXACT, atol=1e-14)
    X_hat, X_gold = topic_designs(False)
    y = FRAME["b_gold"].to_numpy()
    hand = solve_by_hand(logit_score, (X_hat, y), (X_gold, y), np.zeros(5), kind="design")
    same_as_hand(est, hand)


def test_predicted_topic_shares_enter_as_averages():
    """Probabilities of the topics: the design is linear in their dummies."""
    rng = np.random.default_rng(0)
    shares = softmax(2 * dummies(FRAME["ks"], TOPICS) + rng.normal(size=(N, 3)), axis=1)
    frame = FRAME[[*NAMES, "k"]].assign(out=Y_GOLD)
    for columns in (TOPICS, ["p0", "p1", "p2"]):
        with_shares = frame.assign(**dict(zip(columns, shares.T, strict=True)))
        est = DSLRegressor(formula="out ~ x1 + x2 + k", learner="passthrough")
        est.fit(with_shares, prediction={"k": columns})
        X_gold = topic_designs(False)[1]
        X_hat = np.hstack([D, shares[:, 1:]])
        y = Y_GOLD
        hand = solve_by_hand(linear_score, (X_hat, y), (X_gold, y), np.zeros(5))
        names = list(est.result_.names)
        order = [names.index(v) for v in ("(Intercept)", "x1", "x2", "k[T.law]", "k[T.sport]")]
        assert_allclose(est.result_.estimate[order], hand[0], rtol=EXACT)
        assert_allclose(est.vcov_[np.ix_(order, order)], hand[1], rtol=1e-6, atol=1e-9)


def test_outcome_and_topic_predicted_together():
    frame = FRAME[[*NAMES, "k", "ks", "t", "ts"]]
    est = DSLClassifier("multinomial", formula="t ~ x1 + x2 + k", learner="passthrough")
    est.fit(frame, prediction={"t": "ts", "k": "ks"})
    X_hat, X_gold = topic_designs(False)
    names = list(est.result_.names)[:5]
    order = [("(Intercept)", "x1", "x2", "k[T.law]", "k[T.sport]").index(v) for v in names]
    hat = X_hat[:, order], dummies(FRAME["ts"], CLASSES)[:, 1:]
    same_as_hand(est, solve_by_hand(multinomial_score, hat, (X_gold[:, order], T), np.zeros(10)))


@pytest.mark.parametrize("name", ["robust", "unequal", "weights", "clusters", "finite"])
@pytest.mark.parametrize("tau", [0.25, 0.5])
def test_quantile_moments_by_hand(tau, name):
    """The average score is zero up to the jumps of the rows on the plane; the sandwich by hand."""
    options, roles, hand = DESIGNS[name]
    est = DSLRegressor("quantile", quantile=tau, learner="passthrough", **options)
    est.fit(X, FRAME["y"], prediction=FRAME["s"], **roles)
    theta = est.result_.estimate
    prob = hand.get("prob", np.full(N, R.mean()))
    a = hand.get("weights", np.ones(N))
    w = a * np.where(R, 1 / prob, 0)

    def sign(y):
        return tau - (y - D @ theta <= 1e-9)

    m_hat, m = D * sign(S)[:, None], D * sign(Y_GOLD)[:, None]
    psi = a[:, None] * m_hat + w[:, None] * (m - m_hat)
    jumps = 3 * w.max() * np.abs(D).max()
    assert np.abs(psi.sum(axis=0)).max() <= jumps
    u = Y_GOLD - D @ theta
    density = density_weights(u[R], tau, w[R])
    A = D[R].T @ (D[R] * (w[R] * density)[:, None]) / N
    if name == "finite":
        delta = m - m_hat
        centre = delta[R].mean(axis=0)
        psi = np.sqrt(np.where(R, (1 - prob) / prob**2, 0))[:, None] * (delta - centre)
    elif hand.get("kind") == "design":
        delta = (m - m_hat) / prob[:, None]
        psi = psi - (R - prob)[:, None] * delta[R].sum(axis=0) / prob.sum()
    assert_allclose(est.vcov_, sandwich(psi, A, hand.get("groups")), rtol=1e-7, atol=1e-14)


# Tuning.


def test_tuned_multinomial():
    """The scalar minimises the estimated variance of each coefficient at the pilot."""
    fits = {
        name: DSLClassifier("multinomial", learner="passthrough", tuning=name).fit(
            X, FRAME["t"], prediction=FRAME["ts"]
        )
        for name in (None, "scalar", "matrix")
    }
    scalar, matrix = fits["scalar"], fits["matrix"]
    assert scalar.tuning_.shape == (6,)
    assert matrix.tuning_.shape == (6, 6)
    w = np.where(R, N / N_R, 0.0)

    def pilot_score(theta):
        return (w[:, None] * multinomial_score(theta, D, T)).mean(axis=0)

    pilot = root(pilot_score, np.zeros(6), tol=1e-13).x
    u = w[:, None] * multinomial_score(pilot, D, T)
    hat = multinomial_score(pilot, D, dummies(FRAME["ts"], CLASSES)[:, 1:])
    delta = (multinomial_score(pilot, D, T))[R].sum(axis=0) * N / N_R / N_R
    gap = R - N_R / N
    u = u - gap[:, None] * delta
    v = hat * (w - 1)[:, None] - gap[:, None] * hat.sum(axis=0) / N_R
    A = numerical_jacobian(lambda t: multinomial_score(t, D, T).mean(axis=0), pilot)
    bread = np.linalg.inv(-A)
    target, control = u @ bread.T, v @ bread.T
    assert_allclose(scalar.tuning_, (target * control).sum(0) / (control**2).sum(0), rtol=1e-6)
    assert_allclose(matrix.tuning_, np.linalg.lstsq(v, u, rcond=None)[0].T, rtol=1e-6)
    for j, value in enumerate(scalar.tuning_):

        def moments(theta, value=value):
            m_hat = multinomial_score(theta, D, dummies(FRAME["ts"], CLASSES)[:, 1:])
            m = multinomial_score(theta, D, T)
            return (value * m_hat + w[:, None] * (m - value * m_hat)).mean(axis=0)

        found = root(moments, pilot, tol=1e-13).x
        assert scalar.result_.estimate[j] == pytest.approx(found[j], rel=EXACT)


def test_tuned_quantile():
    plain = DSLRegressor("quantile", learner="passthrough")
    tuned = DSLRegressor("quantile", learner="passthrough", tuning="scalar")
    for est in (plain, tuned):
        est.fit(X, FRAME["y"], prediction=FRAME["s"])
    assert (tuned.std_error_ < 1.05 * plain.std_error_).all()
    noise = np.random.default_rng(0).normal(size=N)
    tuned.fit(X, FRAME["y"], prediction=noise)
    assert (np.abs(tuned.tuning_) < 0.5).all()


# Moments given by the user.

rng = np.random.default_rng(5)
Z = rng.normal(size=(N, 3))
U = rng.normal(size=N)
TREATED = Z @ [0.8, 0.5, 0.3] + U + rng.normal(size=N)
OUT = 1.0 + 2.0 * TREATED + U + 0.5 * rng.normal(size=N) * (1 + np.abs(Z[:, 0]))
MACHINE = 0.9 * OUT + 0.3 + rng.normal(size=N)
IV = np.column_stack([np.ones(N), TREATED, Z])


def instrumental(theta, X, y):
    instruments = X[:, [0, 2, 3, 4]]
    return instruments * (y - X[:, :2] @ theta)[:, None]


def slopes(theta, X, y):
    return -X[:, [0, 2, 3, 4], None] * X[:, None, :2]


def iv_moments(instruments=4, **options):
    columns = [0, 2, 3, 4][:instruments]

    def moment(theta, X, y):
        return X[:, columns] * (y - X[:, :2] @ theta)[:, None]

    options = {"n_params": 2, "learner": "passthrough"} | options
    return DSLMoment(moment, **options)


def test_exactly_identified_moments_are_two_stage_least_squares():
    est = iv_moments(2).fit(IV, OUT, prediction=MACHINE)
    peer = IV2SLS(OUT, IV[:, :2], IV[:, [0, 2]]).fit()
    assert_allclose(est.coef_, peer.params, rtol=EXACT)
    u = OUT - IV[:, :2] @ est.coef_
    A = -IV[:, [0, 2]].T @ IV[:, :2] / N
    assert_allclose(est.vcov_, sandwich(IV[:, [0, 2]] * u[:, None], A), rtol=EXACT)
    assert np.isnan(est.j_statistic_)
    assert np.isnan(est.j_pvalue_)
    assert est.j_df_ == 0


def two_step(clusters=None, prob=None, hat=None):
    """Two-step GMM of a linear model by its closed form; first step with identity weights."""
    y, instruments = OUT, IV[:, [0, 2, 3, 4]]
    w = np.ones(N) if prob is None else np.where(R, 1 / prob, 0.0)
    pseudo = y if hat is None else hat + w * (y - hat)
    A = -instruments.T @ IV[:, :2] / N
    b = instruments.T @ pseudo / N

    def solve(weight):
        return np.linalg.solve(A.T @ weight @ A, -A.T @ weight @ b)

    def middle(theta):
        psi = instruments * (pseudo - IV[:, :2] @ theta)[:, None]
        if clusters is not None:
            psi = pd.DataFrame(psi).groupby(np.asarray(clusters)).sum().to_numpy()
        return psi.T @ psi / N

    weight = np.linalg.inv(middle(solve(np.eye(4))))
    theta = solve(weight)
    g = b + A @ theta
    vcov = np.linalg.inv(A.T @ np.linalg.inv(middle(theta)) @ A) / N
    return theta, vcov, N * g @ weight @ g


@pytest.mark.parametrize("jacobian", [None, slopes])
def test_overidentified_moments_are_gmm(jacobian):
    est = DSLMoment(instrumental, jacobian, n_params=2).fit(IV, OUT, prediction=MACHINE)
    theta, vcov, j = two_step()
    assert_allclose(est.coef_, theta, rtol=EXACT)
    assert_allclose(est.vcov_, vcov, rtol=1e-6)
    assert est.j_statistic_ == pytest.approx(j, rel=1e-6)
    assert est.j_df_ == 2
    peer = IVGMM(OUT, IV[:, :2], IV[:, [0, 2, 3, 4]])
    fit = peer.fit(
        start_params=np.zeros(2),
        inv_weights=np.eye(4),
        maxiter=2,
        optim_method="bfgs",
        optim_args={"disp": False, "gtol": 1e-10},
        wargs={"centered": False},
    )
    assert_allclose(est.coef_, fit.params, rtol=1e-5)
    assert est.j_statistic_ == pytest.approx(fit.jtest()[0], rel=1e-3)
    assert est.j_pvalue_ == pytest.approx(fit.jtest()[1], rel=1e-2)
    assert "Hansen" in str(est.summary()) or "J(" in str(est.summary())


@pytest.mark.parametrize("clusters", [None, FRAME["doc"]])
def test_overidentified_moments_with_surrogates(clusters):
    y = np.where(R, OUT, np.nan)
    est = iv_moments().fit(IV, y, prediction=MACHINE, clusters=clusters)
    theta, vcov, j = two_step(clusters, np.full(N, R.mean()), MACHINE)
    assert_allclose(est.coef_, theta, rtol=EXACT)
    assert_allclose(est.vcov_, vcov, rtol=1e-6)
    assert est.j_statistic_ == pytest.approx(j, rel=1e-6)
    assert est.result_.vcov_type == ("HC0" if clusters is None else "CR0")


@pytest.mark.parametrize("name", DESIGNS)
def test_nonlinear_moments_by_hand(name):
    options, roles, hand = DESIGNS[name]
    est = DSLMoment(logit_score, start=[0.1, 0.0, 0.0], learner="passthrough", **options)
    est.fit(D, FRAME["b"], prediction=FRAME["bs"], **roles)
    y, hat = FRAME["b_gold"].to_numpy(), FRAME["bs"].to_numpy()
    same_as_hand(est, solve_by_hand(logit_score, (D, hat), (D, y), np.zeros(3), **hand))
    regression = DSLClassifier(learner="passthrough", **options)
    regression.fit(X, FRAME["b"], prediction=FRAME["bs"], **roles)
    assert_allclose(est.coef_, regression.result_.estimate, rtol=EXACT)
    assert_allclose(est.vcov_, regression.vcov_, rtol=1e-6, atol=1e-12)


def test_arguments_by_name_and_compiled_moments():
    numba = pytest.importorskip("numba")

    @numba.njit
    def compiled(theta, X, y):
        out = np.empty((X.shape[0], 4))
        for i in range(X.shape[0]):
            u = y[i] - X[i, 0] * theta[0] - X[i, 1] * theta[1]
            out[i, 0] = u
            for j in range(3):
                out[i, j + 1] = X[i, 2 + j] * u
        return out

    def swapped(X, y, theta):
        return instrumental(theta, X, y)

    def unnamed(a, b, c):
        return instrumental(a, b, c)

    y = np.where(R, OUT, np.nan)
    plain = DSLMoment(instrumental, n_params=2, learner="passthrough").fit(
        IV, y, prediction=MACHINE
    )
    for moment in (compiled, swapped, unnamed):
        other = DSLMoment(moment, n_params=2, learner="passthrough")
        other.fit(IV, y, prediction=MACHINE)
        assert_allclose(other.coef_, plain.coef_, rtol=1e-10)
        assert_allclose(other.vcov_, plain.vcov_, rtol=1e-8)


def test_gmm_derivative_helper_sees_the_moments():
    moments = FunctionMoments(lambda t, data: instrumental(t, *data), (IV, OUT), N, 4)
    assert check_jacobian(moments, np.array([0.3, 1.0])) < 1e-8


# Predicted covariates in other models, two categories at once, surveys.


def test_predicted_covariate_of_a_moment_by_hand():
    """Instruments known, the treatment predicted by a machine."""
    machine = 0.8 * TREATED + 0.2 + np.random.default_rng(1).normal(size=N)
    gold = np.column_stack([IV[:, 0], np.where(R, TREATED, np.nan), IV[:, 2:]])
    est = iv_moments(2, variance="design").fit(gold, OUT, prediction={"x1": machine})

    def score(theta, X, y):
        return X[:, [0, 2]] * (y - X[:, :2] @ theta)[:, None]

    hat = np.column_stack([IV[:, 0], machine, IV[:, 2:]])
    same_as_hand(est, solve_by_hand(score, (hat, OUT), (IV, OUT), np.zeros(2), kind="design"))


def test_quantile_with_a_predicted_covariate():
    """The loss is not convex; the root is still one, near that of the labels alone."""
    rng = np.random.default_rng(2)
    gold = FRAME["x1"].where(R)
    machine = FRAME["x1"] + 0.4 * rng.normal(size=N)
    frame = pd.DataFrame({"x1": gold, "x2": FRAME["x2"], "y": Y_GOLD, "m": machine})
    est = DSLRegressor("quantile", quantile=0.4, learner="passthrough")
    est.fit(frame, "y", prediction={"x1": "m"})
    assert est.converged_
    theta = est.result_.estimate
    X_hat = np.column_stack([np.ones(N), machine, FRAME["x2"]])
    w = np.where(R, N / N_R, 0.0)

    def score(design):
        return design * (0.4 - (Y_GOLD - design @ theta <= 1e-9))[:, None]

    total = (score(X_hat) + w[:, None] * (score(D) - score(X_hat))).sum(axis=0)
    assert np.abs(total).max() <= 3 * w.max() * np.abs(np.vstack([D, X_hat])).max()
    labels = QuantReg(Y_GOLD[R], D[R]).fit(q=0.4)
    assert np.abs((theta - labels.params) / est.std_error_).max() < 3


def test_two_predicted_categories_by_hand():
    frame = FRAME[["x1", "k", "ks", "t", "ts"]].assign(out=Y_GOLD)
    est = DSLRegressor(formula="out ~ x1 + k + t", learner="passthrough", variance="design")
    est.fit(frame, prediction={"k": "ks", "t": "ts"})

    def design(k, t):
        parts = [D[:, :2], dummies(FRAME[k], TOPICS)[:, 1:], dummies(FRAME[t], CLASSES)[:, 1:]]
        return np.hstack(parts)

    hat, gold = (design("ks", "ts"), Y_GOLD), (design("k_gold", "t_gold"), Y_GOLD)
    expected = solve_by_hand(linear_score, hat, gold, np.zeros(6), kind="design")
    wanted = ["(Intercept)", "x1", "k[T.law]", "k[T.sport]", "t[T.mid]", "t[T.right]"]
    order = [list(est.result_.names).index(name) for name in wanted]
    assert_allclose(est.result_.estimate[order], expected[0], rtol=EXACT)
    assert_allclose(est.vcov_[np.ix_(order, order)], expected[1], rtol=1e-6, atol=1e-12)


def test_survey_units_by_hand():
    """Totals of primary sampling units around their mean within strata."""
    psu = FRAME["doc"].astype(str) + FRAME["stratum"]
    est = DSLClassifier("multinomial", learner="passthrough")
    est.fit(X, FRAME["t"], prediction=FRAME["ts"], psu=psu, strata=FRAME["stratum"])
    theta = est.result_.estimate
    hat = dummies(FRAME["ts"], CLASSES)[:, 1:]
    w = np.where(R, N / N_R, 0.0)
    pseudo = hat + w[:, None] * (T - hat)
    psi = multinomial_score(theta, D, pseudo)
    totals = pd.DataFrame(psi).groupby([FRAME["stratum"], psu]).sum()
    meat = np.zeros((6, 6))
    for _, part in totals.groupby(level=0):
        gap = part.to_numpy() - part.to_numpy().mean(axis=0)
        meat += len(part) / (len(part) - 1) * gap.T @ gap
    A = numerical_jacobian(lambda t: multinomial_score(t, D, pseudo).sum(axis=0), theta)
    bread = np.linalg.inv(A)
    assert_allclose(est.vcov_, bread @ meat @ bread.T, rtol=1e-6, atol=1e-12)
    assert est.result_.vcov_type == "survey"


def test_large_samples_start_from_thinned_rows():
    """More than 100,000 rows: Newton starts from the root of some of them; the root is the same."""
    rng = np.random.default_rng(0)
    n = 120_000
    x = rng.normal(size=(n, 1))
    p = softmax(np.column_stack([np.zeros(n), 0.3 + 0.5 * x, -0.4 * x]), axis=1)
    gold = (p.cumsum(1) < rng.random((n, 1))).sum(1)
    machine = np.where(rng.random(n) < 0.8, gold, 0)
    labeled = rng.random(n) < 0.02
    y = np.where(labeled, np.array(CLASSES)[gold], None)
    est = DSLClassifier("multinomial", learner="passthrough")
    est.fit(x, y, prediction=np.array(CLASSES)[machine])
    design = np.column_stack([np.ones(n), x])
    w = np.where(labeled, n / labeled.sum(), 0.0)[:, None]
    pseudo = np.eye(3)[machine] + w * (np.eye(3)[gold] - np.eye(3)[machine])
    score = multinomial_score(est.result_.estimate, design, pseudo[:, 1:])
    assert np.abs(score.mean(axis=0)).max() < 1e-12
    assert est.converged_


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(8))
def test_no_direction_leads_down_from_a_quantile(seed, decimals):
    """Negative weights make the loss piecewise linear without being convex; a vertex ends in it."""
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(300), rng.normal(size=(300, 2))])
    y = design @ [0.3, 0.5, -0.4] + rng.normal(size=300)
    s = 0.8 * y + 0.5 + 0.5 * rng.normal(size=300)
    if decimals is not None:
        y, s = y.round(decimals), s.round(decimals)
    labeled = rng.random(300) < 0.3
    tau = float(rng.choice([0.25, 0.5, 0.9]))
    est = DSLRegressor("quantile", quantile=tau, learner="passthrough")
    est.fit(design[:, 1:], np.where(labeled, y, np.nan), prediction=s)
    w = np.where(labeled, 300 / labeled.sum(), 0.0)
    rows = np.vstack([design[labeled], design])
    outcome, weights = np.append(y[labeled], s), np.append(w[labeled], 1 - w)

    def loss(theta):
        return check_loss(theta, rows, outcome, tau, weights)

    assert est.converged_
    theta = est.result_.estimate
    around = theta + 1e-7 * rng.normal(size=(500, 3))
    assert min(map(loss, around)) >= loss(theta) - 1e-10 * np.abs(weights).sum()
