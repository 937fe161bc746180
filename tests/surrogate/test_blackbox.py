"""Predict-then-debias against the formula written out, known special cases, and bad input."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from robuststat import DSLBlackBox, DSLRegressor
from robuststat._core.errors import (
    DataError,
    ParameterError,
    RobuststatError,
    RoleError,
    SmallClusterWarning,
)
from robuststat._core.rng import check_rng
from robuststat.simulation import make_predicted_covariate, make_surrogate_linear
from robuststat.surrogate._debias import plan_resampling, tuning_allowance, tuning_matrix

EXACT = 1e-9  # the same least squares by another algorithm
N = 240
ROW = np.arange(N)


def make_frame():
    rng = np.random.default_rng(0)
    f = pd.DataFrame({"x1": rng.normal(size=N), "x2": rng.normal(size=N)})
    f["g"] = np.array(["a", "b", "c"])[ROW % 3]
    f["h"] = ROW // 2 % 3
    f["grp"] = ROW // 4
    f["R"] = (ROW % 2 == 0).astype(int)
    f["pi"] = np.where(f["x2"] > 0, 0.6, 0.4)
    f["gold"] = f["x1"] - 0.5 * f["x2"] + rng.normal(size=N)
    f["s"] = 0.8 * f["gold"] + 0.4 + 0.5 * rng.normal(size=N)
    f["y"] = f["gold"].where(f["R"] == 1)
    f["word"] = np.where(f["gold"] > 0, "yes", "no")
    f["word_hat"] = np.where(f["s"] > 0.3, "yes", "no")
    f["x1_hat"] = f["x1"] + 0.3 * f["gold"] + 0.5 * rng.normal(size=N)
    f["x1_known"] = f["x1"].where(f["R"] == 1)
    f["a"] = rng.integers(0, 3, N).astype(float)
    return f


FRAME = make_frame()
X = FRAME[["x1", "x2"]].to_numpy()
Y, S = FRAME["y"].to_numpy(), FRAME["s"].to_numpy()
WORDS = FRAME["word"].where(FRAME["R"] == 1)


def blackbox(estimator=None, **options):
    return DSLBlackBox(estimator, **({"n_boot": 30, "random_state": 0} | options))


def plain(**options):
    return blackbox(**options).fit(X, Y, prediction=S)


def ols(X, y):
    return np.linalg.lstsq(np.column_stack([np.ones(len(X)), X]), y, rcond=None)[0]


def wls(X, y, w):
    root = np.sqrt(w)
    return np.linalg.lstsq(
        np.column_stack([np.ones(len(X)), X]) * root[:, None], y * root, rcond=None
    )[0]


# the formula -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", [None, "scalar", "matrix"])
def test_formula_on_the_same_draws(tuning):
    """Rows repeated as often as drawn, plain least squares, covariances by numpy."""
    labeled = FRAME["R"].to_numpy() == 1
    plan = plan_resampling(
        labeled, np.zeros(N, int), fixed=True, n_unlabeled=None, rng=np.random.default_rng(0)
    )
    rng = check_rng(0)
    rng.integers(2**31)  # the seed of the estimator is drawn first
    seeds = rng.integers(0, 2**63, size=60, dtype=np.int64)

    def fits(times):
        some, every = np.repeat(ROW[labeled], times[labeled]), np.repeat(ROW, times)
        return [ols(X[some], Y[some]), ols(X[some], S[some]), ols(X[every], S[every])]

    theta, inside, everywhere = fits(np.ones(N, int))
    draws = []
    for seed in seeds:
        times = np.zeros(N, int)
        times[plan.units] = plan.draw(check_rng(seed)).astype(int)
        assert times[labeled].sum() == labeled.sum()
        draws.append(fits(times))
    own = np.array([d[0] for d in draws])
    gap = np.array([d[2] - d[1] for d in draws])
    joint = np.cov(np.hstack([own, gap]).T)
    cross, spread = joint[:3, 3:], joint[3:, 3:]
    omega = {
        None: np.eye(3),
        "scalar": -np.diag(np.diag(cross) / np.diag(spread)),
        "matrix": -cross @ np.linalg.inv(spread),
    }[tuning]
    q = {None: 0, "scalar": 1, "matrix": 3}[tuning]
    variance = np.cov((own + gap @ omega.T).T) * (59 / (59 - q)) * (1 + q / 60)
    variance *= (1 + q / 120) / (1 - q / 120)

    fit = plain(tuning=tuning, n_boot=60)
    assert_allclose(fit.result_.estimate, theta + omega @ (everywhere - inside), rtol=EXACT)
    assert_allclose(fit.vcov_, variance, rtol=1e-7)
    assert_allclose(fit.components_.to_numpy().T, [theta, inside, everywhere], rtol=EXACT)
    assert_allclose(fit.design_effect_, np.var(own, axis=0, ddof=1) / np.diag(variance), rtol=1e-7)
    expected = {None: None, "scalar": np.diag(omega), "matrix": omega}[tuning]
    if expected is None:
        assert fit.tuning_ is None
    else:
        assert_allclose(fit.tuning_, expected, rtol=1e-7)


@pytest.mark.parametrize("normalize", [True, False])
def test_unequal_probabilities_and_sample_weights(normalize):
    labeled = FRAME["R"] == 1
    a, w = FRAME["a"], FRAME["a"] / FRAME["pi"]
    fit = blackbox(tuning=None, design="bernoulli", normalize_prob=normalize).fit(
        X, Y, prediction=S, sample_prob=FRAME["pi"], sample_weight=a
    )
    L = labeled.to_numpy()
    expected = (
        wls(X[L], Y[L], w[L].to_numpy())
        + wls(X, S, a.to_numpy())
        - wls(X[L], S[L], w[L].to_numpy())
    )
    assert_allclose(fit.result_.estimate, expected, rtol=EXACT)


def test_total_weight_is_the_same_in_all_fits():
    """A penalty then weighs as much in each: ridge at the scale of all rows."""
    seen = []

    class Spy(Ridge):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight.sum())
            return super().fit(X, y, sample_weight=sample_weight)

    for design in ("srs", "bernoulli"):
        seen.clear()
        blackbox(Spy(), n_boot=20, design=design).fit(X, Y, prediction=S)
        assert len(seen) == 1 + 3 + 3 + 3 * 20
        assert_allclose(seen, N, rtol=1e-12)


def test_agrees_with_the_moment_estimator_when_the_gram_matrix_is_reproduced():
    """One indicator a stratum: weighted labelled rows have the Gram matrix of all rows."""
    frame = FRAME.assign(y=FRAME["gold"].where(np.random.default_rng(3).random(N) < 0.3))
    options = {"formula": "y ~ C(h)", "design": "stratified"}
    roles = {"prediction": "s", "strata": "h"}
    fit = blackbox(tuning=None, n_boot=200, **options).fit(frame, **roles)
    other = DSLRegressor(learner="passthrough", variance="design", **options).fit(frame, **roles)
    assert fit.result_.names == other.result_.names
    assert_allclose(fit.result_.estimate, other.result_.estimate, rtol=EXACT)
    # A bootstrap standard error has the relative error 1 / sqrt(2 B), here .05; four of them, and
    # 1 / n of the smallest stratum's labels.
    labels = frame.loc[frame["y"].notna(), "h"].value_counts().min()
    assert_allclose(fit.std_error_, other.std_error_, rtol=0.2 + 1 / labels)


def test_differs_from_the_moment_estimator_otherwise():
    fit = plain(tuning=None)
    other = DSLRegressor(learner="passthrough").fit(X, Y, prediction=S)
    gap = np.abs(fit.result_.estimate - other.result_.estimate)
    assert (gap > 1e-4).all()
    assert (gap < 2 * other.std_error_).all()


def test_all_rows_labelled():
    with pytest.warns(UserWarning, match="All 240 rows are labelled"):
        fit = blackbox(tuning="matrix").fit(X, FRAME["gold"], prediction=S)
    assert_allclose(fit.result_.estimate, ols(X, FRAME["gold"]), rtol=EXACT)
    assert (fit.tuning_ == 0).all()
    assert (fit.design_effect_ == 1).all()
    assert "Tuning" not in str(fit.summary())


def test_useless_surrogate_is_tuned_away():
    noise = np.random.default_rng(5).normal(size=N) * 10
    for tuning, q in (("scalar", 1), ("matrix", 3)):
        fit = blackbox(tuning=tuning, n_boot=100).fit(X, Y, prediction=noise)
        # Zero is among the weights: nothing is lost but the allowance for estimating them.
        assert fit.design_effect_.min() > 1 / tuning_allowance(q, 100, 120) - 1e-12
    with_all = blackbox(tuning=None).fit(X, Y, prediction=noise)
    assert with_all.design_effect_.max() < 0.5
    assert "less precise than expert labels" in " ".join(str(with_all.summary()).split())


def test_tuning_minimises_the_variance():
    rng = np.random.default_rng(0)
    own, gap = rng.normal(size=(2, 50, 3))
    gap = gap - 0.6 * own
    gap[:, 2] *= 1e8  # units do not matter
    for tuning, count in (("scalar", 1), ("matrix", 3)):
        omega, n_tuned = tuning_matrix(own, gap, tuning)
        assert n_tuned == count
        best = np.var(own + gap @ omega.T, axis=0)
        for _ in range(20):
            step = rng.normal(size=(3, 3)) * 0.1 / gap.std(axis=0)
            step = np.diag(np.diag(step)) if tuning == "scalar" else step
            assert (np.var(own + gap @ (omega + step).T, axis=0) > best).all()


# resampling ------------------------------------------------------------------------------------


def drawn(plan, n_draws=2000):
    rng = np.random.default_rng(1)
    return np.array([plan.draw(rng) for _ in range(n_draws)])


@pytest.mark.parametrize("fixed", [True, False])
def test_number_of_labels_in_a_draw(fixed):
    labeled = ROW < 40
    plan = plan_resampling(labeled, np.zeros(N, int), fixed=fixed, n_unlabeled=None, rng=None)
    weights = drawn(plan)
    counts = weights[:, labeled[plan.units]].sum(axis=1)
    assert (weights.sum(axis=1) == N).all()
    assert (weights == np.round(weights)).all()
    expected = 0 if fixed else 40 * (1 - 40 / N)
    # The variance of 2000 binomial counts has the relative error sqrt(2 / 2000).
    assert_allclose(counts.var(), expected, rtol=4 * np.sqrt(2 / 2000))
    assert_allclose(weights.mean(axis=0), 1.0, atol=5 / np.sqrt(2000))


def test_strata_vary_but_not_their_labels():
    strata, labeled = ROW % 3 // 2, ROW % 5 == 0
    plan = plan_resampling(labeled, strata, fixed=True, n_unlabeled=None, rng=None)
    weights = drawn(plan)
    first = strata[plan.units] == 0
    total = weights[:, first].sum(axis=1)
    share = first.sum() / N
    assert_allclose(total.var(), N * share * (1 - share), rtol=4 * np.sqrt(2 / 2000))
    gold = weights[:, first & labeled[plan.units]].sum(axis=1)
    assert_allclose(gold / total, gold[0] / total[0], rtol=1e-12)


def test_subset_has_the_variance_of_all():
    """A sum over a fifth of the unlabelled rows varies as the sum over all of them."""
    labeled = ROW < 40
    values = np.ones(N)  # the sum of weights of one half: a statistic whose variance is known
    for fixed in (True, False):
        plan = plan_resampling(
            labeled, np.zeros(N, int), fixed=fixed, n_unlabeled=40, rng=np.random.default_rng(0)
        )
        assert plan.reduced
        assert plan.units.size == 80
        weights = drawn(plan, 4000)
        half = plan.units % 2 == 0
        half &= ~labeled[plan.units]
        found = (weights * plan.factor)[:, half] @ values[plan.units][half]
        p = half.sum() / 40
        within = 200 * p * (1 - p)
        between = 0 if fixed else p**2 * 200 * (40 / N)
        assert_allclose(found.var(), within + between, rtol=4 * np.sqrt(2 / 4000))
        assert_allclose(found.mean(), 200 * p, rtol=0.01)
        assert (weights >= 0).all()


def test_standard_errors_with_a_subset():
    draw = make_surrogate_linear(n=4000, n_labeled=200, random_state=2)
    full, part = (
        DSLBlackBox(n_boot=200, random_state=0, tuning=None, n_unlabeled_boot=m).fit(
            draw.X, draw.y, prediction=draw.prediction
        )
        for m in (None, 600)
    )
    assert_allclose(part.result_.estimate, full.result_.estimate, rtol=1e-12)
    # Two bootstrap standard errors, each with the relative error 1 / sqrt(400).
    assert_allclose(part.std_error_, full.std_error_, rtol=4 * np.sqrt(2 / 400))
    assert "600 of 3,800 unlabelled ones stand for all" in " ".join(str(part.summary()).split())
    assert "stand for all" not in str(full.summary())


def test_clusters_are_drawn_as_a_whole():
    twice = np.tile(ROW, 2)
    rows = {"prediction": S[twice], "clusters": twice}
    options = {"n_boot": 60, "tuning": None}
    pairs = blackbox(**options).fit(X[twice], Y[twice], **rows)
    # Doubled rows in clusters are the rows alone, all drawn together.
    alone = blackbox(**options, design="bernoulli").fit(X, Y, prediction=S)
    assert_allclose(pairs.result_.estimate, alone.result_.estimate, rtol=EXACT)
    assert_allclose(pairs.std_error_, alone.std_error_, rtol=1e-7)
    assert pairs.result_.n_clusters == N
    assert "240 clusters" in str(pairs.summary())
    ignored = blackbox(**options).fit(X[twice], Y[twice], prediction=S[twice])
    assert (ignored.std_error_ < 0.8 * pairs.std_error_).all()


def test_clusters_within_a_stratified_design():
    fit = blackbox(design="stratified").fit(
        FRAME[["x1", "x2", "y", "s", "h", "grp"]],
        "y",
        prediction="s",
        strata="h",
        clusters="grp",
    )
    assert fit.result_.n_clusters == 60
    assert "draws of clusters" in str(fit.summary())


def test_degrees_of_freedom():
    assert plain(use_t=True).result_.df == 120 - 3
    clustered = blackbox(use_t=True).fit(X, Y, prediction=S, clusters=FRAME["grp"])
    assert clustered.result_.df == 60 - 1


# models ----------------------------------------------------------------------------------------


def test_predicted_covariate():
    fit = blackbox(tuning=None).fit(
        FRAME[["x1_known", "x2", "gold", "x1_hat"]], "gold", prediction={"x1_known": "x1_hat"}
    )
    L = FRAME["R"].to_numpy() == 1
    Z = FRAME[["x1_hat", "x2"]].to_numpy()
    y = FRAME["gold"].to_numpy()
    assert_allclose(fit.result_.estimate, ols(X[L], y[L]) + ols(Z, y) - ols(Z[L], y[L]), rtol=EXACT)
    assert fit.result_.names == ("(Intercept)", "x1_known", "x2")
    assert list(fit.surrogate_report_["variable"]) == ["x1_known"]


def test_predicted_covariate_and_outcome_in_a_formula():
    formula = "y ~ x1_known * x2"
    fit = blackbox(tuning=None, formula=formula).fit(
        FRAME, prediction={"y": "s", "x1_known": "x1_hat"}
    )
    L = FRAME["R"].to_numpy() == 1

    def design(x):
        return np.column_stack([x, FRAME["x2"], x * FRAME["x2"]])

    D, Z = design(FRAME["x1"]), design(FRAME["x1_hat"])
    expected = ols(D[L], Y[L]) + ols(Z, S) - ols(Z[L], S[L])
    assert_allclose(fit.result_.estimate, expected, rtol=EXACT)
    assert fit.result_.names == ("(Intercept)", "x1_known", "x2", "x1_known:x2")
    assert fit.predict(FRAME.assign(x1_known=FRAME["x1"])).shape == (N,)


def test_categories_of_a_frame():
    frame = FRAME[["x1", "g", "y", "s"]]
    fit = blackbox().fit(frame, "y", prediction="s")
    assert fit.result_.names == ("(Intercept)", "x1", "g[T.b]", "g[T.c]")
    other = blackbox().fit(pl.from_pandas(frame), "y", prediction="s")
    assert_allclose(fit.vcov_, other.vcov_, rtol=1e-12)


def test_no_intercept():
    fit = plain(estimator=LinearRegression(fit_intercept=False))
    assert fit.result_.names == ("x0", "x1")
    assert fit.intercept_ == 0.0
    assert_allclose(fit.predict(X), X @ fit.coef_, rtol=1e-12)
    formula = blackbox(LinearRegression(fit_intercept=False), formula="y ~ x1 + x2 - 1").fit(
        FRAME, prediction="s"
    )
    assert_allclose(formula.result_.estimate, fit.result_.estimate, rtol=EXACT)


def test_classifier_with_words():
    model = LogisticRegression(C=np.inf)
    fit = blackbox(model).fit(X, WORDS, prediction=FRAME["word_hat"])
    numbers = (FRAME["word"] == "yes").where(FRAME["R"] == 1).astype(float)
    coded = blackbox(model).fit(X, numbers, prediction=(FRAME["word_hat"] == "yes").astype(float))
    assert_allclose(fit.result_.estimate, coded.result_.estimate, rtol=1e-12)
    assert_allclose(fit.vcov_, coded.vcov_, rtol=1e-12)
    assert list(fit.classes_) == ["no", "yes"]
    assert set(fit.predict(X)) == {"no", "yes"}
    proba = fit.predict_proba(X)
    eta = fit.intercept_ + X @ fit.coef_
    assert_allclose(proba[:, 1], 1 / (1 + np.exp(-eta)), rtol=1e-10)
    report = fit.surrogate_report_.iloc[0]
    L = FRAME["R"] == 1
    assert report["accuracy"] == pytest.approx((FRAME["word"] == FRAME["word_hat"])[L].mean())
    assert not hasattr(plain(), "predict_proba")


@pytest.mark.parametrize(
    "estimator", [HuberRegressor(alpha=0), QuantileRegressor(alpha=0), Ridge(), PoissonRegressor()]
)
def test_other_estimators(estimator):
    y = np.where(np.isnan(Y), np.nan, np.abs(Y))
    fit = blackbox(estimator, n_boot=20).fit(X, y, prediction=np.abs(S))
    L = FRAME["R"].to_numpy() == 1
    w = np.full(N, 2.0)

    def vector(X, y, w):
        model = clone(estimator).fit(X, y, sample_weight=w)
        return np.r_[model.intercept_, model.coef_]

    gold = vector(X[L], y[L], w[L])
    gap = vector(X, np.abs(S), np.ones(N)) - vector(X[L], np.abs(S)[L], w[L])
    assert_allclose(fit.result_.estimate, gold + fit.tuning_ * gap, rtol=1e-6)
    inner = fit.estimator_
    assert_allclose(np.r_[inner.intercept_, inner.coef_], fit.result_.estimate, rtol=1e-12)
    assert_allclose(fit.predict(X), inner.predict(X), rtol=1e-12)


def test_pipeline():
    pipe = make_pipeline(StandardScaler(), LinearRegression())
    fit = blackbox(pipe, tuning=None, design="bernoulli").fit(
        FRAME[["x1", "x2", "y", "s", "pi"]], "y", prediction="s", sample_prob="pi"
    )
    assert fit.result_.names == ("(Intercept)", "x1", "x2")
    L = FRAME["R"].to_numpy() == 1
    w = (1 / FRAME["pi"]).to_numpy()

    def scaled(X, y, w):
        mean = w @ X / w.sum()
        sd = np.sqrt(w @ (X - mean) ** 2 / w.sum())
        return wls((X - mean) / sd, y, w)

    expected = scaled(X[L], Y[L], w[L]) + scaled(X, S, np.ones(N)) - scaled(X[L], S[L], w[L])
    assert_allclose(fit.result_.estimate, expected, rtol=1e-8)
    assert "take no sample_weight" not in str(fit.summary())


def test_pipeline_renames_columns_and_says_what_is_not_weighted():
    pipe = make_pipeline(MinMaxScaler(), PolynomialFeatures(2, include_bias=False), Ridge())
    fit = blackbox(pipe, n_boot=20).fit(FRAME[["x1", "x2", "y", "s"]], "y", prediction="s")
    assert fit.result_.names == ("(Intercept)", "x1", "x2", "x1^2", "x1 x2", "x2^2")
    assert "'minmaxscaler', 'polynomialfeatures' of the pipeline take no sample_weight" in " ".join(
        str(fit.summary()).split()
    )
    assert fit.predict(FRAME).shape == (N,)


def test_own_vector():
    def effect(model):
        return pd.Series({"sum": model.coef_.sum(), "x1 - x2": model.coef_[0] - model.coef_[1]})

    fit = plain(coef=effect, tuning=None)
    every = plain(tuning=None)
    assert fit.result_.names == ("sum", "x1 - x2")
    contrast = every.contrast([[0, 1, 1], [0, 1, -1]])
    assert_allclose(fit.result_.estimate, contrast.estimate, rtol=EXACT)
    assert_allclose(fit.vcov_, contrast.vcov, rtol=1e-7)
    assert fit.estimator_ is None
    with pytest.raises(ParameterError, match="makes no predictions"):
        fit.predict(X)
    assert plain(coef=lambda m: m.coef_).result_.names == ("x0", "x1")
    assert plain(coef=lambda m: m.coef_.sum()).result_.names == ("coef0",)


def test_open_seed_of_the_estimator():
    model = LinearSVC(dual=True, max_iter=20_000, tol=1e-2)

    def run(seed):
        est = blackbox(model, n_boot=20, random_state=seed)
        return est.fit(X, WORDS, prediction=FRAME["word_hat"]).result_

    assert_allclose(run(1).estimate, run(1).estimate, rtol=0)
    assert_allclose(run(1).vcov, run(1).vcov, rtol=0)
    assert model.random_state is None


# what is said ----------------------------------------------------------------------------------


class Fragile(LinearRegression):
    """Fails, or complains, when the first of two rows has been left out."""

    def __init__(self, share=0.0, complain=False):
        super().__init__()
        self.share = share
        self.complain = complain

    def fit(self, X, y, sample_weight=None):
        # Decided by the data, so that it does not depend on the order of fits.
        if np.modf(abs(1e6 * np.sum(sample_weight * y)))[0] < self.share:
            if not self.complain:
                raise ValueError("bad luck")
            import warnings

            warnings.warn("not yet there", ConvergenceWarning, stacklevel=2)
        return super().fit(X, y, sample_weight)


def test_failed_draws_are_counted():
    with pytest.warns(UserWarning, match="statistic failed in .* of 100 .*bad luck"):
        fit = plain(estimator=Fragile(0.01), n_boot=100)
    failed = fit.bootstrap_.n_failed
    assert 0 < failed <= 10
    assert f"{failed} of 100 bootstrap draws failed and are left out" in str(fit.summary())
    assert fit.result_.diagnostics["n_boot_failed"] == failed


@pytest.mark.filterwarnings("ignore:statistic failed")
def test_too_many_failed_draws():
    with pytest.raises(DataError, match=r"The estimator failed in .* of 40 bootstrap draws"):
        plain(estimator=Fragile(0.2), n_boot=40)


def test_draws_that_did_not_converge_are_counted():
    fit = plain(estimator=Fragile(0.05, complain=True), n_boot=40)
    count = fit.result_.diagnostics["n_boot_unconverged"]
    assert 0 < count < 20
    assert f"a fit did not converge in {count} of 40 bootstrap draws" in str(fit.summary())
    assert fit.converged_


def test_fit_that_did_not_converge():
    with pytest.warns(ConvergenceWarning, match="3 of the 3 fits of Fragile did not converge"):
        fit = plain(estimator=Fragile(2.0, complain=True))
    assert not fit.converged_


def test_other_warnings_of_the_estimator_are_passed_on():
    class Chatty(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            import warnings

            warnings.warn("mind the gap", FutureWarning, stacklevel=2)
            return super().fit(X, y, sample_weight)

    with pytest.warns(FutureWarning, match="mind the gap") as caught:
        plain(estimator=Chatty())
    assert len(caught) == 1


def test_summary():
    fit = blackbox(n_boot=40).fit(X[:150], Y[:150], prediction=S[:150])
    text = " ".join(str(fit.summary()).split())
    for part in (
        "LinearRegression, predict-then-debias correction for surrogate labels",
        "Bootstrap: 40 draws of labelled and of unlabelled rows, three fits each",
        "Tuning: one number a coefficient, diagonal",
        "Effective labels: 75 with these predictions",
        "only 75 labels",
        "NOT assumed: anything about the accuracy of the surrogate",
        "Standard errors: bootstrap, normal",
    ):
        assert part in text, part
    assert "only" not in str(plain().summary())


def test_intervals():
    fit = plain(n_boot=60)
    for kind, quantiles in (("percentile", [0.05, 0.95]), ("basic", [0.95, 0.05])):
        limits = fit.confint(level=0.9, kind=kind).to_numpy()
        expected = np.quantile(fit.bootstrap_.estimates, quantiles, axis=0).T
        if kind == "basic":
            expected = 2 * fit.result_.estimate[:, None] - expected
        assert_allclose(limits, expected, rtol=1e-12)
    assert_allclose(fit.confint(), fit.tidy()[["conf_low", "conf_high"]], rtol=1e-12)
    wide = fit.confint(kind="simultaneous")
    assert (wide["conf_high"] > fit.confint()["conf_high"]).all()
    assert_allclose(fit.bootstrap_.estimates.std(axis=0, ddof=1), fit.std_error_, rtol=1e-12)


def test_augment():
    frame = FRAME[["x1", "x2", "y", "s"]].set_index(ROW + 5)
    fit = blackbox().fit(frame, "y", prediction="s")
    rows = fit.augment(frame, y="y")
    assert list(rows.columns) == ["x1", "x2", "y", "s", ".fitted", ".resid"]
    assert (rows.index == frame.index).all()
    assert_allclose(rows[".fitted"], fit.intercept_ + X @ fit.coef_, rtol=1e-12)
    assert_allclose(rows[".resid"], frame["y"] - rows[".fitted"], rtol=1e-12)
    assert list(plain().augment(X).columns) == ["x0", "x1", ".fitted"]


def test_nothing_fitted_holds_rows():
    big = make_surrogate_linear(n=20_000, n_labeled=2000, random_state=0)
    fit = blackbox(n_unlabeled_boot=500).fit(big.X, big.y, prediction=big.prediction)
    assert len(pickle.dumps(fit)) < 20_000
    with pytest.raises(ParameterError, match="comes from a bootstrap"):
        fit.refit_vcov("HC1")
    with pytest.raises(NotFittedError):
        check_is_fitted(DSLBlackBox(), "result_")
    with pytest.raises(NotFittedError):
        DSLBlackBox().predict(X)


def test_progress(capsys):
    plain(verbose=1)
    assert "bootstrap" in capsys.readouterr().err


def test_result_depends_on_the_seed_only():
    first, again, other = (plain(random_state=seed) for seed in (1, 1, 2))
    assert_allclose(first.vcov_, again.vcov_, rtol=0)
    assert (first.vcov_ != other.vcov_).all()
    generator = plain(random_state=np.random.default_rng(1))
    assert_allclose(first.vcov_, generator.vcov_, rtol=0)


# bad input -------------------------------------------------------------------------------------


class Weightless(BaseEstimator):
    def fit(self, X, y):
        return self


class Bare(LinearRegression):
    def fit(self, X, y, sample_weight=None):
        return self


def fit_words(estimator, y=WORDS, s=FRAME["word_hat"]):
    return blackbox(estimator).fit(X, y, prediction=s)


LOGIT = LogisticRegression(C=np.inf)
SHORT = np.where(ROW < 4, FRAME["gold"], np.nan)
TINY = FRAME.assign(y=FRAME["gold"].where((FRAME["h"] > 0) | (ROW < 1)))
SCORES = {"y": pd.DataFrame({"s": S, "t": S})}

BAD = {
    "estimator a class": (
        lambda: plain(estimator=LinearRegression),
        ParameterError,
        "estimator must be None or a scikit-learn estimator instance",
    ),
    "no weights": (
        lambda: plain(estimator=Weightless()),
        ParameterError,
        "Weightless.fit takes no sample_weight",
    ),
    "no weights in a pipeline": (
        lambda: plain(estimator=make_pipeline(StandardScaler(), KNeighborsRegressor())),
        ParameterError,
        "KNeighborsRegressor.fit takes no sample_weight",
    ),
    "no coef_": (
        lambda: plain(estimator=Bare()),
        ParameterError,
        "a fitted Bare has no coef_. Pass coef=",
    ),
    "matrix from coef": (
        lambda: plain(coef=lambda m: np.ones((2, 2))),
        ParameterError,
        r"coef returned an array of shape \(2, 2\)",
    ),
    "repeated names": (
        lambda: plain(coef=lambda m: pd.Series([1.0, 2.0], index=["a", "a"])),
        ParameterError,
        "repeated names",
    ),
    "coef no function": (lambda: plain(coef="coef_"), ParameterError, "coef must be None or a fun"),
    "tuning": (lambda: plain(tuning="full"), ParameterError, "tuning must be None or one of 'scal"),
    "n_boot": (lambda: plain(n_boot=5), ParameterError, r"n_boot must be an integer in \[20, inf"),
    "n_boot for a matrix": (
        lambda: plain(n_boot=24, tuning="matrix"),
        ParameterError,
        "from n_boot=24 draws. Use at least 26",
    ),
    "subset": (
        lambda: plain(n_unlabeled_boot="all"),
        ParameterError,
        "n_unlabeled_boot must be None or one of 'auto' or an integer",
    ),
    "design": (lambda: plain(design="poisson"), ParameterError, "design must be one of 'srs'"),
    "seed": (lambda: plain(random_state=-1), ParameterError, "non-negative integer, got -1"),
    "no prediction": (lambda: blackbox().fit(X, Y), RoleError, "DSLBlackBox.fit needs prediction="),
    "no outcome": (lambda: blackbox().fit(X, prediction=S), DataError, "the target y is None"),
    "two surrogates": (
        lambda: blackbox().fit(X, Y, prediction=SCORES),
        ParameterError,
        r"in the place of 'y', but prediction has 2 \(s, t\)",
    ),
    "prediction is the outcome": (
        lambda: blackbox().fit(FRAME, "y", prediction="y"),
        RoleError,
        "prediction names 'y', which is the outcome",
    ),
    "missing surrogate": (
        lambda: blackbox().fit(X, Y, prediction=Y),
        DataError,
        "has 120 missing values",
    ),
    "infinite surrogate": (
        lambda: blackbox().fit(X, Y, prediction=np.where(ROW == 7, np.inf, S)),
        DataError,
        "The prediction of 'y' holds infinity",
    ),
    "words for a regressor": (
        lambda: blackbox().fit(X, Y, prediction=FRAME["word_hat"]),
        DataError,
        "prediction of 'y' must be numeric, but row 0 holds",
    ),
    "scores for a classifier": (
        lambda: fit_words(LOGIT, s=S),
        DataError,
        "holds 240 values that are none of the classes 'no', 'yes'",
    ),
    "three classes": (
        lambda: fit_words(LOGIT, y=FRAME["g"].where(FRAME["R"] == 1), s=FRAME["g"]),
        DataError,
        "Only binary classification is supported",
    ),
    "one class": (
        lambda: fit_words(LOGIT, y=WORDS.where(WORDS == "no")),
        DataError,
        "hold one class only",
    ),
    "no labels": (
        lambda: blackbox().fit(X, np.full(N, np.nan), prediction=S),
        DataError,
        "No row is labelled",
    ),
    "few labels": (
        lambda: blackbox().fit(np.column_stack([X, X**2]), SHORT, prediction=S),
        DataError,
        "4 labelled rows .* cannot support 4 coefficients with an intercept; at least 6",
    ),
    "strata without design": (
        lambda: blackbox().fit(X, Y, prediction=S, strata=FRAME["h"]),
        RoleError,
        "strata are used with design='stratified'; design is 'srs'",
    ),
    "design without strata": (
        lambda: plain(design="stratified"),
        RoleError,
        "design='stratified' needs strata=",
    ),
    "single label in a stratum": (
        lambda: blackbox(design="stratified").fit(X, TINY["y"], prediction=S, strata=FRAME["h"]),
        RoleError,
        r"1 strata have a single labelled row \(first: 0\)",
    ),
    "no label in a stratum": (
        lambda: blackbox(design="stratified").fit(
            X, TINY["y"].where(ROW > 0), prediction=S, strata=FRAME["h"]
        ),
        RoleError,
        "1 strata have no labelled row: 0",
    ),
    "one labelled cluster": (
        lambda: blackbox().fit(X, FRAME["gold"].where(ROW < 20), prediction=S, clusters=ROW // 20),
        DataError,
        "1 of 12 clusters have labels",
    ),
    "probability": (
        lambda: blackbox().fit(X, Y, prediction=S, sample_prob=np.where(ROW == 3, 0.0, 0.5)),
        RoleError,
        r"sample_prob has 1 values outside \(0, 1\]",
    ),
    "contradiction": (
        lambda: blackbox().fit(X, Y, prediction=S, labeled=1 - FRAME["R"]),
        RoleError,
        "labeled is 0 but 'y' is present in 120 rows",
    ),
    "formula without intercept": (
        lambda: blackbox(formula="y ~ x1 - 1").fit(FRAME, prediction="s"),
        ParameterError,
        "The formula has no intercept, but estimator fits one",
    ),
    "formula with intercept": (
        lambda: blackbox(LinearRegression(fit_intercept=False), formula="y ~ x1").fit(
            FRAME, prediction="s"
        ),
        ParameterError,
        "The formula has intercept, but estimator fits none",
    ),
    "no covariate": (
        lambda: blackbox(formula="y ~ 1").fit(FRAME, prediction="s"),
        DataError,
        "X has no covariate",
    ),
    "term of a surrogate": (
        lambda: blackbox(formula="gold ~ np.log(z)").fit(
            FRAME.assign(z=np.exp(FRAME["x1_known"])), prediction={"z": "x1_hat"}
        ),
        DataError,
        "not finite",
    ),
    "t without labels": (
        lambda: blackbox(use_t=True, coef=lambda m: np.ones(5)).fit(
            X, np.where(ROW < 4, FRAME["gold"], np.nan), prediction=S
        ),
        ParameterError,
        "use_t=True needs more labelled rows",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero", "ignore:The smallest")
def test_bad_input(case):
    run, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        run()
    assert isinstance(caught.value, RobuststatError)


def test_few_clusters_are_warned_of():
    with pytest.warns(SmallClusterWarning, match="Only 6 clusters have labels"):
        blackbox().fit(X, Y, prediction=S, clusters=ROW % 12)


def test_predicted_covariate_of_the_simulation():
    draw = make_predicted_covariate(n=2000, n_labeled=800, random_state=1)
    fit = blackbox(n_boot=60).fit(draw.X, draw.y, prediction={"x1": draw.prediction})
    z = (fit.result_.estimate - draw.truth.to_numpy()) / fit.std_error_
    assert np.abs(z).max() < 4
    naive = np.abs(fit.components_["surrogate_all"] - draw.truth) / fit.std_error_
    assert naive["x1"] > 4
