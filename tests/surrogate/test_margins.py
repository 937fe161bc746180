"""Average marginal effects: statsmodels, and coefficients and effects stacked in plain numpy."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import softmax
from statsmodels.discrete.discrete_model import Logit, MNLogit, Poisson

from robuststat import DSLClassifier, DSLRegressor
from robuststat._core.errors import ParameterError
from robuststat._core.moments import numerical_jacobian

EXACT = 1e-7  # numerical derivatives on both sides
N = 500
TOPICS = ["art", "law", "sport"]
CLASSES = ["left", "mid", "right"]

pytestmark = pytest.mark.filterwarnings("ignore:All 500 rows are labelled")


def build():
    rng = np.random.default_rng(11)
    f = pd.DataFrame(rng.normal(size=(N, 2)), columns=["x1", "x2"])
    f["female"] = (rng.random(N) < 0.4).astype(float)
    f["k_gold"] = rng.choice(TOPICS, N)
    f["ks"] = np.where(rng.random(N) < 0.75, f["k_gold"], rng.choice(TOPICS, N))
    f["z_gold"] = 0.5 * f["x1"] + rng.normal(size=N)
    f["zs"] = 0.7 * f["z_gold"] + 0.3 + 0.5 * rng.normal(size=N)
    eta = 0.2 + 0.6 * f["x1"] - 0.4 * f["x2"] + 0.5 * f["female"] + 0.4 * f["z_gold"]
    eta += f["k_gold"].map({"art": 0.0, "law": 0.7, "sport": -0.5})
    f["b_gold"] = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    f["bs"] = np.where(rng.random(N) < 0.85, f["b_gold"], 1 - f["b_gold"])
    f["c_gold"] = rng.poisson(np.exp(0.4 * eta)).astype(float)
    f["cs"] = f["c_gold"] + rng.poisson(0.5, N)
    p = softmax(np.column_stack([np.zeros(N), eta, 0.5 - 0.3 * eta]), axis=1)
    f["t_gold"] = np.array(CLASSES)[(p.cumsum(1) < rng.random((N, 1))).sum(1)]
    f["ts"] = np.where(rng.random(N) < 0.75, f["t_gold"], rng.choice(CLASSES, N))
    f["R"] = rng.random(N) < 0.5
    f["doc"] = rng.integers(0, 50, N)
    f["w"] = rng.uniform(0.5, 2, N)
    for name in "bcz":
        f[name] = f[f"{name}_gold"].where(f["R"])
    for name in "kt":
        f[name] = f[f"{name}_gold"].where(f["R"], None)
    return f


FRAME = build()
R = FRAME["R"].to_numpy()
W = FRAME["w"].to_numpy()
NAMES = ["x1", "x2", "female"]
D = np.column_stack([np.ones(N), FRAME[NAMES]])
B, BS = FRAME["b_gold"].to_numpy(), FRAME["bs"].to_numpy()


def expit(eta):
    return 1 / (1 + np.exp(-eta))


def stacked(score, effect, hat, gold, start, **design):
    """Coefficients and effects as the root of stacked design-adjusted moments, by hand.

    ``score(theta, D, y)``; ``effect(theta, D) -> (n, e)``; ``hat`` and ``gold`` are (D, y).
    """
    a = design.get("weights", np.ones(N))
    labeled = design.get("labeled", R)
    prob = (a * labeled).sum() / a.sum()
    w = a * labeled / prob
    k = len(start)
    first = root(lambda t: (a @ score(t, *gold)) / N, start, tol=1e-13).x
    begin = np.append(first, np.average(effect(first, gold[0]), axis=0, weights=a))

    def pair(full, data):
        return np.hstack([score(full[:k], *data), effect(full[:k], data[0]) - full[k:]])

    def psi(full):
        m_hat = pair(full, hat)
        return a[:, None] * m_hat + w[:, None] * (pair(full, gold) - m_hat)

    full = root(lambda t: psi(t).mean(axis=0), begin, tol=1e-13).x
    A = numerical_jacobian(lambda t: psi(t).mean(axis=0), full)
    scores = psi(full)
    kind = design.get("kind", "robust")
    delta = a[:, None] * (pair(full, gold) - pair(full, hat))
    centre = (delta[labeled] / prob).sum(axis=0) / (a * prob).sum()
    if kind == "design":
        scores = scores - (a * (labeled - prob))[:, None] * centre
    elif kind == "finite":
        spread = np.sqrt(np.where(labeled, (1 - prob) / prob**2, 0.0))
        scores = spread[:, None] * (delta - (a * prob)[:, None] * centre)
    groups = design.get("groups")
    if groups is not None:
        scores = pd.DataFrame(scores).groupby(np.asarray(groups)).sum().to_numpy()
    bread = np.linalg.inv(A)
    vcov = bread @ scores.T @ scores @ bread.T / N**2
    return full[k:], vcov[k:, k:]


def same(result, expected, tol=EXACT):
    assert_allclose(result.estimate, expected[0], rtol=tol, atol=1e-10)
    assert_allclose(result.vcov, expected[1], rtol=1e-6, atol=1e-11)


def logit_score(theta, X, y):
    return X * (y - expit(X @ theta))[:, None]


def poisson_score(theta, X, y):
    return X * (y - np.exp(X @ theta))[:, None]


def logit_slopes(theta, X):
    p = expit(X @ theta)
    return (p * (1 - p))[:, None] * theta[1:]


# Everything labelled: estimates of statsmodels; its standard errors take the rows for given.


def derivative_of(effect, theta, X):
    return numerical_jacobian(lambda t: effect(t, X).mean(axis=0), theta)


def test_logit_effects_are_get_margeff():
    est = DSLClassifier().fit(FRAME[NAMES], B, prediction=BS)
    found = est.margins(FRAME[NAMES], B, prediction=BS)
    fit = Logit(B, D).fit(disp=False, tol=1e-14, cov_type="HC0")
    peer = fit.get_margeff(at="overall")
    assert list(found.names) == NAMES
    assert_allclose(found.estimate, peer.margeff, rtol=1e-7)
    G = derivative_of(logit_slopes, est.result_.estimate, D)
    delta = G @ est.vcov_ @ G.T
    assert_allclose(np.sqrt(np.diag(delta)), peer.margeff_se, rtol=1e-6)
    # The rows are a sample too: their own variance and its covariance with the coefficients.
    theta = est.result_.estimate
    h = logit_slopes(theta, D)
    A = (D.T * (lambda p: p * (1 - p))(expit(D @ theta))) @ D / N
    own = h - h.mean(axis=0)
    influence = logit_score(theta, D, B) @ np.linalg.inv(A) @ G.T + own
    assert_allclose(found.vcov, influence.T @ influence / N**2, rtol=1e-7, atol=1e-13)
    same(found, stacked(logit_score, logit_slopes, (D, B), (D, B), theta, labeled=R | True))
    dummies = est.margins(FRAME[NAMES], B, prediction=BS, dummy=True)
    peer = fit.get_margeff(at="overall", dummy=True)
    assert_allclose(dummies.estimate, peer.margeff, rtol=1e-7)
    assert list(dummies.names) == ["x1", "x2", "female[1 - 0]"]


def test_poisson_effects_are_get_margeff():
    y = FRAME["c_gold"]
    est = DSLRegressor("poisson").fit(FRAME[NAMES], y, prediction=FRAME["cs"])
    found = est.margins(FRAME[NAMES], y, prediction=FRAME["cs"], variables=["x2", "x1"])
    peer = Poisson(y, D).fit(disp=False, tol=1e-14).get_margeff(at="overall")
    assert list(found.names) == ["x2", "x1"]
    assert_allclose(found.estimate, peer.margeff[[1, 0]], rtol=1e-7)


def test_multinomial_effects_are_get_margeff():
    y, s = FRAME["t_gold"], FRAME["ts"]
    est = DSLClassifier("multinomial").fit(FRAME[NAMES], y, prediction=s)
    found = est.margins(FRAME[NAMES], y, prediction=s)
    codes = y.map({c: j for j, c in enumerate(CLASSES)})
    peer = MNLogit(codes, D).fit(disp=False, tol=1e-14).get_margeff(at="overall")
    assert_allclose(found.estimate.reshape(3, 3).T, np.asarray(peer.margeff), atol=1e-7)
    assert list(found.outcomes) == [name for name in CLASSES for _ in NAMES]
    assert list(found.names) == NAMES * 3
    total = np.kron(np.ones(3), np.eye(3))
    assert_allclose(total @ found.estimate, 0.0, atol=1e-12)
    assert_allclose(total @ found.vcov @ total.T, 0.0, atol=1e-12)


# Linear models and given rows: the averages have no variance of their own.


@pytest.mark.parametrize("roles", [{}, {"clusters": "doc"}, {"sample_weight": "w"}])
@pytest.mark.parametrize("variance", ["robust", "design"])
@pytest.mark.parametrize("model", ["linear", "quantile"])
def test_effects_of_a_linear_predictor_are_coefficients(model, variance, roles):
    frame = FRAME[[*NAMES, "c", "cs", *roles.values()]]
    est = DSLRegressor(model, learner="passthrough", variance=variance)
    est.fit(frame, "c", prediction="cs", **roles)
    found = est.margins(frame)
    assert_allclose(found.estimate, est.coef_, rtol=1e-9)
    assert_allclose(found.vcov, est.vcov_[1:, 1:], rtol=1e-7, atol=1e-14)
    switched = est.margins(frame, variables="female", dummy=True)
    assert switched.estimate[0] == pytest.approx(est.coef_[2], rel=1e-9)
    assert switched.std_error[0] == pytest.approx(est.std_error_[3], rel=1e-7)


def test_finite_corpus_leaves_the_delta_method():
    frame = FRAME[[*NAMES, "b", "bs"]]
    est = DSLClassifier(learner="passthrough", population="finite").fit(frame, "b", prediction="bs")
    found = est.margins(frame)
    G = derivative_of(logit_slopes, est.result_.estimate, D)
    assert_allclose(found.vcov, G @ est.vcov_ @ G.T, rtol=1e-7)
    assert "given" in str(found.summary())


# Partly labelled.

DESIGNS = {
    "robust": ({}, {}, {}),
    "design": ({"variance": "design"}, {}, {"kind": "design"}),
    "finite": ({"population": "finite"}, {}, {"kind": "finite"}),
    "clusters": ({}, {"clusters": FRAME["doc"]}, {"groups": FRAME["doc"]}),
    "weights": ({"variance": "design"}, {"sample_weight": W}, {"kind": "design", "weights": W}),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_predicted_outcome(name):
    options, roles, hand = DESIGNS[name]
    roles = {"prediction": BS, **roles}
    est = DSLClassifier(learner="passthrough", **options).fit(FRAME[NAMES], FRAME["b"], **roles)
    found = est.margins(FRAME[NAMES], FRAME["b"], **roles)
    start = est.result_.estimate
    same(found, stacked(logit_score, logit_slopes, (D, BS), (D, B), start, **hand))


@pytest.mark.parametrize("name", DESIGNS)
def test_predicted_number(name):
    """Derivative and average both depend on the predicted covariate."""
    options, roles, hand = DESIGNS[name]
    frame = FRAME[["x1", "z", "zs"]].assign(b=B)
    est = DSLClassifier(formula="b ~ x1 * z", learner="passthrough", **options)
    est.fit(frame, prediction={"z": "zs"}, **roles)
    found = est.margins(frame, **roles)

    def design(z):
        x = FRAME["x1"].to_numpy()
        return np.column_stack([np.ones(N), x, z, x * z])

    def effect(theta, X):
        p = expit(X @ theta)
        slopes = [theta[1] + theta[3] * X[:, 2], theta[2] + theta[3] * X[:, 1]]
        return (p * (1 - p))[:, None] * np.column_stack(slopes)

    names = list(est.result_.names)
    assert names == ["(Intercept)", "x1", "z", "x1:z"]
    hat, gold = (design(FRAME[v].to_numpy()) for v in ("zs", "z_gold"))
    expected = stacked(logit_score, effect, (hat, B), (gold, B), est.result_.estimate, **hand)
    order = [["x1", "z"].index(v) for v in found.names]
    same(found, (expected[0][order], expected[1][np.ix_(order, order)]))


def topics(values):
    return np.column_stack([(values == v).astype(float) for v in TOPICS[1:]])


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("model", ["logit", "poisson"])
def test_predicted_category(model, name):
    """Differences to the first topic; other effects are averaged over the predicted topics."""
    options, roles, hand = DESIGNS[name]
    outcome = "b" if model == "logit" else "c"
    y = FRAME[f"{outcome}_gold"].to_numpy()
    frame = FRAME[["x1", "k", "ks"]].assign(out=y)
    kind = DSLClassifier if model == "logit" else DSLRegressor
    est = kind(model, formula="out ~ x1 + k", learner="passthrough", **options)
    est.fit(frame, prediction={"k": "ks"}, **roles)
    found = est.margins(frame, variables=["x1", "k"], **roles)
    assert list(est.result_.names) == ["(Intercept)", "x1", "k[T.law]", "k[T.sport]"]
    assert list(found.names) == ["x1", "k[law - art]", "k[sport - art]"]
    mean = expit if model == "logit" else np.exp

    def slope(eta):
        return mean(eta) * (1 - mean(eta)) if model == "logit" else mean(eta)

    def effect(theta, X):
        base = X[:, :2] @ theta[:2]
        steps = [mean(base + theta[j]) - mean(base) for j in (2, 3)]
        return np.column_stack([slope(X @ theta) * theta[1], *steps])

    def design(values):
        return np.column_stack([np.ones(N), FRAME["x1"], topics(values)])

    score = logit_score if model == "logit" else poisson_score
    hat, gold = design(FRAME["ks"]), design(FRAME["k_gold"])
    start = est.result_.estimate
    same(found, stacked(score, effect, (hat, y), (gold, y), start, **hand))


@pytest.mark.parametrize("name", ["robust", "design", "weights"])
def test_multinomial(name):
    options, roles, hand = DESIGNS[name]
    est = DSLClassifier("multinomial", learner="passthrough", **options)
    roles = {"prediction": FRAME["ts"], **roles}
    est.fit(FRAME[["x1"]], FRAME["t"], **roles)
    found = est.margins(FRAME[["x1"]], FRAME["t"], **roles)
    X = D[:, :2]

    def indicators(values):
        return np.column_stack([(values == v).astype(float) for v in CLASSES[1:]])

    def shares(theta, X):
        return softmax(np.column_stack([np.zeros(N), X @ theta.reshape(2, 2).T]), axis=1)

    def score(theta, X, Y):
        return np.hstack([X * g[:, None] for g in (Y - shares(theta, X)[:, 1:]).T])

    def effect(theta, X):
        p, b = shares(theta, X), np.append(0.0, theta[[1, 3]])
        return p * (b - (p @ b)[:, None])

    hat, gold = (X, indicators(FRAME["ts"])), (X, indicators(FRAME["t_gold"]))
    same(found, stacked(score, effect, hat, gold, est.result_.estimate, **hand))


def test_several_outcomes_are_single_effects():
    frame = FRAME[[*NAMES, "b", "bs"]].assign(
        d=(FRAME["c"] > 1).astype(float).where(R), ds=(FRAME["cs"] > 1).astype(float)
    )
    pairs = {"b": "bs", "d": "ds"}
    both = DSLClassifier(learner="passthrough").fit(frame, ["b", "d"], prediction=pairs)
    found = both.margins(frame)
    assert list(found.outcomes) == ["b"] * 3 + ["d"] * 3
    for j, (name, surrogate) in enumerate(pairs.items()):
        one = DSLClassifier(learner="passthrough")
        own = frame[[*NAMES, name, surrogate]]
        single = one.fit(own, name, prediction=surrogate).margins(own)
        own = slice(3 * j, 3 * j + 3)
        assert_allclose(found.estimate[own], single.estimate, rtol=1e-8)
        assert_allclose(found.vcov[own, own], single.vcov, rtol=1e-7)


def test_categories_and_formula_terms():
    frame = FRAME[["x1", "female", "k_gold"]].assign(b=B, bs=BS)
    est = DSLClassifier(formula="b ~ I(x1**2) + x1:female + k_gold").fit(frame, prediction="bs")
    found = est.margins(frame)
    assert set(found.names) == {"x1", "female", "k_gold[law - art]", "k_gold[sport - art]"}
    theta = dict(zip(est.result_.names, est.result_.estimate, strict=True))
    p = est.predict_proba(frame)[:, 1]
    inner = 2 * theta["I(x1 ** 2)"] * frame["x1"]
    inner = inner + theta["x1:female"] * frame["female"]
    at = list(found.names).index("x1")
    assert found.estimate[at] == pytest.approx((p * (1 - p) * inner).mean(), rel=1e-6)
    low, high = (est.predict_proba(frame.assign(k_gold=v))[:, 1] for v in ("art", "law"))
    at = list(found.names).index("k_gold[law - art]")
    assert found.estimate[at] == pytest.approx((high - low).mean(), rel=1e-9)
    flag = frame.assign(female=frame["female"] == 1)
    boolean = DSLClassifier(formula="b ~ x1 + female").fit(flag, prediction="bs")
    switched = boolean.margins(flag)
    assert "female[True - False]" in switched.names
    numeric = DSLClassifier(formula="b ~ x1 + female").fit(frame, prediction="bs")
    same_effect = numeric.margins(frame, dummy=True)
    assert_allclose(sorted(switched.estimate), sorted(same_effect.estimate), rtol=1e-9)
    assert_allclose(sorted(switched.std_error), sorted(same_effect.std_error), rtol=1e-9)


def test_learned_predictions_are_those_of_the_fit():
    """The model is fitted again with the same seed: linear effects stay the coefficients."""
    frame = FRAME[[*NAMES, "c", "cs"]]
    est = DSLRegressor(learner="ols", n_rep=3, random_state=4)
    est.fit(frame, "c", prediction="cs", features=["x1", "x2"])
    found = est.margins(frame)
    # Columns that a role names are no covariates.
    assert list(found.names) == ["female"]
    assert_allclose(found.estimate, est.coef_, rtol=1e-9)
    assert_allclose(found.std_error, est.std_error_[1:], rtol=1e-7)


def test_refusals():
    frame = FRAME[[*NAMES, "b", "bs"]]
    est = DSLClassifier(learner="passthrough").fit(frame, "b", prediction="bs")
    with pytest.raises(ParameterError, match=r"variables names 'age'; the covariates are x1, x2"):
        est.margins(frame, variables=["x1", "age"])
    arrays = DSLClassifier(learner="passthrough").fit(FRAME[NAMES], FRAME["b"], prediction=BS)
    with pytest.raises(ParameterError, match="fit was given y, prediction as arrays"):
        arrays.margins(FRAME[NAMES])
    absorbed = DSLRegressor(absorb="doc", learner="passthrough").fit(
        FRAME[[*NAMES, "c", "cs", "doc"]], "c", prediction="cs"
    )
    with pytest.raises(ParameterError, match="margins are not available with absorb"):
        absorbed.margins(FRAME[[*NAMES, "c", "cs", "doc"]])
