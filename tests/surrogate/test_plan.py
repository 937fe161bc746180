"""Planning by brute force, inverse problems, allocation, waves; R numbers: test_reference.py."""

import importlib.util
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from robuststat import DSLClassifier, DSLMean, DSLRegressor, LabelPlan, draw_wave
from robuststat._core.errors import ParameterError, RobuststatError, RoleError
from robuststat.simulation import make_surrogate_linear, make_surrogate_logit
from robuststat.surrogate._allocation import neyman_probabilities
from robuststat.surrogate._planning_parts import PlanParts

ROUNDING = 1e-10  # the same sums in another order
ROOT = Path(__file__).parents[2]


def linear(n=2000, n_labeled=300, seed=0, n_clusters=None, design="srs", **options):
    data = make_surrogate_linear(
        n, n_labeled, n_clusters=n_clusters, design=design, random_state=seed
    )
    roles = {"prediction": data.prediction}
    if n_clusters is not None:
        roles["clusters"] = data.clusters
    if design == "unequal":
        roles["sample_prob"] = data.sample_prob
    est = DSLRegressor(**({"learner": "passthrough"} | options))
    return data, est.fit(data.X, data.y, **roles), roles


def test_r_formula_falls_back_where_its_variance_is_negative():
    one = np.ones((1, 1))
    _, est, _ = linear(n_labeled=100)
    plan = LabelPlan(est)
    plan._parts = PlanParts(
        n_obs=2000,
        n_labeled=100,
        counts=np.array([2000.0]),
        sums=np.array([100.0]),
        full=one,
        noise_slope=one[None],
        noise_level=one[None],
        fitted=one,
        correction=2 * one,  # V(n') = 1 + 2 (100 / n' - 1) is zero at 200
        finite=False,
    )
    plan.terms = ("x1",)
    found = plan.std_error([400, 160, 800], method="r").loc["x1"]
    assert_allclose(found[160], 0.5)
    assert_allclose(found[400], 0.5 * np.sqrt(160 / 400))
    assert_allclose(found[800], 0.5 * np.sqrt(160 / 800))
    assert plan.std_error(400, method="r")["x1"] == pytest.approx(np.sqrt(100 / 400))


# The formula, written out.


def brute_force(est, data, prob_new, centred=True):
    """SE of the outcome-only linear model with new probabilities of the labelled rows."""
    X = np.column_stack([np.ones(len(data.X)), data.X])
    rows = np.flatnonzero(~np.isnan(data.y))
    mean = X @ est.result_.estimate
    m = X[rows] * (data.y - mean)[rows, None]
    delta = X[rows] * (data.y - data.prediction)[rows, None]
    prob = np.broadcast_to(prob_new[0], len(X))[rows]
    new = np.broadcast_to(prob_new[1], len(X))[rows]
    w = 1 / prob
    if centred:
        total = np.broadcast_to(prob_new[0], len(X)).sum()
        delta = delta - prob[:, None] * (w @ delta) / total
    meat = (m * w[:, None]).T @ m
    meat += (delta * (w * (1 - new) / new)[:, None]).T @ delta
    bread = np.linalg.inv(X.T @ X)
    V = bread @ meat @ bread
    assert np.linalg.eigvalsh(V).min() >= 0
    return np.sqrt(np.diag(V))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_unequal_probabilities_equal_brute_force(normalize, factor):
    data, _, roles = linear(design="unequal")
    est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=normalize)
    n_labeled = est.fit(data.X, data.y, **roles).n_labeled_
    prob = data.sample_prob * (n_labeled / data.sample_prob.sum() if normalize else 1.0)
    number = round(factor * n_labeled)
    used = np.minimum(1, prob * number / n_labeled)
    found = LabelPlan(est).std_error(number)
    assert_allclose(found, brute_force(est, data, (prob, used), normalize), rtol=ROUNDING)


def test_probabilities_stop_at_one():
    """Beyond the cap the others grow faster, so that the numbers still add up."""
    data, est, _ = linear(design="unequal")
    prob = data.sample_prob * (est.n_labeled_ / data.sample_prob.sum())
    low, high = 1.0, 50.0
    for _ in range(200):
        c = 0.5 * (low + high)
        low, high = (c, high) if np.minimum(1, c * prob).sum() < 1600 else (low, c)
    used = np.minimum(1, c * prob)
    assert (used == 1).any()
    assert (used < 1).any()
    found = LabelPlan(est).std_error(1600)
    assert_allclose(found, brute_force(est, data, (prob, used)), rtol=ROUNDING)


def test_many_probabilities_are_binned_well():
    data, _, _ = linear()
    rng = np.random.default_rng(1)
    prob = 0.05 + 0.3 * rng.random(2000)
    y = np.where(rng.random(2000) < prob, data.y_gold, np.nan)
    est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
    est.fit(data.X, y, prediction=data.prediction, sample_prob=prob)
    data.y = y
    plan = LabelPlan(est)
    assert plan._parts.counts.size <= 50
    scale = est.n_labeled_ / prob.sum()
    for number in (200, 600):
        c = number / prob.sum() / scale
        exact = brute_force(est, data, (prob, np.minimum(1, c * prob)), centred=False)
        assert_allclose(plan.std_error(number), exact, rtol=1e-8)
    assert_allclose(
        plan.std_error(2000), brute_force(est, data, (prob, np.ones(2000)), False), rtol=ROUNDING
    )
    middle = plan.std_error([600, 1000, 1400, 2000]).to_numpy()
    assert (np.diff(middle, axis=1) < 0).all()
    assert len(pickle.dumps(est)) < 50_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learner": "ols", "n_rep": 3, "random_state": 0},
        {"variance": "design"},
        {"tuning": "scalar"},
        {"tuning": "matrix"},
        {"population": "finite"},
        {"n_clusters": 100},
        {"design": "unequal"},
        {"vcov": "HC1"},
    ],
    ids=str,
)
def test_errors_fall_with_every_label(options):
    _, est, _ = linear(**options)
    plan = LabelPlan(est)
    found = plan.std_error(np.arange(5, 2001, 35)).to_numpy()
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) < 0).all()
    assert len(pickle.dumps(est)) < 50_000


def test_finite_population():
    _, est, _ = linear(population="finite")
    plan = LabelPlan(est)
    assert_allclose(plan.std_error(300), est.std_error_, rtol=ROUNDING)
    assert (plan.std_error(2000) == 0).all()
    assert plan.power(2000, coef="x1") == 1.0
    assert plan.labels_needed(coef="x1", se=0) == 2000
    with pytest.raises(ParameterError, match="no finite population"):
        plan.std_error(400, method="r")
    with pytest.raises(ParameterError, match="whole population"):
        plan.cheapest(coef="x1", se=0.1, cost_label=1, cost_row=1)


def test_clusters_with_the_design_variance_start_at_today():
    _, est, _ = linear(n_clusters=100, variance="design")
    assert_allclose(LabelPlan(est).std_error(300)["x1"], est.std_error_[1], rtol=ROUNDING)


def test_clusters_where_noise_leaves_nothing():
    """With hardly any labels the difference can be negative: rows then count as independent."""
    for seed in range(20):
        _, est, _ = linear(n_labeled=40, n_clusters=400, seed=seed)
        assert (LabelPlan(est).std_error(2000) > 0).all()


def test_other_estimators_and_complete_labels():
    data = make_surrogate_logit(n=1500, n_labeled=300, random_state=0)
    est = DSLClassifier(learner="passthrough").fit(data.X, data.y, prediction=data.prediction)
    assert (LabelPlan(est).std_error(1500) < est.std_error_).all()
    frame = pd.DataFrame({"g": np.arange(1500) % 3, "y": data.y})
    est = DSLMean(by="g", learner="passthrough").fit(frame, "y", prediction=data.prediction)
    assert LabelPlan(est).std_error(600).index.tolist() == list(est.result_.names)
    with pytest.warns(UserWarning, match="All 1500 rows"):
        full = DSLClassifier().fit(data.X, data.y_gold, prediction=data.prediction)
    assert_allclose(LabelPlan(full).std_error(1500), full.std_error_)
    assert_allclose(LabelPlan(full).std_error(300), full.std_error_)


@pytest.mark.slow
@pytest.mark.parametrize("n_clusters", [None, 200])
def test_plan_is_right_on_average(n_clusters):
    """Today's ratio to the design SE, and full labelling against the fit on every label."""
    today, full = [], []
    for seed in range(60):
        data, est, roles = linear(seed=seed, n_clusters=n_clusters, variance="design")
        plan = LabelPlan(est)
        today.append(plan.std_error(300) / est.std_error_)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gold = DSLRegressor().fit(data.X, data.y_gold, **roles)
        full.append((plan.std_error(2000) / gold.std_error_) ** 2)
    assert_allclose(np.mean(today, axis=0), 1.0, atol=0.015)
    error = np.std(full, axis=0) / np.sqrt(60)
    assert (np.abs(np.mean(full, axis=0) - 1.0) < 4 * error + 0.02).all()


# Power and the inverse problems.


def test_power_is_the_two_sided_formula():
    _, est, _ = linear()
    plan = LabelPlan(est)
    se = plan.std_error(500)["x3"]
    z = norm.ppf(0.95)
    wanted = norm.cdf(0.1 / se - z) + norm.cdf(-0.1 / se - z)
    assert plan.power(500, coef="x3", effect=-0.1, level=0.9) == pytest.approx(wanted)
    several = plan.power([300, 500], coef="x3", effect=0.1, level=0.9)
    assert several[500] == pytest.approx(wanted)
    assert several[300] < several[500]
    own = plan.power(500, coef="x3")
    assert own == plan.power(500, coef="x3", effect=est.coef_[2])
    assert plan.power(500, coef="x3", effect=0.0) == pytest.approx(0.05)
    assert plan.power(500, coef="x3", effect=0.1, method="r") > 0


@pytest.mark.parametrize("options", [{}, {"design": "unequal"}, {"population": "finite"}], ids=str)
def test_labels_needed_inverts(options):
    _, est, _ = linear(**options)
    plan = LabelPlan(est)
    for number in (50, 400, 1999):
        assert plan.labels_needed(coef="x1", se=plan.std_error(number)["x1"]) == number
        power = plan.power(number, coef="x3", effect=0.002)
        assert plan.labels_needed(coef="x3", power=power, effect=0.002) == number
        tighter = 0.999 * plan.std_error(number)["x1"]
        found = plan.labels_needed(coef="x1", se=tighter) if number < 1999 else None
        if found is not None:
            assert plan.std_error(found)["x1"] <= tighter < plan.std_error(found - 1)["x1"]
    assert plan.labels_needed(coef="x1", se=1e9) == 5


def test_not_reachable_names_both_numbers():
    _, est, _ = linear()
    plan = LabelPlan(est)
    floor = plan.std_error(2000)["x1"]
    with pytest.raises(ValueError, match=rf"not reachable.*{floor:.4g}, above 0\.001") as caught:
        plan.labels_needed(coef="x1", se=0.001)
    assert isinstance(caught.value, RobuststatError)
    power = plan.power(2000, coef="x1", effect=0.02)
    with pytest.raises(ParameterError, match=rf"not reachable.*0\.02 is {power:.4g}, below 0\.9"):
        plan.labels_needed(coef="x1", power=0.9, effect=0.02)


def test_cheapest_is_least():
    _, est, _ = linear(learner="ols", n_rep=2, random_state=0)
    plan = LabelPlan(est)
    best = plan.cheapest(coef="x1", se=0.02, cost_label=1.0, cost_row=0.05)
    a, b = plan._parts.per_row(1)
    assert best["std_error"] <= 0.02
    assert best["cost"] == best["n_labels"] + 0.05 * best["n_rows"]
    rows = np.geomspace(a / 0.02**2 * 1.01, 1e6, 20_000)
    labels = b / (0.02**2 - a / rows)
    cost = (rows * 0.05 + labels)[labels <= rows]
    assert best["cost"] == pytest.approx(cost.min(), abs=2)
    # At today's rows the same variance as std_error.
    assert np.sqrt(a / 2000 + b / 400) == pytest.approx(plan.std_error(400)["x1"], rel=1e-6)
    dear = plan.cheapest(coef="x1", se=0.02, cost_label=1e-6, cost_row=1.0)
    assert dear["n_rows"] == dear["n_labels"]
    by_power = plan.cheapest(coef="x1", power=0.8, effect=0.1, cost_label=1, cost_row=0.05)
    z = norm.ppf(0.975)
    reached = norm.cdf(0.1 / by_power["std_error"] - z)
    assert reached == pytest.approx(0.8, abs=2e-3)


# Allocation.


@pytest.mark.parametrize("n_labeled", [100, 300])
@pytest.mark.parametrize("learner", ["passthrough", "ols"])
def test_allocation(learner, n_labeled):
    rng = np.random.default_rng(0)
    data = make_surrogate_linear(2000, n_labeled, random_state=0)
    hard = rng.random(2000) < 0.3
    prediction = np.where(hard, data.y_gold + 3 * rng.standard_normal(2000), data.y_gold + 0.1)
    roles = {"prediction": prediction}
    est = DSLRegressor(learner=learner, n_rep=1, random_state=0)
    plan = LabelPlan(est.fit(data.X, data.y, **roles))
    prob = plan.allocation(
        data.X, data.y, coef="x1", n_labels=400, features=hard.astype(float), **roles
    )
    assert prob.shape == (2000,)
    assert prob.sum() == pytest.approx(400)
    assert prob.min() >= 0.1 * 400 / 2000
    assert prob.max() <= 1
    # A learner shrinks towards the covariates and so errs on confident rows as well.
    assert prob[hard].mean() > (2 if learner == "passthrough" else 1.4) * prob[~hard].mean()
    assert (prob[np.abs(data.X["x1"]) > 1].mean()) > prob[np.abs(data.X["x1"]) < 0.3].mean()
    even = plan.allocation(data.X, data.y, coef="x1", n_labels=400, floor=1, **roles)
    assert_allclose(even, 0.2)


def test_allocation_with_predicted_covariate_and_perfect_surrogate():
    data, est, _ = linear()
    given = data.y_gold
    est = DSLRegressor(learner="passthrough").fit(data.X, data.y, prediction=given)
    prob = LabelPlan(est).allocation(data.X, data.y, coef="x1", n_labels=200, prediction=given)
    assert prob.sum() == pytest.approx(200)
    frame = data.X.assign(y=data.y_gold, guess=data.X["x1"] + 0.3)
    frame.loc[np.isnan(data.y), "x1"] = np.nan
    est = DSLRegressor(formula="y ~ x1 + x2", learner="passthrough")
    roles = {"prediction": {"x1": "guess"}}
    plan = LabelPlan(est.fit(frame, **roles))
    prob = plan.allocation(frame, coef="x1", n_labels=200, **roles)
    assert prob.sum() == pytest.approx(200)
    assert prob.min() > 0


@pytest.mark.parametrize("cap", [1.0, 0.3])
def test_probabilities_are_capped_and_sum(cap):
    size = np.random.default_rng(0).exponential(size=500) ** 3
    size[:20] = 0
    for total in (1.0, 40.0, 140.0, 500 * cap):
        prob = neyman_probabilities(size, total, 0.1, cap)
        assert prob.sum() == pytest.approx(total)
        assert prob.max() <= cap + 1e-12
        assert prob.min() >= 0.1 * total / 500
    free = neyman_probabilities(size, 1.0, 0.0)
    large = size > 1e-5 * size.max()
    assert_allclose(free[large] / size[large], free.max() / size.max(), rtol=1e-10)


# Waves.


def test_waves_keep_their_promises():
    data = make_surrogate_linear(1000, random_state=0)
    y = np.full(1000, np.nan)
    est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
    before = est.get_params()
    wave, seen = None, np.zeros(1000, bool)
    weight = np.zeros(1000)
    for seed, size in enumerate((60, 40, 100)):
        arguments = {
            "n_labels": size,
            "coef": "x1",
            "prediction": data.prediction,
            "earlier": wave,
            "random_state": seed,
        }
        wave = draw_wave(est, data.X, y, **arguments)
        again = draw_wave(est, data.X, y, **arguments)
        assert (again.rows == wave.rows).all()
        assert wave.rows.size == size
        assert not seen[wave.rows].any()
        assert wave.prob.sum() == pytest.approx(size)
        assert (wave.prob[seen] == 0).all()
        assert (wave.prob[~seen] > 0).all()
        share = size / sum(wave.sizes)
        now = np.where(seen, 1.0, 0.0)
        now[wave.rows] = 1 / wave.prob[wave.rows]
        weight = (1 - share) * weight + share * now
        seen[wave.rows] = True
        y[wave.rows] = data.y_gold[wave.rows]
        assert (wave.labeled == seen).all()
        assert_allclose(1 / wave.sample_prob[seen], weight[seen])
        assert ((wave.sample_prob > 0) & (wave.sample_prob <= 1)).all()
    assert wave.sizes == (60, 40, 100)
    assert est.get_params() == before
    assert not hasattr(est, "result_")


def test_wave_weights_average_to_one():
    """Given the first wave, the weights of the second have expectation one for every row."""
    data = make_surrogate_linear(60, random_state=1)
    est = DSLMean(learner="passthrough")
    prediction = data.prediction
    total, n_draws = np.zeros(60), 300
    rng = np.random.default_rng(0)
    y = np.full(60, np.nan)
    first = draw_wave(est, None, y, n_labels=15, random_state=rng)
    y[first.rows] = data.y_gold[first.rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(n_draws):
            second = draw_wave(
                est,
                None,
                y,
                n_labels=15,
                coef="mean",
                prediction=prediction,
                earlier=first,
                random_state=rng,
            )
            total += np.where(second.labeled, 1 / second.sample_prob, 0.0)
    expected = 0.5 * np.where(first.labeled, 4.0, 0.0) + 0.5
    new = ~first.labeled
    assert_allclose(total[~new] / n_draws, expected[~new])
    spread = 0.5 * np.sqrt((1 - second.prob[new]) / second.prob[new] / n_draws)
    assert (np.abs(total[new] / n_draws - expected[new]) < 4.5 * spread).all()


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["passthrough", "ols"])
def test_waves_beat_uniform_labels(learner, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("label_waves", ROOT / "benchmarks/label_waves.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "label_waves", module)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small probabilities are announced
        found = module.study(learner, 100, seed=1)
    own = found["in_waves"]
    assert abs(own["bias_in_sd"]) < 4 / np.sqrt(100)
    assert own["coverage"] > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100)
    # 100 draws tell the ratio of cross-fitted OLS (about .88) from 1 by 1.5 standard errors only.
    margin = {"passthrough": 2, "ols": 0}[learner]
    assert found["rmse_ratio"] + margin * found["rmse_ratio_mc_error"] < 1


# Plot and bad input.


def test_plot():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    _, est, _ = linear()
    plan = LabelPlan(est)
    ax = plan.plot()
    assert ax.get_xlabel() == "Expert labels"
    assert ax.get_ylabel() == "Standard error"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x1", "x2", "x3"]
    words = [text.get_text().strip() for text in ax.texts]
    assert words == ["today: 300 labels", "dashed: every row labelled"]
    curve = next(line for line in ax.lines if line.get_label() == "x1")
    assert curve.get_xdata()[-1] == 2000
    assert curve.get_ydata()[-1] == plan.std_error(2000)["x1"]
    assert curve.get_xdata()[curve.get_markevery()[0]] == 300
    other = plan.plot(coef="x2", quantity="power", effect=0.1, ax=pyplot.figure().subplots())
    assert other.get_ylabel() == "Power at level 0.95"
    pyplot.close("all")


BAD = {
    "too many": (lambda p: p.std_error(2001), "from 5 .* to 2000 .*got 2001"),
    "too few": (lambda p: p.std_error([300, 4]), "got 4"),
    "not whole": (lambda p: p.std_error(300.5), "whole numbers"),
    "no number": (lambda p: p.std_error("many"), "whole numbers.*'many'"),
    "nan": (lambda p: p.std_error(np.nan), "whole numbers"),
    "empty": (lambda p: p.std_error([]), "n_labels is empty"),
    "method": (lambda p: p.std_error(300, method="x"), "method must be"),
    "coef": (lambda p: p.power(300, coef="x9"), "coef is 'x9'; the terms are"),
    "coef missing": (lambda p: p.labels_needed(coef=None, se=1.0), "coef is None"),
    "two goals": (lambda p: p.labels_needed(coef="x1", se=1.0, power=0.8), "exactly one"),
    "no goal": (lambda p: p.labels_needed(coef="x1"), "exactly one of se and power"),
    "se": (lambda p: p.labels_needed(coef="x1", se=-1.0), "se must be"),
    "power": (lambda p: p.labels_needed(coef="x1", power=1.0), "power must be"),
    "level": (lambda p: p.power(300, coef="x1", level=95), "level must be"),
    "effect": (lambda p: p.power(300, coef="x1", effect=np.inf), "effect must be"),
    "cost": (lambda p: p.cheapest(coef="x1", se=0.1, cost_label=1, cost_row=0), "cost_row must"),
    "zero se": (lambda p: p.cheapest(coef="x1", se=0, cost_label=1, cost_row=1), "positive"),
    "no effect": (
        lambda p: p.cheapest(coef="x1", power=0.8, effect=0, cost_label=1, cost_row=1),
        "sets no standard error",
    ),
    "quantity": (lambda p: p.plot(quantity="x"), "quantity must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, match = BAD[name]
    _, est, _ = linear()
    with pytest.raises(ParameterError, match=match):
        call(LabelPlan(est))


@pytest.mark.parametrize("est", [DSLRegressor, object(), "x"])
def test_plan_needs_an_estimator(est):
    with pytest.raises(ParameterError, match="est must be a fitted"):
        LabelPlan(est)


def test_plan_needs_a_fit():
    with pytest.raises(Exception, match="not fitted"):
        LabelPlan(DSLRegressor())


def test_bad_allocation():
    data, est, roles = linear()
    plan = LabelPlan(est)
    with pytest.raises(ParameterError, match="floor must be"):
        plan.allocation(data.X, data.y, coef="x1", n_labels=400, floor=2, **roles)
    with pytest.raises(ParameterError, match="X has the terms"):
        plan.allocation(data.X[["x1"]], data.y, coef="x1", n_labels=400, **roles)
    with pytest.raises(RoleError, match="needs prediction"):
        plan.allocation(data.X, data.y, coef="x1", n_labels=400)
    X = data.X.copy()
    X.iloc[3, 0] = np.nan
    lax = LabelPlan(est.set_params(missing="drop"))
    with (
        pytest.warns(UserWarning, match="1 of 2000|1 row"),
        pytest.raises(ParameterError, match="1 rows have missing"),
    ):
        lax.allocation(X, data.y, coef="x1", n_labels=400, **roles)


def test_bad_waves():
    data = make_surrogate_linear(200, random_state=0)
    est = DSLRegressor(learner="passthrough")
    y = np.full(200, np.nan)
    first = draw_wave(est, data.X, y, n_labels=60, random_state=0)
    common = {"prediction": data.prediction, "earlier": first, "coef": "x1"}
    with pytest.raises(RoleError, match="labeled is 1 but"):
        draw_wave(est, data.X, y, n_labels=30, **common)
    y[first.rows] = data.y_gold[first.rows]
    with pytest.raises(ParameterError, match="can label at most 80 of 200"):
        draw_wave(est, data.X, y, n_labels=90, **common)
    with pytest.raises(ParameterError, match="n_labels must be"):
        draw_wave(est, data.X, y, n_labels=0, **common)
    with pytest.raises(ParameterError, match="coef is 'x9'"):
        draw_wave(est, data.X, y, n_labels=30, **(common | {"coef": "x9"}))
    with pytest.raises(ParameterError, match="coef is needed"):
        draw_wave(est, data.X, y, n_labels=30, **(common | {"coef": None}))
    with pytest.raises(ParameterError, match="sample_prob come from earlier"):
        draw_wave(est, data.X, y, n_labels=30, sample_prob=np.ones(200), **common)
    with pytest.raises(ParameterError, match="est must be"):
        draw_wave(None, data.X, y, n_labels=30, **common)
    with pytest.raises(ParameterError, match="floor must be"):
        draw_wave(est, data.X, y, n_labels=30, floor=-1, **common)
    with pytest.raises(ParameterError, match="needs the rows"):
        draw_wave(est, None, None, n_labels=30)


def test_absorbed_effects_are_refused():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "g": np.arange(200) % 10})
    frame["s"] = frame["x"] + rng.normal(size=200)
    frame["y"] = np.where(np.arange(200) < 80, frame["s"] + rng.normal(size=200), np.nan)
    est = DSLRegressor(absorb="g", learner="passthrough").fit(frame, "y", prediction="s")
    with pytest.raises(ParameterError, match="LabelPlan does not take absorb"):
        LabelPlan(est)
