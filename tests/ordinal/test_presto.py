"""Behaviour of PRESTO: invariances, valid probabilities, roles, tuning, intervals, plots."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import comb, expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from statsmodels.miscmodels.ordinal_model import OrderedModel

from robuststat import PrestoClassifier, presto_path
from robuststat.ordinal import plot_boundaries, plot_path


def draw(n=500, p=4, seed=0, cuts=(0.0, 1.5, 3.0)):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, p))
    slope = np.linspace(1.0, -0.5, p)
    return X, np.digitize(X @ slope + rng.logistic(size=n), cuts)


def fit(X, y, lam=0.01, **options):
    roles = {k: options.pop(k) for k in ("sample_weight", "offset", "clusters") if k in options}
    return PrestoClassifier(lam=lam, **options).fit(X, y, **roles)


CROSSING = draw(n=300, p=5, seed=3, cuts=(0.0, 2.0, 2.3, 3.5))


@pytest.mark.parametrize("crossing", ["allow", "box"])
def test_shift_and_scale_of_columns_do_not_change_probabilities(crossing):
    X, y = CROSSING
    moved = X * np.array([1.0, 100.0, 1e-3, 5.0, 1.0]) + np.array([0.0, 50.0, -2.0, 7.0, 1e3])
    a = fit(X, y, lam=0.002, crossing=crossing, on_crossing="ignore", tol=1e-11)
    b = fit(moved, y, lam=0.002, crossing=crossing, on_crossing="ignore", tol=1e-11)
    first, second = (
        np.diff(expit(est.decision_function(Z)), axis=1) for est, Z in ((a, X), (b, moved))
    )
    np.testing.assert_allclose(first, second, atol=1e-8)
    assert a.loglik_ == pytest.approx(b.loglik_, rel=1e-10)


def test_no_negative_probability_in_the_box():
    X, y = CROSSING
    free = fit(X, y, lam=0.0005, crossing="allow", inference="none")
    est = fit(X, y, lam=0.0005, inference="none")
    rng = np.random.default_rng(1)
    inside = rng.uniform(X.min(axis=0), X.max(axis=0), size=(10_000, 5))
    corners = np.where(rng.random((2_000, 5)) < 0.5, X.min(axis=0), X.max(axis=0))
    everything = np.vstack([inside, corners])
    # The problem is real: without the constraint thousands of these rows are invalid.
    assert free.count_crossings(everything) > 500
    gaps = np.diff(est.decision_function(everything), axis=1)
    assert gaps.min() >= 0.0
    with warnings.catch_warnings(action="error"):
        p = est.predict_proba(everything)
    assert p.min() >= 0.0
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    assert est.crossing_.active
    assert est.crossing_.mode == "box"
    assert "binds at" in str(est.summary())


def test_box_margin_and_own_box_reach_further():
    X, y = CROSSING
    wide = fit(X, y, lam=0.0005, box_margin=0.5, inference="none")
    far = np.random.default_rng(2).choice([-1.5, 1.5], size=(2_000, 5)) * np.abs(X).max(axis=0)
    plain = fit(X, y, lam=0.0005, inference="none")
    assert plain.count_crossings(far) > 0
    assert wide.count_crossings(far * 0.99) == 0
    limits = {f"x{j}": (-2.0, 2.0) for j in range(5)}
    own = fit(X, y, lam=0.0005, box=limits, inference="none")
    pair = fit(X, y, lam=0.0005, box=(np.full(5, -2.0), np.full(5, 2.0)), inference="none")
    np.testing.assert_allclose(own.coef_, pair.coef_, atol=1e-10)
    assert own.count_crossings(np.random.default_rng(4).uniform(-2, 2, (5_000, 5))) == 0


def test_train_keeps_training_rows_valid_only():
    X, y = CROSSING
    est = fit(X, y, lam=0.0005, crossing="train", inference="none")
    assert est.count_crossings(X) == 0
    free, box = (fit(X, y, lam=0.0005, crossing=c, inference="none") for c in ("allow", "box"))
    assert free.loglik_ > est.loglik_ > box.loglik_


@pytest.mark.parametrize("rule", ["isotonic", "clip", "raise", "ignore"])
def test_repair_of_crossing_rows(rule):
    X, y = CROSSING
    est = fit(X, y, lam=0.0005, crossing="allow", on_crossing=rule, inference="none")
    bad = int((np.diff(est.decision_function(X), axis=1) < 0).any(axis=1).sum())
    assert bad == est.crossing_.n_rows == est.count_crossings(X) > 0
    if rule == "raise":
        with pytest.raises(ValueError, match=rf"{bad} of 300 rows have crossing boundaries"):
            est.predict_proba(X)
        return
    with pytest.warns(UserWarning, match=rf"{bad} of 300 rows have crossing boundaries"):
        p = est.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    assert (p.min() < 0) == (rule == "ignore")
    if rule == "isotonic":
        with pytest.warns(UserWarning, match="repaired"):
            cumulative = est.predict_cumulative(X)
        np.testing.assert_allclose(np.cumsum(p, axis=1)[:, :-1], cumulative, atol=1e-12)
        raw = expit(est.decision_function(X))
        # Closest monotone sequence: pooled values are means, others untouched.
        np.testing.assert_allclose(cumulative.sum(axis=1), raw.sum(axis=1), atol=1e-12)


def test_weights_repeat_rows_and_have_no_scale():
    X, y = draw()
    times = np.random.default_rng(5).integers(0, 4, size=len(y))
    a = fit(X, y, sample_weight=times, tol=1e-11)
    b = fit(np.repeat(X, times, axis=0), np.repeat(y, times), tol=1e-11)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-9)
    np.testing.assert_allclose(a.std_error_, b.std_error_, rtol=1e-8)
    assert a.loglik_ == pytest.approx(b.loglik_)
    np.testing.assert_array_equal(a.class_counts_, np.bincount(np.repeat(y, times)))
    c = fit(X, y, sample_weight=times * 7.5, tol=1e-11)
    np.testing.assert_allclose(a.coef_, c.coef_, atol=1e-9)


def test_counts_are_rows():
    X, y = draw(n=400, cuts=(-1.0, 0.0, 1.0))
    groups = np.round(X[:, :2])
    cells, code = np.unique(groups, axis=0, return_inverse=True)
    counts = np.zeros((len(cells), 4))
    np.add.at(counts, (code.ravel(), y), 1.0)
    a, b = fit(cells, counts, tol=1e-11), fit(groups, y, tol=1e-11)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-9)
    np.testing.assert_allclose(a.std_error_, b.std_error_, rtol=1e-7)
    a, b = (fit(*d, tol=1e-11, vcov="HC0") for d in ((cells, counts), (groups, y)))
    np.testing.assert_allclose(a.std_error_, b.std_error_, rtol=1e-7)
    assert a.result_.n_obs == 400
    np.testing.assert_array_equal(a.classes_, [1, 2, 3, 4])
    tuned = PrestoClassifier(cv=3, random_state=0).fit(cells, counts)
    assert tuned.cv_scores_.shape == (20,)


@pytest.mark.parametrize("p", [4, 60])
def test_sparse_equals_dense(p):
    rng = np.random.default_rng(6)
    X = rng.normal(size=(300, p)) * (rng.random((300, p)) < 0.3)
    y = np.digitize(X[:, 0] - X[:, 1] + rng.logistic(size=300), [0.0, 2.0])
    dense = fit(X, y, lam=0.02, tol=1e-10)
    for kind in (sparse.csr_matrix, sparse.csc_matrix):
        est = fit(kind(X), y, lam=0.02, tol=1e-10)
        np.testing.assert_allclose(est.coef_, dense.coef_, atol=1e-8)
        np.testing.assert_allclose(est.predict_proba(kind(X)), dense.predict_proba(X), atol=1e-8)
        np.testing.assert_allclose(est.std_error_, dense.std_error_, rtol=1e-6)


def test_offset_is_added_to_every_boundary():
    X, y = draw(n=800)
    o = 0.7 * X[:, 0]
    plain = fit(X, y, lam=0.0, crossing="allow")
    moved = fit(X, y, lam=0.0, crossing="allow", offset=o)
    # eta = intercept - coef x + o: the coefficient takes the offset in.
    np.testing.assert_allclose(moved.coef_[:, 0], plain.coef_[:, 0] + 0.7, atol=1e-6)
    np.testing.assert_allclose(moved.predict_proba(X, o), plain.predict_proba(X), atol=1e-7)
    constant = fit(X, y, lam=10.0, offset=np.full(len(y), 3.0))
    shares = np.cumsum(np.bincount(y))[:-1] / len(y)
    np.testing.assert_allclose(constant.intercept_, logit(shares) - 3.0, atol=1e-7)


def test_large_penalty_gives_the_shares():
    X, y = draw()
    est = fit(X, y, lam=10.0, inference="none")
    shares = np.bincount(y) / len(y)
    assert (est.coef_ == 0).all()
    assert est.pooled_.all()
    np.testing.assert_allclose(est.predict_proba(X[:3]), np.tile(shares, (3, 1)), atol=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog", "cauchit"])
def test_links_reach_stationary_points(link):
    X, y = draw(n=600)
    est = fit(X, y, lam=0.005, link=link)
    assert est.kkt_ < 1e-8
    assert est.converged_
    null = est.null_loglik_
    assert null == pytest.approx((np.bincount(y) * np.log(np.bincount(y) / len(y))).sum())
    assert est.loglik_ > null


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_unpenalised_proportional_odds_equal_statsmodels(link):
    X, y = draw(n=500)
    # Differences that may not be used: proportional odds by maximum likelihood.
    est = PrestoClassifier(lam=50.0, first_block_penalty=0.0, link=link, tol=1e-10).fit(X, y)
    peer = OrderedModel(y, X, distr=link).fit(method="bfgs", gtol=1e-6, maxiter=500, disp=False)
    assert est.pooled_.all()
    # The peer's gradient is below 1e-6 and its curvature about 0.05.
    np.testing.assert_allclose(est.coef_[0], peer.params[:4], atol=1e-4)
    assert est.loglik_ == pytest.approx(peer.llf, abs=1e-7)


def test_ridge_and_elastic_net_shrink_without_zeros():
    X, y = draw()
    ridge = fit(X, y, lam=0.05, l1_ratio=0.0)
    assert (ridge.psi_ != 0).all()
    assert ridge.kkt_ < 1e-8
    net, lasso = fit(X, y, lam=0.02, l1_ratio=0.5), fit(X, y, lam=0.02)
    assert np.count_nonzero(net.psi_) >= np.count_nonzero(lasso.psi_)


def test_penalty_factors_by_name():
    X, y = draw()
    frame = pd.DataFrame(X, columns=list("abcd"))
    free = fit(frame, y, lam=1.0, penalty_factors={"a": 0.0})
    assert (free.coef_[:, 0] != 0).all()
    assert (free.coef_[:, 1:] == 0).all()
    same = fit(frame, y, lam=1.0, penalty_factors=[0.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(free.coef_, same.coef_)


def test_working_sets_reach_the_same_optimum(monkeypatch):
    from robuststat.ordinal import _presto_solve

    rng = np.random.default_rng(7)
    X = rng.normal(size=(200, 120))
    y = np.digitize(X[:, :3].sum(axis=1) + rng.logistic(size=200), [0.0, 2.0])
    path = presto_path(X, y, n_lambdas=8, lambda_min_ratio=0.1)
    assert (path.kkt <= 1e-8).all()
    monkeypatch.setattr(_presto_solve, "SMALL", 10_000)
    whole = presto_path(X, y, n_lambdas=8, lambda_min_ratio=0.1)
    np.testing.assert_allclose(path.coefs, whole.coefs, atol=1e-6)


def test_folds_are_stratified_reproducible_and_choose():
    X, y = draw(n=400)
    a = PrestoClassifier(random_state=3).fit(X, y)
    b = PrestoClassifier(random_state=3, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(a.cv_scores_, b.cv_scores_)
    assert a.lam_ == a.lambdas_[a.cv_scores_.argmin()]
    careful = PrestoClassifier(random_state=3, selection="1se").fit(X, y)
    limit = (a.cv_scores_ + a.cv_se_)[a.cv_scores_.argmin()]
    assert careful.lam_ == a.lambdas_[a.cv_scores_ <= limit].max() > a.lam_
    split = list(StratifiedKFold(5).split(X, y))
    given = PrestoClassifier(cv=split).fit(X, y)
    by_hand = []
    for train, test in split:
        box = (X.min(axis=0), X.max(axis=0))
        one = fit(X[train], y[train], lam=given.lambdas_[8], inference="none", box=box)
        by_hand.append(-one.score(X[test], y[test]))
    assert given.cv_scores_[8] == pytest.approx(np.mean(by_hand), abs=1e-7)


@pytest.mark.parametrize("scoring", ["brier", "rare_log_loss", "rare_brier", "misclass"])
def test_other_scores(scoring):
    X, y = draw(n=400)
    split = list(StratifiedKFold(4).split(X, y))
    est = PrestoClassifier(cv=split, scoring=scoring, lambdas=[0.03, 0.003]).fit(X, y)
    expected = []
    for train, test in split:
        box = (X.min(axis=0), X.max(axis=0))
        one = fit(X[train], y[train], lam=0.03, inference="none", box=box)
        p, t = one.predict_proba(X[test]), y[test]
        rare, event = one.predict_rare(X[test]), t == 3
        loss = {
            "brier": ((np.eye(4)[t] - p) ** 2).sum(axis=1),
            "rare_brier": (event - rare) ** 2,
            "rare_log_loss": -np.where(event, np.log(rare), np.log1p(-rare)),
            "misclass": p.argmax(axis=1) != t,
        }[scoring]
        expected.append(loss.mean())
    assert est.cv_scores_[0] == pytest.approx(np.mean(expected), abs=1e-7)


@pytest.mark.parametrize("kind", ["aic", "bic", "ebic"])
def test_information_criteria(kind):
    X, y = draw()
    est = PrestoClassifier(lam=kind).fit(X, y)
    path = est.path_
    chosen = np.count_nonzero(path.psi, axis=(1, 2))
    values = {
        "aic": path.aic,
        "bic": path.bic,
        "ebic": path.bic + 2.0 * 0.5 * np.log(comb(path.psi[0].size, chosen)),
    }[kind]
    np.testing.assert_allclose(est.cv_scores_, values)
    assert est.lam_ == path.lambdas[est.cv_scores_.argmin()]


def test_few_rare_rows_mean_fewer_folds_and_a_note():
    X, y = draw(n=300)
    y = np.where(y == 3, 2, y)
    y[:3] = 3
    with pytest.warns(UserWarning, match="3 folds are used instead of 5"):
        est = PrestoClassifier(random_state=0).fit(X, y)
    assert "the rare class 3 has 3 rows" in str(est.summary())


def test_debiased_estimate_of_an_unpenalised_fit_is_maximum_likelihood():
    X, y = draw(n=900)
    mle = fit(X, y, lam=0.0, crossing="allow", tol=1e-10)
    np.testing.assert_allclose(mle.debiased_.coef, mle.coef_, atol=1e-8)
    step = fit(X, y, lam=0.005, crossing="allow")
    gap = np.abs(step.debiased_.coef - mle.coef_) / mle.debiased_.coef_std_error
    assert gap.max() < 0.5 < (np.abs(step.coef_ - mle.coef_) / mle.debiased_.coef_std_error).max()
    _p, low, high = step.predict_rare(X[:50], return_ci=True)
    assert ((low > 0) & (high < 1) & (low < high)).all()
    wider = step.predict_rare(X[:50], return_ci=True, level=0.99)
    assert (wider[1] < low).all()
    assert (wider[2] > high).all()


def test_robust_and_cluster_variances():
    X, y = draw(n=600)
    plain, robust = fit(X, y), fit(X, y, vcov="HC0")
    assert (robust.std_error_ / plain.std_error_).min() > 0.7
    assert (robust.std_error_ / plain.std_error_).max() < 1.4
    alone = fit(X, y, clusters=np.arange(600))
    np.testing.assert_allclose(alone.std_error_, robust.std_error_, rtol=1e-10)
    assert alone.result_.vcov_type == "CR0"
    assert alone.result_.n_clusters == 600
    # Every row three times, kept together, is every row once.
    thrice = fit(np.repeat(X, 3, 0), np.repeat(y, 3), clusters=np.repeat(np.arange(600), 3))
    np.testing.assert_allclose(thrice.std_error_, alone.std_error_, rtol=1e-6)


def test_bootstrap_is_reproducible_and_near_the_information():
    X, y = draw(n=400)
    a = fit(X, y, lam=0.001, inference="bootstrap", n_boot=30, random_state=1)
    b = fit(X, y, lam=0.001, inference="bootstrap", n_boot=30, random_state=1)
    np.testing.assert_array_equal(a.vcov_, b.vcov_)
    np.testing.assert_allclose(a.result_.estimate[3:7], a.coef_[0])
    ratio = a.std_error_ / fit(X, y, lam=0.001).std_error_
    # 30 replicates: the standard error has a relative error of about 13 %.
    assert 0.5 < np.median(ratio) < 1.6


def test_without_inference_nothing_pretends_to_be_certain():
    X, y = draw()
    est = fit(X, y, inference="none")
    assert est.tidy()[["std_error", "p_value", "conf_low"]].isna().all().all()
    assert "Std. Error" not in str(est.summary())
    for ask in (est.confint, lambda: est.predict_rare(X, return_ci=True)):
        with pytest.raises(ValueError, match="no standard errors"):
            ask()


def test_more_parameters_than_rows_is_labelled_experimental():
    rng = np.random.default_rng(8)
    X = rng.normal(size=(60, 30))
    y = np.digitize(X[:, 0] + rng.logistic(size=60), [0.0, 1.5])
    est = fit(X, y, lam=0.05)
    assert est.result_.vcov_type == "nodewise"
    assert "experimental" in str(est.summary())
    assert np.isfinite(est.std_error_).all()
    assert (est.std_error_ > 0).all()


def test_rare_first_class():
    X, y = draw()
    last = fit(X, y, lam=0.0, tol=1e-11)
    # The same data from the other end; without a penalty no boundary is first.
    first = fit(X, 3 - y, lam=0.0, rare_class="first", tol=1e-11)
    p, low, high = first.predict_rare(X[:20], return_ci=True)
    assert first.predict_rare(X).shape == (500,)
    np.testing.assert_allclose(p, first.predict_proba(X[:20])[:, 0], atol=1e-12)
    np.testing.assert_allclose((p, low, high), last.predict_rare(X[:20], return_ci=True), atol=1e-8)


def test_formula_categories_and_predict_on_frames():
    X, y = draw()
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["g"] = np.where(np.arange(500) % 3 == 0, "u", "v")
    frame["y"] = pd.Categorical.from_codes(y, ["no", "low", "mid", "top"], ordered=True)
    est = PrestoClassifier(lam=0.005, formula="y ~ a + b + C(g)").fit(frame)
    assert est.coef_.shape == (3, 3)
    assert est.design_.names[-1] == "C(g)[T.v]"
    assert list(est.classes_) == ["no", "low", "mid", "top"]
    same = PrestoClassifier(lam=0.005).fit(frame[["a", "b", "g", "y"]], "y")
    np.testing.assert_allclose(same.coef_, est.coef_, atol=1e-9)
    assert est.predict(frame).shape == (500,)
    assert est.odds_ratios().loc["a", "no|low"] == pytest.approx(np.exp(est.coef_[0, 0]))
    with pytest.raises(ValueError, match="no intercept"):
        PrestoClassifier(lam=0.005, formula="y ~ a - 1").fit(frame)


def test_predictions_agree_with_each_other():
    X, y = draw()
    est = fit(X, y)
    p = est.predict_proba(X)
    np.testing.assert_allclose(np.exp(est.predict_log_proba(X)), p, rtol=1e-10)
    np.testing.assert_allclose(est.predict_cumulative(X), np.cumsum(p, 1)[:, :-1], atol=1e-12)
    np.testing.assert_allclose(est.predict_rare(X), p[:, -1], rtol=1e-9)
    np.testing.assert_allclose(est.predict_expected(X), p @ [1, 2, 3, 4], rtol=1e-12)
    assert (est.predict(X) == p.argmax(axis=1)).all()
    assert (est.predict_median(X) == (np.cumsum(p, 1) < 0.5).sum(axis=1)).all()
    assert est.score(X, y) == pytest.approx(est.loglik_ / len(y), rel=1e-12)
    # Proportional odds never cross: logs stay finite where probabilities have long been zero.
    pooled = fit(X, y, lam=50.0, first_block_penalty=0.0)
    far = np.array([[-2000.0, 0, 0, 0], [2000.0, 0, 0, 0]])
    assert np.isfinite(pooled.predict_log_proba(far)).all()
    assert (pooled.predict_proba(far) == 0.0).any()


def test_works_in_a_grid_search():
    X, y = draw(n=300)
    search = GridSearchCV(
        PrestoClassifier(inference="none"), {"lam": [0.1, 0.01]}, cv=3, error_score="raise"
    ).fit(X, y)
    assert search.best_params_["lam"] in (0.1, 0.01)


def test_augment_adds_class_probabilities():
    X, y = draw()
    frame = fit(X, y).augment(X, y)
    p = fit(X, y).predict_proba(X)
    np.testing.assert_allclose(frame[[f".fitted[{k}]" for k in range(4)]].to_numpy(), p)
    np.testing.assert_allclose(frame[".resid[3]"], (y == 3) - p[:, 3])
    assert not [name for name in frame if name.startswith(".se_fit")]


def test_path_tells_who_leaves_proportional_odds():
    rng = np.random.default_rng(9)
    X = rng.uniform(-1, 1, size=(3000, 3))
    alpha, beta = np.array([0.0, 2.0]), np.array([[1.0, 1.0, 0.0], [1.0, -0.5, 0.0]])
    u = rng.logistic(size=3000)
    y = (u[:, None] > alpha - X @ beta.T).sum(axis=1)
    path = presto_path(X, y, n_lambdas=12)
    entries = path.entries()
    leaving = entries.loc[entries["kind"] == "difference", "feature"]
    assert leaving.iloc[0] == "x1"
    first = entries.iloc[0]
    assert first["boundary"] == "0|1"
    assert first["lam"] <= path.lambdas[0]
    intercept, coef = path.at(float(path.lambdas[4]))
    np.testing.assert_allclose(coef, path.coefs[4], atol=1e-12)
    np.testing.assert_allclose(intercept, path.intercepts[4], atol=1e-12)
    with pytest.raises(ValueError, match="lam must be between"):
        path.at(99.0)
    with pytest.raises(ValueError, match="has no option 'cv'"):
        presto_path(X, y, cv=3)


def test_plots_draw_what_they_say():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    X, y = draw()
    est = PrestoClassifier(random_state=0).fit(X, y)
    ax = est.plot_path()
    # One line a boundary and feature, legend entries, and the line at zero.
    assert len(ax.lines) == 3 * 4 + 4 + 2 + 1
    assert ax.get_xlim()[0] > ax.get_xlim()[1]
    bounds = plot_boundaries(est, X, 0)
    drawn = np.array([line.get_ydata() for line in bounds.lines])
    assert drawn.shape == (3, 101)
    assert (np.diff(drawn, axis=0) > 0).all()
    steep = plot_boundaries(est, X, 0, scale="link")
    slope = steep.lines[1].get_ydata()[-1] - steep.lines[1].get_ydata()[0]
    assert slope == pytest.approx(-est.coef_[1, 0] * np.ptp(X[:, 0]))
    with pytest.raises(ValueError, match="scale must be"):
        plot_boundaries(est, X, 0, scale="odds")
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = fit(frame, y)
    assert plot_boundaries(named, frame, "b").get_xlabel() == "b"
    for bad in (9, "zz"):
        with pytest.raises(ValueError, match="feature"):
            plot_boundaries(est, X, bad)
    with pytest.raises(ValueError, match="fewer than two"):
        plot_path(presto_path(X, y, lambdas=[0.1]))


def test_non_convergence_is_said():
    X, y = draw()
    with pytest.warns(ConvergenceWarning, match="optimality conditions are violated by up to"):
        est = fit(X, y, lam=0.001, max_iter=1)
    assert not est.converged_
    assert "NOT CONVERGED" in str(est.summary())
