"""What users rely on in every row model: containers, labels, order, weights, planning, tables."""

import json
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression

from robuststat import (
    DSLClassifier,
    DSLMean,
    DSLMoment,
    DSLRegressor,
    LabelPlan,
    compare_estimators,
)
from robuststat.simulation import monte_carlo

EXACT = 1e-8  # the same equations solved from other first values or in another order
N = 600
NAMES = ["x1", "x2"]
CLASSES = ["left", "mid", "right"]
TOPICS = ["art", "law", "sport"]


def build(n=N, seed=5):
    rng = np.random.default_rng(seed)
    f = pd.DataFrame(rng.normal(size=(n, 2)), columns=NAMES)
    p = softmax(np.column_stack([np.zeros(n), 0.2 + f["x1"], 0.5 * f["x2"]]), axis=1)
    f["t_gold"] = np.array(CLASSES)[(p.cumsum(1) < rng.random((n, 1))).sum(1)]
    f["ts"] = np.where(rng.random(n) < 0.75, f["t_gold"], rng.choice(CLASSES, n))
    f["k_gold"] = rng.choice(TOPICS, n)
    f["ks"] = np.where(rng.random(n) < 0.8, f["k_gold"], rng.choice(TOPICS, n))
    f["y_gold"] = f["x1"] - 0.5 * f["x2"] + 0.6 * (f["k_gold"] == "law") + rng.normal(size=n)
    f["s"] = 0.9 * f["y_gold"] + 0.2 + 0.5 * rng.normal(size=n)
    f["b_gold"] = (rng.random(n) < expit(f["y_gold"])).astype(float)
    f["bs"] = np.where(rng.random(n) < 0.85, f["b_gold"], 1 - f["b_gold"])
    f["R"] = rng.random(n) < 0.5
    f["doc"] = rng.integers(0, n // 10, n)
    f["w"] = rng.integers(1, 4, n).astype(float)
    for name in "yb":
        f[name] = f[f"{name}_gold"].where(f["R"])
    for name in "tk":
        f[name] = f[f"{name}_gold"].where(f["R"], None)
    return f


FRAME = build()
R = FRAME["R"].to_numpy()


def ols(theta, X, y):
    return X * (y - X @ theta)[:, None]


def instruments(theta, X, y):
    return np.column_stack([X, X[:, 0] * X[:, 1]]) * (y - X @ theta)[:, None]


# (estimator, columns of the frame, outcome, prediction)
KINDS = {
    "multinomial": (DSLClassifier("multinomial"), ["t", "ts"], "t", "ts"),
    "quantile": (DSLRegressor("quantile", quantile=0.3), ["y", "s"], "y", "s"),
    "outcomes": (DSLRegressor(), ["y", "b", "s", "bs"], ["y", "b"], {"y": "s", "b": "bs"}),
    "moment": (DSLMoment(ols), ["y", "s"], "y", "s"),
    "gmm": (DSLMoment(instruments), ["y", "s"], "y", "s"),
    "topic": (DSLRegressor(), ["k", "ks", "y_gold"], "y_gold", {"k": "ks"}),
}


def fit(kind, frame=FRAME, convert=lambda f: f, more=(), roles=None, **options):
    est, columns, y, prediction = KINDS[kind]
    if kind == "gmm":
        est = DSLMoment(instruments, n_params=2)
    est = clone(est).set_params(**({"learner": "passthrough"} | options))
    data = convert(frame[[*NAMES, *columns, *more]])
    return est.fit(data, y, prediction=prediction, **(roles or {}))


def same(first, second, tol=EXACT):
    assert list(first.result_.labels) == list(second.result_.labels)
    assert_allclose(first.result_.estimate, second.result_.estimate, rtol=tol, atol=tol)
    assert_allclose(first.vcov_, second.vcov_, rtol=10 * tol, atol=tol)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_rows_does_not_matter(kind):
    order = np.random.default_rng(0).permutation(N)
    same(fit(kind), fit(kind, FRAME.iloc[order].reset_index(drop=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_containers(kind):
    expected = fit(kind)
    same(fit(kind, convert=pl.from_pandas), expected, 1e-12)
    same(fit(kind, convert=pa.Table.from_pandas), expected, 1e-12)
    same(fit(kind, FRAME.set_index(np.arange(N) + 7)), expected, 1e-12)


@pytest.mark.parametrize("kind", ["multinomial", "quantile", "outcomes", "moment", "topic"])
def test_scale_of_covariates(kind):
    scaled = FRAME.assign(x1=1e4 * FRAME["x1"], x2=1e-3 * FRAME["x2"])
    unit = {"x1": 1e4, "x2": 1e-3}
    factor = np.array([unit.get(name, 1.0) for name in fit(kind).result_.names])
    one, other = fit(kind), fit(kind, scaled)
    assert_allclose(other.result_.estimate * factor, one.result_.estimate, rtol=1e-6, atol=1e-7)
    assert_allclose(other.std_error_ * factor, one.std_error_, rtol=1e-6)


def test_scale_and_sign_of_a_quantile():
    moved = FRAME.assign(y=10 * FRAME["y"] + 5, s=10 * FRAME["s"] + 5)
    one, other = fit("quantile"), fit("quantile", moved)
    expected = 10 * one.result_.estimate + [5, 0, 0]
    assert_allclose(other.result_.estimate, expected, rtol=1e-7, atol=1e-7)
    assert_allclose(other.std_error_, 10 * one.std_error_, rtol=1e-7)
    turned = fit("quantile", FRAME.assign(y=-FRAME["y"], s=-FRAME["s"]), quantile=0.7)
    # Rows on the plane are on the other side, which moves the average score by their number.
    assert_allclose(turned.result_.estimate, -one.result_.estimate, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights_are_copies(kind):
    copies = FRAME.loc[FRAME.index.repeat(FRAME["w"].astype(int))]
    copies = copies.assign(row=copies.index).reset_index(drop=True)
    weighted = fit(
        kind,
        FRAME.assign(row=np.arange(N)),
        more=["w", "row"],
        roles={"sample_weight": "w", "clusters": "row"},
    )
    copied = fit(kind, copies, more=["row"], roles={"clusters": "row"})
    assert_allclose(weighted.result_.estimate, copied.result_.estimate, rtol=1e-7, atol=1e-9)
    if kind != "quantile":  # its bandwidth depends on the effective number of rows
        assert_allclose(weighted.vcov_, copied.vcov_, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_objects_hold_no_rows(kind):
    sizes = [len(pickle.dumps(fit(kind, build(n)))) for n in (600, 6000)]
    assert sizes[1] < sizes[0] + 2000
    est = pickle.loads(pickle.dumps(fit(kind)))
    same(est, fit(kind), 0.0)
    assert "Observations: 600" in str(est.summary())


@pytest.mark.parametrize("kind", KINDS)
def test_clones_and_seeds(kind):
    est = fit(kind, learner="ols", n_rep=2, random_state=3)
    again = clone(est)
    assert not hasattr(again, "result_")
    columns, y, prediction = KINDS[kind][1:]
    again.fit(FRAME[[*NAMES, *columns]], y, prediction=prediction)
    same(est, again, 1e-12)
    assert est.repeat_params_.shape == (2, est.result_.estimate.size)
    gap = (est.result_.estimate - fit(kind).result_.estimate) / est.std_error_
    assert np.abs(gap).max() < 3


# Class labels.

LABELS = {
    "integers": lambda v: pd.Series(v).map(dict(zip(CLASSES, [1, 2, 3], strict=True))),
    "floats": lambda v: pd.Series(v).map(dict(zip(CLASSES, [1.0, 2.0, 3.0], strict=True))),
    "Int64": lambda v: LABELS["integers"](v).astype("Int64"),
    "string": lambda v: pd.Series(v).astype("string"),
    "categorical": lambda v: pd.Series(pd.Categorical(v, CLASSES)),
}


@pytest.mark.parametrize(
    ("estimator", "kind"),
    # The numbers have a mean: shares are asked for by text.
    [("multinomial", kind) for kind in LABELS] + [("shares", "string"), ("shares", "categorical")],
)
def test_types_of_class_labels(estimator, kind):
    make = {
        "multinomial": lambda: DSLClassifier("multinomial", learner="passthrough"),
        "shares": lambda: DSLMean(learner="passthrough"),
    }[estimator]
    X = FRAME[NAMES]
    expected = make().fit(X, FRAME["t"], prediction=FRAME["ts"])
    gold, machine = LABELS[kind](FRAME["t_gold"]), LABELS[kind](FRAME["ts"])
    est = make().fit(X, gold.where(R, pd.NA if kind == "Int64" else None), prediction=machine)
    assert_allclose(est.result_.estimate, expected.result_.estimate, rtol=1e-12)
    assert_allclose(est.vcov_, expected.vcov_, rtol=1e-12, atol=1e-15)
    assert len(est.classes_) == 3
    if estimator == "multinomial":
        assert set(est.predict(X)) <= set(est.classes_.tolist())


def test_first_class_is_the_baseline():
    """Classes are sorted, as in scikit-learn; other names give another baseline."""
    turned = {"right": "1 right", "mid": "2 mid", "left": "3 left"}
    est = DSLClassifier("multinomial", learner="passthrough")
    est.fit(FRAME[NAMES], FRAME["t"].map(turned), prediction=FRAME["ts"].map(turned))
    assert est.classes_.tolist() == list(turned.values())
    plain = fit("multinomial")
    theta, base = est.result_.estimate, plain.result_.estimate
    assert_allclose(theta[3:], -base[3:], rtol=1e-7)
    assert_allclose(theta[:3], base[:3] - base[3:], rtol=1e-7, atol=1e-9)
    assert_allclose(est.predict_proba(FRAME[NAMES])[:, ::-1], plain.predict_proba(FRAME[NAMES]))
    expected = pd.Series(plain.predict(FRAME[NAMES])).map(turned)
    assert (est.predict(FRAME[NAMES]) == expected).all()


def test_boolean_classes():
    y = pd.Series(FRAME["b_gold"] == 1, dtype=object).where(R, None)
    est = DSLClassifier("multinomial", learner="passthrough")
    est.fit(FRAME[NAMES], y, prediction=FRAME["bs"])
    logit = DSLClassifier(learner="passthrough").fit(FRAME[NAMES], y, prediction=FRAME["bs"])
    assert_allclose(est.result_.estimate, logit.result_.estimate, rtol=EXACT)
    assert est.classes_.tolist() == [False, True]
    assert est.predict(FRAME[NAMES]).dtype == bool


# Learners of classes.


def test_probabilities_by_name_and_in_order():
    rng = np.random.default_rng(0)
    hits = np.column_stack([FRAME["ts"] == c for c in CLASSES])
    shares = softmax(2.0 * hits + rng.normal(size=(N, 3)), axis=1)
    est = DSLClassifier("multinomial", learner="passthrough")
    plain = clone(est).fit(FRAME[NAMES], FRAME["t"], prediction=shares)
    named = pd.DataFrame(shares, columns=CLASSES)[["right", "left", "mid"]]
    same(clone(est).fit(FRAME[NAMES], FRAME["t"], prediction=named), plain, 1e-12)
    frame = FRAME[[*NAMES, "t"]].join(named)
    same(clone(est).fit(frame, "t", prediction=["mid", "right", "left"]), plain, 1e-12)
    other = pd.DataFrame(shares, columns=["p1", "p2", "p3"])
    same(clone(est).fit(FRAME[NAMES], FRAME["t"], prediction=other), plain, 1e-12)
    hard = clone(est).fit(FRAME[NAMES], FRAME["t"], prediction=hits.astype(float))
    same(hard, fit("multinomial"), 1e-12)
    assert plain.surrogate_report_["variable"].tolist() == [f"y[{c}]" for c in CLASSES] or (
        plain.surrogate_report_["variable"].tolist() == [f"t[{c}]" for c in CLASSES]
    )


@pytest.mark.parametrize(
    "learner", [LogisticRegression(), LinearRegression(), "logit", "ols", "auto"]
)
@pytest.mark.parametrize("kind", ["multinomial", "topic"])
def test_learners_of_classes(kind, learner):
    options = {"n_rep": 1, "random_state": 0}
    est = fit(kind, learner=learner, **options)
    gap = (est.result_.estimate - fit(kind).result_.estimate) / est.std_error_
    assert np.abs(gap).max() < 3
    name = "y" if kind == "multinomial" else "k"
    assert est.losses_[name].shape == (1, 5)
    # Brier score, summed over classes: better than the shares of the classes alone.
    assert est.losses_[name].mean() < 0.6
    report = est.surrogate_report_
    own = report[report["surrogate"] == "(prediction)"]
    assert len(own) == 3
    assert own["bias"].abs().max() < 0.05


def test_class_that_a_training_part_lacks():
    """One label of a fourth class: the folds that do not train on it give it probability zero."""
    y = FRAME["t"].copy()
    first = int(np.flatnonzero(R)[0])
    y[first] = "other"
    mean = DSLMean(learner="logit", n_rep=2, cv=4, random_state=0)
    mean.fit(None, y, prediction=FRAME["ts"])
    assert mean.classes_.tolist() == ["left", "mid", "other", "right"]
    assert mean.coef_.sum() == pytest.approx(1.0, abs=1e-9)
    assert mean.coef_[2] == pytest.approx(1 / R.sum(), rel=0.2)


# Tables, planning and comparison.


def test_tables_of_several_blocks():
    est = fit("outcomes")
    tidy = est.tidy()
    assert tidy["outcome"].tolist() == ["y"] * 3 + ["b"] * 3
    assert est.coef_.shape == (2, 2)
    assert est.design_effect_.index[0] == "y:(Intercept)"
    test = est.wald_test(np.hstack([np.eye(3)[1:], -np.eye(3)[1:]]))
    gap = est.coef_[0] - est.coef_[1]
    half = np.hstack([np.eye(3)[1:], -np.eye(3)[1:]])
    by_hand = gap @ np.linalg.solve(half @ est.vcov_ @ half.T, gap)
    assert test.statistic == pytest.approx(by_hand, rel=1e-9)
    assert est.predict(FRAME[NAMES]).shape == (N, 2)
    filled = est.augment(FRAME[[*NAMES, "y", "b"]], ["y", "b"])
    assert_allclose(filled[".fitted[b]"], est.predict(FRAME[NAMES])[:, 1])
    assert_allclose(filled[".resid[y]"], FRAME["y"] - filled[".fitted[y]"])


def test_fitted_values_of_classes():
    est = fit("multinomial")
    X = FRAME[NAMES]
    p = est.predict_proba(X)
    assert_allclose(p.sum(axis=1), 1)
    assert_allclose(softmax(est.decision_function(X), axis=1), p)
    filled = est.augment(FRAME[[*NAMES, "t"]], "t")
    assert_allclose(filled[[f".fitted[{c}]" for c in CLASSES]], p)
    row = np.append(1.0, X.iloc[0])
    at = p[0]

    def derivative(c):
        return np.kron([float(c == d) - at[d] for d in (1, 2)], row) * at[c]

    for c, name in enumerate(CLASSES):
        se = np.sqrt(derivative(c) @ est.vcov_ @ derivative(c))
        assert filled[f".se_fit[{name}]"].iloc[0] == pytest.approx(se, rel=1e-9)
        hit = (FRAME["t"] == name).astype(float).where(R)
        assert_allclose(filled[f".resid[{name}]"], hit - p[:, c])


@pytest.mark.parametrize("kind", KINDS)
def test_influence_gives_the_variance(kind):
    est = fit(kind, keep_influence=True)
    rows = est.result_.influence
    assert rows.shape == (N, est.result_.estimate.size)
    assert_allclose(rows.T @ rows / N**2, est.vcov_, rtol=1e-7, atol=1e-12)
    clustered = est.refit_vcov("CR0", FRAME["doc"])
    direct = fit(kind, more=["doc"], roles={"clusters": "doc"})
    if kind == "gmm":  # two-step weights depend on the clusters, so that only the sizes agree
        assert_allclose(clustered.std_error, direct.std_error_, rtol=0.2)
    else:
        assert_allclose(clustered.vcov, direct.vcov_, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_small_sample_factors_are_those_of_the_fit(kind):
    """Several outcomes have k parameters each, a multinomial model has all of them."""
    again = fit(kind, keep_influence=True).refit_vcov("HC1")
    direct = fit(kind, vcov="HC1")
    assert_allclose(again.vcov, direct.vcov_, rtol=1e-9, atol=1e-15)
    assert again.df == direct.result_.df
    k = {"multinomial": 6, "topic": 5, "moment": 2, "gmm": 2}.get(kind, 3)
    factor = direct.vcov_ / fit(kind).vcov_
    assert_allclose(factor, N / (N - k), rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_exports(kind):
    est = fit(kind)
    k = est.result_.estimate.size
    assert len(json.dumps(est.to_dict())) > 500
    assert est.glance().shape[0] == 1
    assert est.confint(kind="simultaneous").shape == (k, 2)
    assert "<table" in est.summary()._repr_html_()
    plt.close(est.plot().figure)
    plt.close(LabelPlan(est).plot().figure)


@pytest.mark.parametrize("kind", KINDS)
def test_allocations(kind):
    """Probabilities for one coefficient, by its label, that sum to the number wanted."""
    columns, y, prediction = KINDS[kind][1:]
    plan = LabelPlan(fit(kind))
    rows = FRAME[[*NAMES, *columns]]
    found = plan.allocation(rows, y, coef=plan.terms[-1], n_labels=300, prediction=prediction)
    assert found.sum() == pytest.approx(300, rel=1e-9)
    assert found.min() >= 0.1 * 300 / N - 1e-12
    assert found.max() <= 1
    assert found.std() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_plans(kind):
    """Today's number gives today's design-based standard error; more labels give smaller ones."""
    frame = build(3000, seed=1)
    est = fit(kind, frame, variance="design")
    plan = LabelPlan(est)
    assert plan.terms == tuple(est.result_.labels)
    today = plan.std_error(est.n_labeled_)
    assert list(today.index) == list(est.result_.labels)
    assert_allclose(today, est.std_error_, rtol=0.12)
    more = plan.std_error([est.n_labeled_, 2000, 3000])
    assert (np.diff(more.to_numpy(), axis=1) <= 0).all()
    label = plan.terms[-1]
    goal = float(plan.std_error(2000)[label])
    assert abs(plan.labels_needed(coef=label, se=goal * (1 + 1e-9)) - 2000) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_comparisons(kind):
    est, columns, y, prediction = KINDS[kind]
    if kind == "gmm":
        est = DSLMoment(instruments, n_params=2)
    est = clone(est).set_params(learner="ols", n_rep=2, random_state=0)
    frame = FRAME[[*NAMES, *columns]]
    found = compare_estimators(est, frame, y, prediction=prediction)
    expected = {"surrogate only", "gold only", "prediction only", "PPI++", "DSL"}
    assert set(found.results) == expected - ({"PPI++"} if kind == "gmm" else set())
    fitted = est.fit(frame, y, prediction=prediction)
    assert_allclose(found.results["DSL"].estimate, fitted.result_.estimate, rtol=1e-10)
    assert list(found.effective_labels.index) == list(fitted.result_.labels)
    gold = found.results["gold only"]
    gap = (gold.estimate - fitted.result_.estimate) / gold.std_error
    assert np.abs(gap).max() < 3
    assert 0 <= found.bias_test.p_value <= 1
    assert str(found)


def test_surrogates_that_only_a_learner_can_use():
    """Two of three probabilities, a number for a topic: nothing to take for truth."""
    hits = pd.DataFrame({f"p_{c}": (FRAME["ts"] == c) * 0.7 + 0.1 for c in CLASSES[:2]})
    est = DSLClassifier("multinomial", learner="logit", n_rep=1, random_state=0)
    found = compare_estimators(est, FRAME[NAMES], FRAME["t"], prediction=hits)
    assert list(found.results) == ["gold only", "prediction only", "DSL"]
    assert "surrogate only and PPI++ are left out: " in " ".join(str(found).split())
    topic = DSLRegressor(learner="logit", n_rep=1, random_state=0)
    frame = FRAME[[*NAMES, "k", "s", "y_gold"]]
    found = compare_estimators(topic, frame, "y_gold", prediction={"k": "s"})
    assert list(found.results) == ["gold only", "prediction only", "DSL"]
    assert found.bias_test is None


def test_tuned_outcomes_are_tuned_one_by_one():
    both = fit("outcomes", tuning="scalar")
    for j, (name, surrogate) in enumerate({"y": "s", "b": "bs"}.items()):
        one = DSLRegressor(learner="passthrough", tuning="scalar")
        one.fit(FRAME[[*NAMES, name, surrogate]], name, prediction=surrogate)
        block = slice(3 * j, 3 * j + 3)
        assert_allclose(both.result_.estimate[block], one.result_.estimate, rtol=1e-9)
        assert_allclose(both.std_error_[block], one.std_error_, rtol=1e-9)
        assert_allclose(both.tuning_[block], one.tuning_, rtol=1e-9)


def test_surrogates_alone_are_the_ordinary_fit():
    """A machine that calls rows "mid" where x2 is large."""
    hit = (FRAME["x2"] > 0.3) & (np.arange(N) % 2 == 0)
    frame = FRAME[[*NAMES, "t"]].assign(ts=FRAME["ts"].mask(hit, "mid"))
    found = compare_estimators(
        DSLClassifier("multinomial", learner="passthrough"),
        frame,
        "t",
        prediction="ts",
    )
    with pytest.warns(UserWarning, match="All 600 rows are labelled"):
        plain = DSLClassifier("multinomial").fit(FRAME[NAMES], frame["ts"], prediction=frame["ts"])
    alone = found.results["surrogate only"]
    assert_allclose(alone.estimate, plain.result_.estimate, rtol=1e-8)
    assert_allclose(alone.vcov, plain.vcov_, rtol=1e-8, atol=1e-14)
    assert found.bias_test.p_value < 1e-3


def test_simulations_tell_blocks_apart():
    """The truth of ``outcome:term`` is matched by that name."""

    def design(random_state):
        rng = np.random.default_rng(random_state)
        x = rng.normal(size=(300, 1))
        y = np.column_stack([x[:, 0], 5 + 2 * x[:, 0]]) + rng.normal(size=(300, 2))
        s = y + rng.normal(size=(300, 2))
        y[rng.random(300) < 0.5] = np.nan
        return {"X": x, "y": pd.DataFrame(y, columns=["a", "b"]), "s": s}

    def run(draw):
        est = DSLRegressor(learner="passthrough")
        return est.fit(
            draw["X"], draw["y"], prediction={"a": draw["s"][:, 0], "b": draw["s"][:, 1]}
        )

    truth = pd.Series([5.0, 2.0, 0.0, 1.0], ["b:(Intercept)", "b:x0", "a:(Intercept)", "a:x0"])
    table = monte_carlo(design, {"several": run}, 20, truth=truth, random_state=0).table
    assert (table["bias"].abs() < 5 * table["bias_mcse"]).all()


def known(values):
    return pd.Series(values).where(R)


LAW, MACHINE = FRAME["k_gold"] == "law", FRAME["ks"] == "law"
WORDS, GUESS = (pd.Series(np.where(v, "yes", "no")) for v in (LAW, MACHINE))
COVARIATES = {
    "bool": (pd.Series(LAW, dtype=object).where(R, None), MACHINE, "z"),
    "boolean": (known(pd.array(LAW, dtype="boolean")), MACHINE, "z"),
    "Int64": (known(pd.array(LAW.astype(int), dtype="Int64")), MACHINE.astype(int), "z"),
    "text": (WORDS.astype(object).where(R, None), GUESS, "z[T.yes]"),
    "categories": (known(pd.Categorical(WORDS, ["none", "no", "yes"])), GUESS, "z[T.yes]"),
    "probabilities": (WORDS.astype(object).where(R, None), MACHINE.astype(float), "z[T.yes]"),
}


@pytest.mark.parametrize("formula", [None, "y_gold ~ x1 + z"])
@pytest.mark.parametrize("kind", COVARIATES)
def test_types_of_a_predicted_covariate(kind, formula):
    gold, machine, term = COVARIATES[kind]
    y = None if formula else "y_gold"
    base = FRAME[["x1", "y_gold"]]
    est = DSLRegressor(learner="passthrough", formula=formula)
    est.fit(base.assign(z=gold, zs=machine), y, prediction={"z": "zs"})
    plain = DSLRegressor(learner="passthrough", formula=formula)
    numbers = base.assign(z=LAW.astype(float).where(R), zs=MACHINE.astype(float))
    plain.fit(numbers, y, prediction={"z": "zs"})
    assert list(est.result_.names) == ["(Intercept)", "x1", term]
    assert_allclose(est.result_.estimate, plain.result_.estimate, rtol=1e-12)
    assert_allclose(est.vcov_, plain.vcov_, rtol=1e-12, atol=1e-15)


def test_three_surrogates_with_labels_as_numbers_are_no_probabilities():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.digitize(x + rng.normal(size=400), [-0.7, 0.7]).astype(float)
    wrong = rng.random((400, 3)) < 0.3
    machines = np.where(wrong, rng.integers(0, 3, size=(400, 3)), y[:, None])
    frame = pd.DataFrame(machines.astype(float), columns=["a", "b", "c"])
    frame["x"], frame["y"] = x, np.where(np.arange(400) < 200, y, np.nan)
    est = DSLClassifier("multinomial", learner="logit", n_rep=1, random_state=0)
    roles = {"prediction": ["a", "b", "c"]}
    report = clone(est).fit(frame, "y", **roles).surrogate_report_
    assert set(report["surrogate"]) == {"a", "b", "c", "(prediction)"}
    found = compare_estimators(est, frame, "y", **roles)
    one = compare_estimators(est, frame[["a", "x", "y"]], "y", prediction="a")
    assert_allclose(
        found.results["surrogate only"].estimate, one.results["surrogate only"].estimate
    )
