"""Behaviour of the surrogate estimators against statsmodels and direct computations."""

import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.regression.linear_model import WLS
from threadpoolctl import threadpool_limits

from robuststat import DSLClassifier, DSLMean, DSLRegressor, compare_estimators
from robuststat._core.errors import OverlapWarning, ParameterError
from robuststat.simulation import (
    make_predicted_covariate,
    make_surrogate_linear,
    make_surrogate_logit,
    make_surrogate_poisson,
)

EXACT = 1e-8  # the same root and sandwich by another program or another order of operations
ROUNDING = 1e-10  # the same computation on the same numbers in another container
N = 400


def build():
    """One frame with everything: three outcomes known for 120 rows, surrogates, groups, weights."""
    rng = np.random.default_rng(7)
    f = pd.DataFrame(rng.normal(size=(N, 3)), columns=["x1", "x2", "x3"])
    eta = 0.3 + 0.5 * f["x1"] - 0.4 * f["x2"]
    f["group"] = rng.choice(["north", "south", "west"], N)
    f["y_gold"] = eta + rng.normal(size=N)
    f["b_gold"] = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    f["c_gold"] = rng.poisson(np.exp(eta)).astype(float)
    f["s"] = 0.8 * f["y_gold"] + 0.4 + 0.5 * rng.normal(size=N)
    f["s2"] = f["y_gold"] + rng.normal(size=N)
    f["bs"] = np.where(rng.random(N) < 0.85, f["b_gold"], 1 - f["b_gold"])
    f["cs"] = f["c_gold"] + rng.poisson(0.5, N)
    f["R"] = np.isin(np.arange(N), rng.choice(N, 120, replace=False)).astype(int)
    f["doc"] = rng.integers(0, 40, N)
    f["w"] = rng.uniform(0.5, 2, N)
    f["pi"] = np.where(f["x1"] > 0, 0.4, 0.2)
    for name in "ybc":
        f[name] = f[f"{name}_gold"].where(f["R"] == 1)
    return f


FRAME = build()
NAMES = ["x1", "x2", "x3"]
X = FRAME[NAMES].to_numpy()
R = FRAME["R"].to_numpy() == 1
MODELS = {"linear": ("y", "s"), "logit": ("b", "bs"), "poisson": ("c", "cs")}
FAMILIES = {
    "linear": families.Gaussian(),
    "logit": families.Binomial(),
    "poisson": families.Poisson(),
}


def make(model="linear", **options):
    options = {"learner": "passthrough"} | options
    return DSLClassifier(**options) if model == "logit" else DSLRegressor(model, **options)


def fit(model="linear", columns=NAMES, roles=None, y=None, **options):
    outcome, surrogate = MODELS[model]
    roles = {"prediction": FRAME[surrogate]} | (roles or {})
    y = FRAME[outcome] if y is None else y
    return make(model, **options).fit(FRAME[columns], y, **roles)


def same(first, second, tol=ROUNDING):
    assert_allclose(first.result_.estimate, second.result_.estimate, rtol=tol, atol=tol)
    assert_allclose(first.vcov_, second.vcov_, rtol=tol, atol=tol)


# Everything labelled: the ordinary regression.


@pytest.mark.filterwarnings("ignore:cov_type not fully supported with var_weights")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("vcov", ["HC0", "HC1", "CR0", "CR1"])
@pytest.mark.parametrize("model", MODELS)
def test_fully_labelled_is_statsmodels(model, vcov, weighted):
    outcome, surrogate = MODELS[model]
    y = FRAME[f"{outcome}_gold"]
    w = FRAME["w"] if weighted else None
    design = np.column_stack([np.ones(N), X])
    peer = (
        WLS(y, design, weights=1.0 if w is None else w)
        if model == "linear"
        else GLM(y, design, FAMILIES[model], var_weights=w)
    )
    grouped = vcov.startswith("CR")
    options = {"groups": FRAME["doc"], "use_correction": vcov == "CR1"} if grouped else None
    found = peer.fit(cov_type="cluster" if grouped else "HC0", cov_kwds=options)
    factor = N / (N - 4) if vcov == "HC1" else 1.0
    roles = {"sample_weight": w, "clusters": FRAME["doc"] if grouped else None}
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        est = make(model, vcov=vcov).fit(X, y, prediction=FRAME[surrogate], **roles)
    assert_allclose(est.result_.estimate, found.params, rtol=EXACT)
    assert_allclose(est.vcov_, factor * np.asarray(found.cov_params()), rtol=EXACT, atol=1e-12)
    assert est.result_.df == {"HC1": N - 4, "CR1": 39}.get(vcov, np.inf)
    assert est.result_.n_clusters == (40 if grouped else None)
    assert est.result_.vcov_type == vcov


def test_fully_labelled_finite_corpus_has_no_error():
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        est = fit(y=FRAME["y_gold"], population="finite")
    assert_allclose(est.std_error_, 0.0, atol=1e-15)
    assert est.design_effect_.isna().all()


@pytest.mark.parametrize("options", [{"tuning": "scalar"}, {"variance": "design"}, {"n_rep": 3}])
def test_fully_labelled_whatever_the_options(options):
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        plain = fit(y=FRAME["y_gold"])
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        est = fit(y=FRAME["y_gold"], learner="ols", **options)
    same(est, plain)
    assert est.repeat_params_.shape == (1, 4)


def test_fully_labelled_means_are_group_means():
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        est = DSLMean(by="group").fit(FRAME, "y_gold", prediction="s")
    expected = FRAME.groupby("group")["y_gold"].agg(["mean", "std", "count"])
    assert_allclose(est.coef_, expected["mean"], rtol=EXACT)
    count = expected["count"]
    assert_allclose(
        est.std_error_, expected["std"] * np.sqrt((count - 1) / count / count), rtol=EXACT
    )
    assert list(est.result_.names) == ["group[north]", "group[south]", "group[west]"]


# Means.


def test_mean_without_covariates():
    est = DSLMean(learner="passthrough").fit(None, FRAME["y"], prediction=FRAME["s"])
    gap = (FRAME["y"] - FRAME["s"])[R].mean()
    assert est.coef_[0] == pytest.approx(FRAME["s"].mean() + gap, rel=EXACT)
    assert list(est.result_.names) == ["mean"]
    for covariates, new in ((X, X), (FRAME, FRAME)):
        again = DSLMean(learner="passthrough").fit(covariates, FRAME["y"], prediction=FRAME["s"])
        same(again, est)
        assert_allclose(again.predict(new), est.coef_[0])
    by_dict = DSLMean(learner="passthrough").fit(None, FRAME["y"], prediction={"y": FRAME["s"]})
    same(by_dict, est)


def test_mean_by_two_columns():
    frame = FRAME.assign(late=FRAME["x3"] > 0)
    by = ["group", "late"]
    est = DSLMean(by=by, learner="passthrough").fit(frame, "y", prediction="s")
    assert list(est.result_.names)[:2] == ["group[north]:late[False]", "group[north]:late[True]"]
    prob = R.mean()
    parts = FRAME["s"] + np.where(R, (FRAME["y"] - FRAME["s"]).fillna(0) / prob, 0)
    expected = parts.groupby([frame["group"], frame["late"]]).mean()
    assert_allclose(est.coef_, expected, rtol=EXACT)
    assert_allclose(
        est.predict(frame[by].iloc[:5]), [expected[tuple(r)] for r in frame[by].iloc[:5].to_numpy()]
    )
    one = DSLMean(by="group", learner="passthrough").fit(frame, "y", prediction="s")
    assert one.coef_.shape == (3,)
    rows = frame["group"] == "west"
    assert one.coef_[2] == pytest.approx(parts[rows].mean(), rel=EXACT)


# Classifier.

LABELS = {
    "strings": lambda b: np.where(b == 1, "yes", "no").astype(object),
    "booleans": lambda b: (b == 1).astype(object),
    "numbers": lambda b: b.astype(object),
    "Int64": lambda b: pd.array(b, dtype="Int64"),
    "boolean": lambda b: pd.array(b == 1, dtype="boolean"),
    "string": lambda b: pd.array(np.where(b == 1, "yes", "no"), dtype="string"),
    "categorical": lambda b: pd.Categorical(np.where(b == 1, "yes", "no")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type(kind):
    expected = fit("logit")
    labels = pd.Series(LABELS[kind](FRAME["b_gold"].to_numpy()))
    y = labels.where(R, None if labels.dtype == object else pd.NA)
    surrogate = pd.Series(LABELS[kind](FRAME["bs"].to_numpy()))
    if kind in ("strings", "string", "categorical"):
        classes, roles = ["no", "yes"], {"prediction": surrogate}
    else:
        classes = [False, True] if kind.lower().startswith("bool") else [0, 1]
        roles = {"prediction": surrogate}
    est = fit("logit", y=y, roles=roles)
    same(est, expected)
    assert est.classes_.tolist() == classes
    assert set(est.predict(X_FRAME)) <= set(classes)
    eta = est.intercept_ + X @ est.coef_
    assert_allclose(est.decision_function(X_FRAME), eta)
    assert_allclose(est.predict_proba(X_FRAME)[:, 1], 1 / (1 + np.exp(-eta)))
    assert_allclose(est.predict_proba(X_FRAME).sum(axis=1), 1)
    assert (est.predict(X_FRAME) == np.array(classes)[(eta > 0).astype(int)]).all()
    assert f"= {classes[1]}" in est.result_.estimand


X_FRAME = FRAME[NAMES]


@pytest.mark.parametrize("learner", ["passthrough", "logit", "ols"])
def test_strings_as_surrogates(learner):
    words = pd.Series(np.where(FRAME["bs"] == 1, "yes", "no"))
    y = pd.Series(np.where(FRAME["b_gold"] == 1, "yes", "no"), dtype=object).where(R, None)
    options = {"learner": learner, "n_rep": 2, "random_state": 0}
    same(fit("logit", y=y, roles={"prediction": words}, **options), fit("logit", **options), EXACT)
    frame = X_FRAME.assign(lab=y, llm=words)
    est = make("logit", formula="lab ~ x1 + x2 + x3", **options).fit(frame, prediction="llm")
    same(est, fit("logit", **options), EXACT)
    report = est.surrogate_report_
    assert report["accuracy"][0] == pytest.approx((FRAME["bs"] == FRAME["b"])[R].mean())


# Ways to pass the same data.


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "roles", [{}, {"sample_prob": "pi"}, {"clusters": "doc", "sample_weight": "w"}]
)
def test_formula_frame_and_arrays_agree(model, roles):
    outcome, surrogate = MODELS[model]
    arrays = {role: FRAME[name].to_numpy() for role, name in roles.items()}
    expected = make(model).fit(
        X, FRAME[outcome].to_numpy(), prediction=FRAME[surrogate].to_numpy(), **arrays
    )
    formula = f"{outcome} ~ x1 + x2 + x3"
    columns = [*NAMES, outcome, surrogate, *roles.values()]
    named = {"prediction": surrogate, **roles}
    for frame in (FRAME[columns], pl.from_pandas(FRAME[columns]), pa.table(FRAME[columns])):
        same(make(model).fit(frame, outcome, **named), expected)
        est = make(model, formula=formula).fit(frame, **named)
        same(est, expected)
        assert_allclose(est.predict(frame), expected.predict(X))
    same(make(model, formula="~ x1 + x2 + x3").fit(FRAME, outcome, **named), expected)
    assert list(est.feature_names_in_) == NAMES
    assert est.n_features_in_ == 3


def test_categories():
    columns = ["x1", "group", "y", "s"]
    expected = make(formula="y ~ x1 + C(group)").fit(FRAME, prediction="s")
    plain = make().fit(FRAME[columns], "y", prediction="s")
    assert_allclose(plain.result_.estimate, expected.result_.estimate, rtol=EXACT)
    assert list(plain.result_.names) == ["(Intercept)", "x1", "group[T.south]", "group[T.west]"]
    unused = pd.Categorical(FRAME["group"], ["west", "south", "north", "east"])
    other = make().fit(FRAME[columns].assign(group=unused), "y", prediction="s")
    assert list(other.result_.names)[2:] == ["group[T.south]", "group[T.north]"]
    assert_allclose(other.predict(FRAME.assign(group=unused)), plain.predict(FRAME))
    for frame in (pl.from_pandas(FRAME[columns]), pa.table(FRAME[columns])):
        same(make().fit(frame, "y", prediction="s"), plain)
        assert_allclose(plain.predict(frame), plain.predict(FRAME))
    no_intercept = make(fit_intercept=False).fit(FRAME[columns], "y", prediction="s")
    assert no_intercept.intercept_ == 0.0
    assert_allclose(no_intercept.predict(FRAME), plain.predict(FRAME))
    enum = pl.from_pandas(FRAME[columns]).with_columns(
        pl.col("group").cast(pl.Enum(["west", "south", "north"]))
    )
    assert list(make().fit(enum, "y", prediction="s").result_.names)[2] == "group[T.south]"
    for dictionary in (
        enum.with_columns(pl.col("group").cast(pl.String).cast(pl.Categorical)),
        pa.table(FRAME[columns]).set_column(
            1, "group", pa.array(FRAME["group"].tolist()).dictionary_encode()
        ),
    ):
        same(make().fit(dictionary, "y", prediction="s"), plain)


def test_stateful_terms_keep_their_state():
    for term in ("center(x2)", "scale(x2)", "bs(x2, df=4)", "poly(x2, 2)"):
        est = make(formula=f"y ~ x1 + {term}").fit(FRAME, prediction="s")
        assert_allclose(est.predict(FRAME)[:7], est.predict(FRAME[:7]), err_msg=term)
    centred = make(formula="y ~ center(x2)").fit(FRAME, prediction="s")
    by_hand = make(formula="y ~ I(x2 - 0)").fit(
        FRAME.assign(x2=FRAME["x2"] - FRAME["x2"].mean()), prediction="s"
    )
    assert_allclose(centred.result_.estimate, by_hand.result_.estimate, rtol=EXACT)
    # Columns of the frame named like functions or text of the formula are not drawn in.
    est = make(formula="y ~ C(group, contr.treatment('west'))").fit(
        FRAME.assign(west=np.nan, C=np.nan), prediction="s"
    )
    assert est.result_.n_obs == N
    quoted = make(formula="y ~ `x 1`").fit(FRAME.assign(**{"x 1": FRAME["x1"]}), prediction="s")
    assert quoted.coef_.shape == (1,)


def test_outcome_may_be_an_expression():
    frame = FRAME.assign(ey=np.exp(FRAME["y"]))
    options = {"learner": "ols", "n_rep": 1, "random_state": 0}
    est = make(formula="np.log(ey) ~ x1 + x2 + x3", **options).fit(frame, prediction="s")
    same(est, fit(**options), EXACT)
    assert est.result_.outcome == "np.log(ey)"
    found = compare_estimators(est, frame, prediction="s")
    assert "surrogate only" not in found.results
    assert "surrogate may be on another scale" in " ".join(str(found).split())


# Learners, folds and surrogates.


def test_several_surrogates_enter_the_learner():
    options = {"learner": "ols", "n_rep": 1, "random_state": 3}
    both = fit(roles={"prediction": FRAME[["s", "s2"]]}, **options)
    array = fit(roles={"prediction": FRAME[["s", "s2"]].to_numpy()}, **options)
    named = make(formula="y ~ x1 + x2 + x3", **options).fit(FRAME, prediction=["s", "s2"])
    features = fit(roles={"prediction": FRAME["s"], "features": FRAME["s2"]}, **options)
    for other in (array, named, features):
        same(other, both, EXACT)
    assert both.surrogate_report_["surrogate"].tolist() == ["s", "s2", "(prediction)"]
    assert both.std_error_[1] < fit(**options).std_error_[1]
    only_features = fit(roles={"prediction": None, "features": FRAME[["s", "s2"]]}, **options)
    same(only_features, both, EXACT)


def test_features_are_coded_one_hot():
    options = {"learner": "ols", "n_rep": 1, "random_state": 3}
    dummies = pd.get_dummies(FRAME["group"]).astype(float)
    for features in (FRAME["group"], FRAME["group"].astype("category"), dummies):
        est = fit(roles={"features": features}, **options)
        same(est, fit(roles={"features": dummies}, **options), EXACT)
    flag = fit(roles={"features": FRAME["x1"] > 0}, **options)
    same(flag, fit(roles={"features": (FRAME["x1"] > 0) * 1.0}, **options), EXACT)


class _Spy(LinearRegression):
    """Learner that records the rows it trains on and their weights."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        self.seen.append((X[:, -1].copy(), sample_weight))
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("cv", [3, 5])
def test_folds_keep_clusters_and_spread_labels(cv):
    _Spy.seen.clear()
    row = np.arange(N, dtype=float)
    roles = {"features": row, "clusters": FRAME["doc"], "sample_weight": FRAME["w"]}
    est = fit(roles=roles, learner=_Spy(), cv=cv, n_rep=2, random_state=0, n_jobs=1)
    assert len(_Spy.seen) == 2 * cv
    doc = FRAME["doc"].to_numpy()
    for rows, weights in _Spy.seen:
        used = rows.astype(int)
        assert R[used].all()
        assert_allclose(weights, FRAME["w"].to_numpy()[used])
        left_out = np.setdiff1d(np.flatnonzero(R), used)
        assert not np.isin(doc[left_out], doc[used]).any()
    assert est.losses_["y"].shape == (2, cv)
    _Spy.seen.clear()
    fit(roles={"features": row}, learner=_Spy(), cv=5, n_rep=1, random_state=0, n_jobs=1)
    assert {rows.size for rows, _ in _Spy.seen} == {96}


@pytest.mark.parametrize(
    ("model", "n_labeled", "word"),
    [
        ("linear", 600, "HistGradientBoostingRegressor"),
        ("logit", 600, "HistGradientBoostingClassifier"),
        ("linear", 100, "RidgeCV"),
        ("logit", 150, "LogisticRegression"),
    ],
)
def test_automatic_learner(model, n_labeled, word):
    draw = make_surrogate_logit if model == "logit" else make_surrogate_linear
    data = draw(n=1200, n_labeled=n_labeled, random_state=0)
    est = make(model, learner="auto", n_rep=1, cv=2, random_state=0)
    with threadpool_limits(1):  # OpenMP threads fight for busy cores on tiny data
        est.fit(data.X, data.y, prediction=data.prediction)
    assert word in str(est.summary())
    assert np.abs(est.coef_ - data.truth[1:]).max() < 5 * est.std_error_.max()


def test_seeds():
    options = {"learner": "ols", "n_rep": 3}
    one = fit(random_state=5, **options)
    same(one, fit(random_state=5, n_jobs=2, **options), 0.0)
    same(one, fit(random_state=np.int64(5), **options), 0.0)
    assert (one.coef_ != fit(random_state=6, **options).coef_).any()
    assert (one.coef_ != fit(**options).coef_).any()
    rng = np.random.default_rng(5)
    first = fit(random_state=rng, **options)
    assert (first.coef_ != fit(random_state=rng, **options).coef_).any()


def test_progress_bar(capsys):
    fit(learner="ols", n_rep=2, random_state=0, verbose=1)
    same(fit(learner="ols", random_state=0, verbose=1), fit(learner="ols", random_state=0), 0.0)


# Predicted covariates.


@pytest.mark.parametrize("model", ["linear", "logit"])
def test_predicted_covariates(model):
    data = make_predicted_covariate(n=1500, n_labeled=300, model=model, random_state=1)
    est = make(model, learner="ols", n_rep=2, random_state=0)
    est.fit(data.X, data.y, prediction={"x1": data.prediction}, features=data.X[["x2", "x3"]])
    gap = np.abs(np.asarray(est.result_.estimate) - data.truth) / est.std_error_
    assert gap.max() < 4
    frame = data.X.assign(y=data.y, s=np.asarray(data.prediction))
    named = make(model, formula="y ~ x1 + x2 + x3", learner="ols", n_rep=2, random_state=0)
    named.fit(frame, prediction={"x1": "s"}, features=["x2", "x3"])
    same(named, est, EXACT)
    assert est.surrogate_report_["variable"].tolist() == ["x1", "x1"]
    assert list(est.losses_) == ["x1"]
    assert "Observations: 1,500" in str(est.summary())
    square = make(model, formula="y ~ x1 + I(x1**2) + x1:x2").fit(frame, prediction={"x1": "s"})
    assert square.converged_


# Sampling designs.


def test_probabilities():
    by_hand = fit(roles={"sample_prob": np.full(N, R.mean())})
    same(by_hand, fit())
    same(fit(roles={"sample_prob": np.full(N, 0.01)}), fit())  # scaled to the share labelled
    assert fit().sample_prob_ == pytest.approx(0.3)
    est = fit(roles={"sample_prob": FRAME["pi"]})
    scale = R.mean() / FRAME["pi"].mean()
    assert est.sample_prob_ == pytest.approx((0.2 * scale, 0.4 * scale))
    raw = fit(roles={"sample_prob": FRAME["pi"]}, normalize_prob=False)
    assert raw.sample_prob_ == (0.2, 0.4)
    assert "used as given" in str(raw.summary())
    weighted = FRAME["w"][R].sum() / FRAME["w"].sum()
    assert fit(roles={"sample_weight": FRAME["w"]}).sample_prob_ == pytest.approx(weighted)


def stratified_direct(est_kind):
    """Mean with stratified labels by the textbook: stratum means, stratum variances."""
    strata = FRAME["group"]
    parts, variance = 0.0, 0.0
    delta = FRAME["y"] - FRAME["s"]
    for h in strata.unique():
        inside = strata == h
        share, gold = inside.mean(), delta[inside & R]
        parts += share * (FRAME["s"][inside].mean() + gold.mean())
        prob = (inside & R).sum() / inside.sum()
        spread = gold.var(ddof=0)
        variance += share**2 * spread * (1 - prob) / gold.size
    return parts, variance


def test_stratified_design():
    options = {"learner": "passthrough", "design": "stratified"}
    roles = {"prediction": FRAME["s"], "strata": FRAME["group"]}
    est = DSLMean(**options, population="finite").fit(None, FRAME["y"], **roles)
    value, variance = stratified_direct("finite")
    assert est.coef_[0] == pytest.approx(value, rel=EXACT)
    assert est.vcov_[0, 0] == pytest.approx(variance, rel=EXACT)
    design = DSLMean(**options, variance="design").fit(None, FRAME["y"], **roles)
    robust = DSLMean(**options).fit(None, FRAME["y"], **roles)
    assert design.std_error_[0] < robust.std_error_[0]
    assert "stratified random sampling" in str(design.summary())
    given = DSLMean(**options).fit(None, FRAME["y"], **roles, sample_prob=FRAME["pi"] * 0 + 0.2)
    same(given, robust)
    weights = DSLMean(**options, variance="design").fit(
        None, FRAME["y"], **roles, sample_weight=np.full(N, 3.0)
    )
    same(weights, design)


def test_design_variance_by_hand():
    est = fit(variance="design")
    psi, A = direct_scores(est)
    delta = (FRAME["y"] - FRAME["s"])[R]
    centre = (design_matrix()[R] * delta.to_numpy()[:, None]).mean(axis=0)
    psi -= (R / R.mean() - 1)[:, None] * centre
    B = psi.T @ psi / N
    assert_allclose(est.vcov_, np.linalg.solve(A, np.linalg.solve(A, B).T) / N, rtol=EXACT)


def design_matrix():
    return np.column_stack([np.ones(N), X])


def direct_scores(est):
    D = design_matrix()
    pseudo = FRAME["s"] + np.where(R, (FRAME["y"] - FRAME["s"]).fillna(0) / R.mean(), 0)
    return D * (pseudo - D @ est.result_.estimate).to_numpy()[:, None], D.T @ D / N


def test_probabilities_estimated_by_a_logit_model():
    roles = {"sample_prob": FRAME["pi"]}
    est = fit(roles=roles, prob_terms=["x1", "x2"], variance="design")
    h = np.column_stack([np.ones(N), X[:, :2]])
    offset = np.log(FRAME["pi"] / (1 - FRAME["pi"]))
    peer = GLM(R.astype(float), h, families.Binomial(), offset=offset).fit(tol=1e-12)
    prob = np.asarray(peer.fittedvalues)
    assert est.sample_prob_ == pytest.approx((prob.min(), prob.max()), rel=1e-6)
    D = design_matrix()
    pseudo = FRAME["s"] + np.where(R, (FRAME["y"] - FRAME["s"]).fillna(0) / prob, 0)
    assert_allclose(est.result_.estimate, np.linalg.lstsq(D, pseudo)[0], rtol=1e-6)
    text = " ".join(str(est.summary()).split())
    assert "estimated by a logit model with 3 terms" in text
    robust = fit(roles=roles, prob_terms=["x1", "x2"])
    assert_allclose(robust.coef_, est.coef_)
    assert (robust.std_error_ >= est.std_error_ * 0.98).all()
    by_feature = fit(
        roles=roles | {"features": FRAME[["x1", "x2"]].add_prefix("f_")},
        prob_terms=["f_x1", "f_x2"],
        variance="design",
    )
    same(by_feature, est, 1e-7)
    sure = np.where((np.arange(N) < 20) & R, 1.0, FRAME["pi"])
    certain = fit(roles={"sample_prob": sure}, prob_terms=["x1"], population="finite")
    assert certain.sample_prob_[1] == 1.0


def test_survey_units():
    strata = FRAME["doc"] % 2
    est = fit(roles={"psu": FRAME["doc"], "strata": strata})
    psi, A = direct_scores(est)
    B = np.zeros((4, 4))
    for h in (0, 1):
        totals = pd.DataFrame(psi[strata == h]).groupby(FRAME["doc"][strata == h].to_numpy()).sum()
        gaps = (totals - totals.mean()).to_numpy()
        B += gaps.T @ gaps * len(totals) / (len(totals) - 1)
    bread = np.linalg.inv(A * N)
    assert_allclose(est.vcov_, bread @ B @ bread, rtol=EXACT)
    assert est.result_.df == 38
    assert est.result_.vcov_type == "survey"
    assert fit(roles={"psu": FRAME["doc"]}).result_.df == 39


def test_t_quantiles_for_few_labels():
    assert fit(use_t=True).result_.df == 120 - 4
    assert fit(use_t=True, population="finite").result_.df == 120 - 4
    groups = FRAME["doc"][R].nunique()
    assert fit(use_t=True, roles={"clusters": FRAME["doc"]}).result_.df == groups - 1
    z, t = fit().confint(), fit(use_t=True).confint()
    assert (t["conf_low"] < z["conf_low"]).all()


# Tuning.


def test_tuning_limits():
    found = compare_estimators(make(), X_FRAME, FRAME["y"], prediction=FRAME["s"])
    noise = np.random.default_rng(0).normal(size=N)
    useless = fit(roles={"prediction": noise}, tuning="scalar", variance="design")
    assert np.abs(useless.tuning_).max() < 0.6
    # Predictions without variation around the pilot carry no weight: gold labels alone.
    gold = found.results["gold only"]
    D = design_matrix()
    exact = fit(roles={"prediction": D @ gold.estimate}, tuning="scalar")
    assert_allclose(exact.tuning_, 0.0)
    assert_allclose(exact.result_.estimate, gold.estimate, rtol=EXACT)
    # A surrogate that is the truth in every labelled row gets full weight.
    truth = fit(roles={"prediction": FRAME["y_gold"]}, tuning="matrix", variance="design")
    assert truth.tuning_.shape == (4, 4)
    assert_allclose(truth.tuning_, np.eye(4), atol=0.25)
    pseudo = fit(roles={"prediction": FRAME["y_gold"]})
    assert np.abs(truth.coef_ - pseudo.coef_).max() < pseudo.std_error_.max()


@pytest.mark.parametrize("tuning", ["scalar", "matrix"])
def test_tuning_with_a_constant_probability_given_or_not(tuning):
    options = {"tuning": tuning, "variance": "design"}
    given = fit(roles={"sample_prob": np.full(N, 0.3)}, **options)
    same(fit(**options), given)
    assert_allclose(fit(**options).tuning_, given.tuning_, rtol=EXACT)


def test_tuned_variance_is_that_of_its_influence():
    for tuning in ("scalar", "matrix"):
        est = fit(tuning=tuning, keep_influence=True)
        assert_allclose(
            est.result_.influence.T @ est.result_.influence / N**2, est.vcov_, rtol=EXACT
        )
        grouped = fit(tuning=tuning, roles={"clusters": FRAME["doc"]})
        assert grouped.result_.vcov_type == "CR0"
    assert "predictions weighted by tuning='scalar'" in str(fit(tuning="scalar").summary())


def test_scalar_tuning_by_hand():
    est = DSLMean(learner="passthrough", tuning="scalar", variance="design").fit(
        None, FRAME["y"], prediction=FRAME["s"]
    )
    y, s, w = FRAME["y"][R], FRAME["s"], np.where(R, 1 / R.mean(), 0)
    pilot = y.mean()
    u = np.where(R, w * (FRAME["y"].fillna(0) - pilot), 0)
    v = (w - 1) * (s - pilot - (s - pilot).mean())
    lam = (u @ v) / (v @ v)
    assert est.tuning_[0] == pytest.approx(lam, rel=EXACT)
    assert est.coef_[0] == pytest.approx(y.mean() + lam * (s.mean() - s[R].mean()), rel=0.02)


# Repetitions.


def test_median_aggregation_by_hand():
    rng = np.random.default_rng(1)
    cuts = []
    for _ in range(5):
        fold = rng.permutation(np.arange(N) % 4)
        cuts.append([(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)])
    est = fit(learner="ols", cv=cuts, n_rep=5)
    singles = [fit(learner="ols", cv=cut, n_rep=1) for cut in cuts]
    thetas = np.array([one.result_.estimate for one in singles])
    assert_allclose(est.repeat_params_, thetas, rtol=EXACT)
    theta = np.median(thetas, axis=0)
    assert_allclose(est.result_.estimate, theta, rtol=EXACT)
    gaps = thetas - theta
    spread = np.array([one.vcov_ for one in singles]) + gaps[:, :, None] * gaps[:, None]
    assert_allclose(est.std_error_**2, np.median(np.diagonal(spread, axis1=1, axis2=2), axis=0))
    assert_allclose(est.vcov_, np.median(spread, axis=0), rtol=0.05, atol=1e-5)
    assert (est.vcov_ == est.vcov_.T).all()


def test_few_repetitions_are_reported():
    data = make_surrogate_linear(n=300, n_labeled=30, random_state=0)
    noisy = np.random.default_rng(0).normal(size=(300, 12))
    est = DSLRegressor(learner="ols", n_rep=2, random_state=0)
    est.fit(data.X, data.y, prediction=data.prediction, features=noisy)
    assert "raise n_rep (now 2)" in str(est.summary())


# Diagnostics.


def test_surrogate_report_by_hand():
    roles = {"prediction": FRAME["bs"], "sample_prob": FRAME["pi"], "sample_weight": FRAME["w"]}
    row = fit("logit", roles=roles).surrogate_report_.iloc[0]
    a = FRAME["w"]
    prob = FRAME["pi"] * (a[R].sum() / (a @ FRAME["pi"]))
    w = (a / prob)[R]
    w = w / w.sum()
    s, y = FRAME["bs"][R], FRAME["b"][R]
    assert row["bias"] == pytest.approx(w @ (s - y))
    assert row["rmse"] == pytest.approx(np.sqrt(w @ (s - y) ** 2))
    assert row["accuracy"] == pytest.approx(w @ (s == y))
    assert row["sensitivity"] == pytest.approx(w[y == 1] @ (s[y == 1] == 1) / w[y == 1].sum())
    assert row["specificity"] == pytest.approx(w[y == 0] @ (s[y == 0] == 0) / w[y == 0].sum())
    line = WLS(y, np.column_stack([np.ones(120), s]), weights=w).fit().params
    assert row["calibration_intercept"] == pytest.approx(line.iloc[0])
    assert row["calibration_slope"] == pytest.approx(line.iloc[1])
    cov = np.cov(s, y, aweights=w)
    assert row["correlation"] == pytest.approx(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))
    flat = fit(roles={"prediction": np.ones(N)}).surrogate_report_.iloc[0]
    assert np.isnan(flat[["correlation", "calibration_slope", "accuracy"]].astype(float)).all()
    mixed = fit(learner="ols", n_rep=1, random_state=0, roles={"prediction": FRAME[["s", "group"]]})
    assert mixed.surrogate_report_["surrogate"].tolist() == ["s", "(prediction)"]


def test_design_effect_by_hand():
    est = fit()
    D = design_matrix()[R]
    gold = WLS(FRAME["y"][R], D).fit(cov_type="HC0")
    assert_allclose(est.design_effect_, np.diag(gold.cov_params()) / np.diag(est.vcov_), rtol=EXACT)
    low, high = 120 * est.design_effect_.min(), 120 * est.design_effect_.max()
    assert f"are worth {low:,.0f} to {high:,.0f} alone" in str(est.summary())
    found = compare_estimators(make(), X_FRAME, FRAME["y"], prediction=FRAME["s"])
    assert_allclose(found.effective_labels, 120 * est.design_effect_, rtol=EXACT)


def test_labels_that_cannot_carry_the_model_alone():
    frame = FRAME.assign(d=np.where(R, 0.0, FRAME["x1"] > 1))
    with pytest.warns(OverlapWarning, match="no expert label informs d: it does not vary among"):
        est = make(formula="y ~ x1 + d").fit(frame, prediction="s")
    assert est.design_effect_.isna().all()
    assert "cannot carry this model" in str(est.summary())
    assert "no expert label informs d" in str(est.summary())
    with pytest.warns(OverlapWarning, match="no expert label informs d"):
        found = compare_estimators(make(formula="y ~ x1 + d"), frame, prediction="s")
    assert "gold only" not in found.results
    assert "Note: expert labels alone cannot carry this model" in str(found)
    assert found.effective_labels.isna().all()


def test_poor_predictions_are_reported():
    est = fit(roles={"prediction": 5 * np.random.default_rng(0).normal(size=N)})
    text = " ".join(str(est.summary()).split())
    assert re.search(r"less precise than expert labels alone \(most: \S+, design effect 0\.", text)


def test_summary_says_what_was_done():
    text = str(fit(roles={"clusters": FRAME["doc"]}, population="finite").summary())
    assert "finite corpus: only the labelling is random" in text
    assert "clusters have no effect: with a finite corpus" in text
    text = str(fit(vcov="HC0", population="finite").summary())
    assert "vcov have no effect" in text
    text = str(fit(learner="ols", n_rep=2, random_state=0, variance="design").summary())
    for words in (
        "Linear model, design-based correction",
        "Outcome: y",
        "Labelled: 120",
        "simple random sampling, probability 0.3",
        "corrected for the labelling design",
        "5 folds x 2 repetitions (LinearRegression), out-of-fold R2",
        "Assumes:",
        "every row had a known, positive probability",
        "NOT assumed: anything about the accuracy of the surrogate",
        "DSLRegressor(",
    ):
        assert words in text
    assert "s, used as given (no learner, no folds)" in str(fit().summary())
    assert "Bernoulli" not in str(fit(design="bernoulli").summary())
    assert "independent draws" in str(fit(design="bernoulli").summary())
    assert fit().glance()["n_labeled"].item() == 120


# What a fit answers.


def test_influence_reproduces_the_variance():
    for options in ({}, {"variance": "design"}, {"population": "finite"}):
        est = fit("logit", keep_influence=True, **options)
        influence = est.result_.influence
        assert_allclose(influence.T @ influence / N**2, est.vcov_, rtol=EXACT)
    assert fit().result_.influence is None
    clustered = fit(keep_influence=True, roles={"clusters": FRAME["doc"]})
    totals = pd.DataFrame(clustered.result_.influence).groupby(FRAME["doc"].to_numpy()).sum()
    assert_allclose(totals.T @ totals / N**2, clustered.vcov_, rtol=EXACT)


@pytest.mark.parametrize("kind", ["HC0", "HC1", "CR0", "CR1"])
@pytest.mark.parametrize("model", MODELS)
def test_refit_of_the_variance(model, kind):
    est = fit(model, keep_influence=True)
    clusters = FRAME["doc"] if kind.startswith("CR") else None
    again = fit(model, vcov=kind, roles={"clusters": clusters})
    found = est.refit_vcov(kind, clusters)
    assert_allclose(found.vcov, again.vcov_, rtol=EXACT)
    assert found.df == again.result_.df
    assert found.n_clusters == again.result_.n_clusters


@pytest.mark.parametrize("model", MODELS)
def test_augment(model):
    outcome, _ = MODELS[model]
    est = fit(model)
    frame = est.augment(FRAME, f"{outcome}_gold")
    mean = est.predict_proba(FRAME)[:, 1] if model == "logit" else est.predict(FRAME)
    assert_allclose(frame[".fitted"], mean)
    assert_allclose(frame[".resid"], FRAME[f"{outcome}_gold"] - mean)
    D = design_matrix()
    slope = {"linear": 1.0, "logit": mean * (1 - mean), "poisson": mean}[model]
    spread = np.sqrt(np.einsum("ij,jk,ik->i", D, est.vcov_, D))
    assert_allclose(frame[".se_fit"], slope * spread, rtol=EXACT)
    assert list(est.augment(X_FRAME).columns) == [*NAMES, ".fitted", ".se_fit"]
    arrays = make(model).fit(X, FRAME[outcome], prediction=FRAME[MODELS[model][1]])
    assert_allclose(arrays.augment(X)[".fitted"], frame[".fitted"])


def test_tests_and_contrasts():
    est = fit()
    theta, V = est.result_.estimate, est.vcov_
    joint = est.wald_test()
    assert joint.statistic == pytest.approx(theta[1:] @ np.linalg.solve(V[1:, 1:], theta[1:]))
    assert est.wald_test("x1 = x2").statistic == pytest.approx(
        (theta[1] - theta[2]) ** 2 / (V[1, 1] + V[2, 2] - 2 * V[1, 2])
    )
    gap = est.contrast("x1 - x2")
    assert gap.estimate[0] == pytest.approx(theta[1] - theta[2])
    assert est.contrast({"x1": 1, "x2": -1}).std_error[0] == pytest.approx(gap.std_error[0])
    assert est.tidy(exponentiate=True)["estimate"][1] == pytest.approx(np.exp(theta[1]))
    assert pickle.loads(pickle.dumps(est)).to_dict() == est.to_dict()
    assert est.plot() is not None


# Comparison.


def test_comparison_rows_are_the_separate_fits():
    options = {"learner": "ols", "n_rep": 2, "random_state": 0}
    roles = {"prediction": FRAME[["s", "s2"]], "clusters": FRAME["doc"]}
    found = compare_estimators(make(**options), X_FRAME, FRAME["y"], **roles)
    assert list(found.results) == ["surrogate only", "gold only", "prediction only", "PPI++", "DSL"]
    D = design_matrix()
    cluster = {"cov_type": "cluster"}
    naive = WLS(FRAME["s"], D).fit(
        **cluster, cov_kwds={"groups": FRAME["doc"], "use_correction": False}
    )
    gold = WLS(FRAME["y"][R], D[R]).fit(
        **cluster, cov_kwds={"groups": FRAME["doc"][R], "use_correction": False}
    )
    for name, peer in (("surrogate only", naive), ("gold only", gold)):
        assert_allclose(found.results[name].estimate, peer.params, rtol=EXACT)
        assert_allclose(found.results[name].std_error, peer.bse, rtol=EXACT)
    own = fit(roles=roles, **options)
    assert_allclose(found.results["DSL"].vcov, own.vcov_, rtol=EXACT)
    ppi = fit(roles=roles | {"prediction": FRAME["s"]}, tuning="scalar")
    assert_allclose(found.results["PPI++"].estimate, ppi.result_.estimate, rtol=EXACT)
    assert_allclose(found.results["PPI++"].vcov, ppi.vcov_, rtol=EXACT)
    assert (found.table["estimator"].value_counts() == 4).all()
    assert found.table.equals(found.tidy())
    text = str(found.summary())
    for words in (*found.results, "labels*", "Surrogate-only answer", "PPI++ use s"):
        assert words in text
    assert repr(found) == text
    assert found.plot(truth={"x1": 0.5}) is not None


def test_bias_test_by_hand():
    found = compare_estimators(make(), X_FRAME, FRAME["y"], prediction=FRAME["s"])
    est = fit(keep_influence=True)
    D = design_matrix()
    naive = np.linalg.lstsq(D, FRAME["s"])[0]
    own = D * (FRAME["s"] - D @ naive).to_numpy()[:, None]
    influence = est.result_.influence - np.linalg.solve(D.T @ D / N, own.T).T
    V = influence.T @ influence / N**2
    gap = est.result_.estimate - naive
    assert found.bias_test.statistic == pytest.approx(gap @ np.linalg.solve(V, gap), rel=EXACT)
    assert found.bias_test.df == 4


def test_bias_test_has_its_level():
    def p_value(seed):
        data = make_surrogate_linear(n=400, n_labeled=150, random_state=seed)
        truth = np.random.default_rng(seed + 10_000).normal(size=400)
        surrogate = data.y_gold + truth
        est = DSLRegressor(learner="passthrough", variance="design")
        return compare_estimators(est, data.X, data.y, prediction=surrogate).bias_test.p_value

    p = np.array([p_value(seed) for seed in range(200)])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.05).mean() < 0.11


def test_bias_test_has_power():
    for make_data, cls in (
        (make_surrogate_linear, DSLRegressor()),
        (make_surrogate_poisson, DSLRegressor("poisson")),
    ):
        data = make_data(n=2000, n_labeled=300, random_state=0)
        est = cls.set_params(learner="passthrough")
        found = compare_estimators(est, data.X, data.y, prediction=data.prediction)
        assert found.bias_test.p_value < 1e-6
        assert "Surrogate-only answer is biased" in str(found)


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        ({"population": "finite"}, {}),
        ({"variance": "design"}, {"sample_prob": FRAME["pi"]}),
        ({"variance": "design", "design": "stratified"}, {"strata": FRAME["group"]}),
        ({}, {"psu": FRAME["doc"], "strata": FRAME["doc"] % 2}),
        ({}, {"sample_weight": FRAME["w"], "clusters": FRAME["doc"]}),
        ({"prob_terms": ["x1"], "variance": "design"}, {}),
        ({"vcov": "HC1"}, {}),
    ],
    ids=["finite", "unequal", "stratified", "survey", "weights", "prob_terms", "HC1"],
)
def test_comparison_under_every_design(options, roles):
    roles = {"prediction": FRAME["s"]} | roles
    found = compare_estimators(make(**options), X_FRAME, FRAME["y"], **roles)
    own = fit(roles=roles, **options)
    assert_allclose(found.results["DSL"].vcov, own.vcov_, rtol=EXACT)
    tuned = fit(roles=roles, tuning="scalar", **options)
    assert_allclose(found.results["PPI++"].vcov, tuned.vcov_, rtol=EXACT)
    assert 0 <= found.bias_test.p_value <= 1
    gold = found.results["gold only"]
    worth = np.minimum(120 * np.diag(gold.vcov) / np.diag(own.vcov_), N)
    assert_allclose(found.effective_labels, worth, rtol=EXACT)


def test_comparison_without_some_rows():
    only_features = compare_estimators(
        make(learner="ols", n_rep=1, random_state=0), X_FRAME, FRAME["y"], features=FRAME["s"]
    )
    assert list(only_features.results) == ["gold only", "prediction only", "DSL"]
    assert only_features.bias_test is None
    with pytest.warns(UserWarning, match="All 400 rows"):
        full = compare_estimators(make(), X_FRAME, FRAME["y_gold"], prediction=FRAME["s"])
    assert list(full.results) == ["surrogate only", "gold only", "DSL"]
    assert full.bias_test is not None
    separated = compare_estimators(
        make("logit", formula="b ~ x1"), FRAME, prediction=(FRAME["x1"] > 0) * 1.0
    )
    assert "surrogate only" not in separated.results
    assert "Note: surrogate only: " in str(separated)
    with pytest.raises(ParameterError, match="DSLMoment instance; got DSLRegressor"):
        compare_estimators(DSLRegressor, X, FRAME["y"], prediction=FRAME["s"])


def test_comparison_labels_each_variance():
    roles = {"prediction": FRAME["s"], "psu": FRAME["doc"]}
    survey = compare_estimators(make(), X_FRAME, FRAME["y"], **roles).results["surrogate only"]
    plain = fit(roles={"prediction": FRAME["s"], "psu": FRAME["doc"]})
    assert survey.vcov_type == plain.result_.vcov_type == "survey"
    with pytest.warns(UserWarning, match="All 400 rows"):
        as_truth = make().fit(X_FRAME, FRAME["s"], **roles)
    assert_allclose(survey.vcov, as_truth.vcov_, rtol=EXACT)
    hc1 = compare_estimators(make(vcov="HC1"), X_FRAME, FRAME["y"], prediction=FRAME["s"])
    hc0 = compare_estimators(make(), X_FRAME, FRAME["y"], prediction=FRAME["s"])
    ratio = hc1.results["surrogate only"].vcov / hc0.results["surrogate only"].vcov
    assert_allclose(ratio, N / (N - 4), rtol=EXACT)
    finite = compare_estimators(
        make(population="finite"), X_FRAME, FRAME["y"], prediction=FRAME["s"]
    )
    assert finite.results["surrogate only"].vcov_type == "HC0"
    assert_allclose(
        finite.results["surrogate only"].vcov, hc0.results["surrogate only"].vcov, rtol=EXACT
    )
    assert "in a finite corpus nothing" in " ".join(str(finite).split())


def test_bias_test_leaves_out_what_no_label_informs():
    frame = FRAME.assign(g=np.where(FRAME.index < 300, "a", "b"))
    frame["y"] = frame["y"].where(frame["g"] == "a")
    est = DSLMean(by="g", learner="passthrough")
    with pytest.warns(OverlapWarning, match=r"no expert label informs .*g\[b\]"):
        found = compare_estimators(est, frame, "y", prediction="s")
    assert found.bias_test.df == 1
    assert "leaves out g[b]" in " ".join(str(found).split())
    perfect = compare_estimators(make(), X_FRAME, FRAME["y"], prediction=FRAME["y_gold"])
    assert perfect.bias_test is None


def test_folds_keep_sampling_units_together():
    _Spy.seen.clear()
    roles = {"features": np.arange(N, dtype=float), "psu": FRAME["doc"]}
    fit(roles=roles, learner=_Spy(), cv=5, n_rep=1, random_state=0)
    doc = FRAME["doc"].to_numpy()
    for rows, _ in _Spy.seen:
        used = rows.astype(int)
        # A labelled row left out of the training part is in the fold, with its whole unit.
        left_out = np.setdiff1d(np.flatnonzero(R), used)
        assert not set(doc[used]) & set(doc[left_out])


def test_tuning_follows_the_sampling_units():
    roles = {"prediction": FRAME["s"], "psu": FRAME["doc"]}
    by_unit = fit(roles=roles, tuning="scalar").tuning_
    by_row = fit(tuning="scalar").tuning_
    assert not np.allclose(by_unit, by_row, rtol=0.01)


def test_fixed_size_design_makes_up_for_the_scale_of_the_probabilities():
    prob = np.full(N, R.sum() / N)
    roles = {"prediction": FRAME["s"], "sample_prob": prob}
    given = fit(roles=roles, population="finite", normalize_prob=False)
    scaled = fit(roles=roles, population="finite")
    assert_allclose(given.vcov_, scaled.vcov_, rtol=EXACT)
    independent = fit(roles=roles, population="finite", normalize_prob=False, design="bernoulli")
    assert independent.std_error_[0] > given.std_error_[0]


def test_all_rows_labelled_leaves_nothing_to_weigh():
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        weighed = make().fit(
            X_FRAME, FRAME["y_gold"], prediction=FRAME["s"], sample_prob=FRAME["pi"]
        )
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        plain = make().fit(X_FRAME, FRAME["y_gold"], prediction=FRAME["s"])
    same(weighed, plain, 0.0)


def test_share_of_a_string_label():
    text = FRAME["b"].map({0.0: "no", 1.0: "yes"})
    share = DSLMean(learner="passthrough").fit(None, text, prediction=FRAME["bs"])
    number = DSLMean(learner="passthrough").fit(None, FRAME["b"], prediction=FRAME["bs"])
    same(share, number, EXACT)
    assert "share of b = yes" in str(share.summary())
    assert share.n_features_in_ == 0


def test_augment_keeps_the_index():
    frame = X_FRAME.set_axis(np.arange(N)[::-1] * 3, axis=0)
    assert fit().augment(frame).index.equals(frame.index)


def test_comparison_leaves_the_estimator_alone():
    est = make()
    compare_estimators(est, X_FRAME, FRAME["y"], prediction=FRAME["s"])
    assert not hasattr(est, "result_")


# scikit-learn around it.


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_cross_validation_routes_roles(routing):
    est = make("linear", learner="ols", n_rep=1, random_state=0)
    est = est.set_fit_request(prediction=True, labeled=True, clusters=True)
    with pytest.warns(UserWarning, match="All 300 rows are labelled"):
        scores = cross_validate(
            est,
            X,
            FRAME["y_gold"],
            cv=KFold(4),
            params={"prediction": FRAME["s"].to_numpy(), "clusters": FRAME["doc"].to_numpy()},
            error_score="raise",
        )
    assert (scores["test_score"] > 0).all()


def test_grid_search_and_pipeline_route_roles(routing):
    est = make("logit", random_state=0, n_rep=1).set_fit_request(prediction=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), est),
        {"dslclassifier__learner": ["ols", "passthrough"]},
        cv=3,
        error_score="raise",
    )
    with pytest.warns(UserWarning, match="rows are labelled"):
        search.fit(X, FRAME["b_gold"], prediction=FRAME["bs"].to_numpy())
    best = search.best_estimator_[-1]
    assert best.result_.n_obs == N
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    peer.fit(StandardScaler().fit_transform(X), FRAME["b_gold"])
    assert_allclose(best.coef_, peer.coef_[0], rtol=1e-4)


def test_large_samples_start_from_a_thinned_one():
    rng = np.random.default_rng(0)
    n = 101_000
    x = rng.normal(size=(n, 1))
    gold = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    y = np.where(np.arange(n) % 20 == 0, gold, np.nan)
    for covariates, w in ((x, None), (x, np.ones(n))):
        est = make("logit").fit(covariates, y, prediction=gold, sample_weight=w)
        mu = est.predict_proba(x)[:, 1]
        score = np.array([(gold - mu).mean(), ((gold - mu) * x[:, 0]).mean()])
        assert np.abs(score).max() < 1e-12  # the surrogate is the truth, so the moments are those
        assert est.n_iter_ <= 4
    frame = pd.DataFrame({"x": np.where(np.isnan(y), np.nan, x[:, 0]), "y": gold, "s": x[:, 0]})
    hidden = make("logit", formula="y ~ x").fit(frame, prediction={"x": "s"})
    assert_allclose(hidden.result_.estimate, est.result_.estimate, rtol=EXACT)


def with_gaps(name):
    return [None if np.isnan(v) else v for v in FRAME[name]]


@pytest.mark.parametrize(
    "series",
    [list, pl.Series, pa.array, lambda v: pa.chunked_array([pa.array(v)]), pd.array],
    ids=["list", "polars", "pyarrow", "chunks", "nullable"],
)
def test_columns_of_any_library(series):
    roles = {"clusters": FRAME["doc"], "labeled": R, "sample_weight": FRAME["w"]}
    expected = fit(roles=roles)
    passed = {name: series(value.tolist()) for name, value in roles.items()}
    surrogate = series(FRAME["s"].tolist())
    same(make().fit(X, series(with_gaps("y")), prediction=surrogate, **passed), expected)
    flags = series([None if v is None else v == 1 for v in with_gaps("b")])
    est = make("logit").fit(X, flags, prediction=FRAME["bs"])
    same(est, fit("logit"))
    assert est.classes_.tolist() == [False, True]


def test_scale_of_the_weights_does_not_matter():
    same(fit(roles={"sample_weight": np.full(N, 7.0)}), fit())


def test_quoted_outcome():
    frame = FRAME.rename(columns={"y": "my y"})
    for prediction in ("s", {"my y": "s"}, {"y": "s"}):
        est = make(formula="`my y` ~ x1 + x2 + x3").fit(frame, prediction=prediction)
        same(est, fit(), EXACT)
        assert est.result_.outcome == "my y"


def test_augmented_means():
    est = DSLMean(by="group", learner="passthrough").fit(FRAME, "y", prediction="s")
    frame = est.augment(FRAME, "y_gold")
    assert_allclose(frame[".resid"], FRAME["y_gold"] - est.predict(FRAME))
    errors = dict(zip(["north", "south", "west"], est.std_error_, strict=True))
    assert_allclose(frame[".se_fit"], FRAME["group"].map(errors))


def test_finite_corpus_with_independent_draws_by_hand():
    roles = {"prediction": FRAME["s"], "sample_prob": FRAME["pi"]}
    options = {"population": "finite", "normalize_prob": False, "design": "bernoulli"}
    est = DSLMean(learner="passthrough", **options).fit(None, FRAME["y"], **roles)
    delta, prob = (FRAME["y"] - FRAME["s"])[R], FRAME["pi"][R]
    assert est.coef_[0] == pytest.approx(FRAME["s"].mean() + (delta / prob).sum() / N, rel=EXACT)
    # Horvitz-Thompson with the difference at the estimate: nothing was scaled, nothing is centred.
    variance = ((1 - prob) / prob**2 * delta**2).sum() / N**2
    assert est.vcov_[0, 0] == pytest.approx(variance, rel=EXACT)
