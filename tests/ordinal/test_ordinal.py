"""OrdinalClassifier: variances, tests, intervals, predictions, sampling rates, streams."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from scipy.stats import chi2, norm
from sklearn.base import clone

from robuststat import OrdinalClassifier, brant_test, po_test
from robuststat._core.moments import numerical_jacobian
from robuststat.ordinal import anova
from robuststat.ordinal._families import FAMILIES
from robuststat.ordinal._links import LINKS

X_NAMES = ["a", "b", "c"]


def draw(n=600, seed=0, cuts=(-1.0, 0.5, 2.0)):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=X_NAMES)
    frame["b"] = (frame["b"] > 0.3).astype(float)
    latent = frame["a"] - 0.7 * frame["b"] + rng.logistic(size=n)
    frame["y"] = np.digitize(latent, cuts)
    frame["g"] = rng.choice(["u", "v", "w"], n)
    frame["w"] = rng.uniform(0.2, 2.0, n)
    frame["o"] = 0.3 * rng.normal(size=n)
    frame["cl"] = rng.integers(0, 40, n)
    return frame


FRAME = draw()


def fit(frame=FRAME, columns=X_NAMES, y="y", roles=None, **options):
    roles = roles or {}
    return OrdinalClassifier(**options).fit(frame[[*columns, y, *roles.values()]], y, **roles)


# ------------------------------------------------------------------------------ other software


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_ordered_model(link):
    ordinal_model = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    frame = FRAME[:150]  # it differentiates numerically, row by row
    est = fit(frame, link=link)
    peer = ordinal_model.OrderedModel(frame["y"], frame[X_NAMES], distr=link).fit(
        method="newton", disp=False, tol=1e-12
    )
    assert_allclose(est.loglik_, peer.llf, rtol=1e-9)
    assert_allclose(est.coef_[0], peer.params[:3], rtol=1e-4)
    assert_allclose(est.std_error_[:3], peer.bse[:3], rtol=1e-4)


@pytest.mark.parametrize(
    ("vcov", "peer"),
    [
        ("hessian", {}),
        ("HC0", {"cov_type": "HC0"}),
        ("CR1", {"cov_type": "cluster"}),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_classes_are_logistic_regression(family, vcov, peer):
    sm = pytest.importorskip("statsmodels.api")
    frame = FRAME.assign(y=(FRAME["y"] > 1).astype(int))
    roles = {"clusters": "cl"} if vcov == "CR1" else {}
    est = fit(frame, roles=roles, family=family, vcov=vcov)
    options = dict(peer)
    if vcov == "CR1":
        options["cov_kwds"] = {"groups": frame["cl"]}
    logit = sm.Logit(frame["y"], sm.add_constant(frame[X_NAMES])).fit(disp=False, **options)
    assert_allclose(est.coef_[0], logit.params.iloc[1:], rtol=1e-7)
    assert_allclose(est.intercept_[0], -logit.params.iloc[0], rtol=1e-7)
    assert_allclose(est.std_error_[:3], logit.bse.iloc[1:], rtol=1e-6)


def test_small_sample_factor():
    n, k = len(FRAME), 6
    assert_allclose(fit(vcov="HC1").vcov_, fit(vcov="HC0").vcov_ * n / (n - k), rtol=1e-10)
    assert fit(vcov="HC1").result_.df == n - k


def test_outer_product_of_scores():
    est = fit(vcov="opg")
    bread = fit().vcov_
    sandwich = fit(vcov="HC0").vcov_
    # HC0 = H^-1 M H^-1 and opg = M^-1, so that hessian = HC0 @ H = ... @ opg.
    assert_allclose(sandwich @ np.linalg.inv(bread) @ est.vcov_, bread, rtol=1e-8, atol=1e-12)


# ------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("family", FAMILIES)
def test_shift_and_scale_leave_probabilities(family):
    moved = FRAME.assign(a=1e3 + 50.0 * FRAME["a"], c=-7.0 + 0.01 * FRAME["c"])
    for parallel in (True, ["b"]):
        est, other = (
            fit(family=family, parallel=parallel),
            fit(moved, family=family, parallel=parallel),
        )
        p, q = est.predict_proba(FRAME[X_NAMES]), other.predict_proba(moved[X_NAMES])
        assert_allclose(p, q, atol=1e-9)
        assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("link", LINKS)
def test_loglik_is_that_of_the_probabilities(family, link):
    est = fit(family=family, link=link, roles={"offset": "o"})
    p = est.predict_proba(FRAME[X_NAMES], offset=FRAME["o"])
    codes = FRAME["y"].to_numpy()
    assert_allclose(np.log(p[np.arange(len(p)), codes]).sum(), est.loglik_, rtol=1e-10)
    assert_allclose(
        est.score(FRAME[X_NAMES], FRAME["y"], offset=FRAME["o"]) * len(p), est.loglik_, rtol=1e-10
    )
    below = est.predict_cumulative(FRAME[X_NAMES], offset=FRAME["o"])
    assert_allclose(below, np.cumsum(p, axis=1)[:, :-1], atol=1e-12)


@pytest.mark.parametrize(
    ("family", "link"),
    [
        ("cumulative", "cloglog"),
        ("stopping", "loglog"),
        ("continuation", "probit"),
        ("adjacent", "logit"),
    ],
)
def test_reverse_is_the_descending_order_with_other_signs(family, link):
    est = fit(family=family, link=link, reverse=True)
    turned = fit(FRAME.assign(y=3 - FRAME["y"]), family=family, link=link)
    assert_allclose(est.coef_, -turned.coef_[::-1], rtol=1e-8)
    assert_allclose(est.intercept_, -turned.intercept_[::-1], rtol=1e-8)
    assert_allclose(
        est.predict_proba(FRAME[X_NAMES]), turned.predict_proba(FRAME[X_NAMES])[:, ::-1], atol=1e-10
    )


def test_counts_are_rows():
    rng = np.random.default_rng(3)
    X = rng.integers(0, 3, size=(400, 2)).astype(float)
    y = np.digitize(X[:, 0] + rng.logistic(size=400), [0.0, 2.0])
    cells, place = np.unique(X, axis=0, return_inverse=True)
    counts = np.zeros((len(cells), 3))
    np.add.at(counts, (place.ravel(), y), 1)
    for vcov in ("hessian", "opg", "HC1"):
        est = OrdinalClassifier(vcov=vcov).fit(X, y)
        grouped = OrdinalClassifier(vcov=vcov).fit(cells, counts)
        assert_allclose(grouped.result_.estimate, est.result_.estimate, rtol=1e-9)
        assert_allclose(grouped.vcov_, est.vcov_, rtol=1e-8)
        assert grouped.result_.n_obs == 400
    groups = OrdinalClassifier().fit(cells, counts, clusters=np.arange(len(cells)))
    rows = OrdinalClassifier().fit(X, y, clusters=place.ravel())
    assert_allclose(groups.vcov_, rows.vcov_, rtol=1e-8)


def test_weights_are_frequencies_for_the_information():
    times = np.random.default_rng(1).integers(0, 4, len(FRAME))
    repeated = FRAME.loc[FRAME.index.repeat(times)]
    est = fit(FRAME.assign(w=times), roles={"sample_weight": "w"}, parallel=["a"])
    other = fit(repeated, parallel=["a"])
    assert_allclose(est.vcov_, other.vcov_, rtol=1e-8)
    assert_allclose(est.loglik_, other.loglik_, rtol=1e-10)


def test_many_rows_start_from_a_part(monkeypatch):
    import robuststat.ordinal._likelihood_fit as module

    plain = fit()
    monkeypatch.setattr(module, "_MANY", 100)
    monkeypatch.setattr(module, "_PART", 100)
    assert_allclose(fit().result_.estimate, plain.result_.estimate, rtol=1e-10)


# ----------------------------------------------------------------------------- intervals, tests


def test_profile_limits_are_where_the_ratio_test_rejects():
    est = fit()
    limits = est.confint(method="profile", X=FRAME[X_NAMES], y=FRAME["y"], level=0.9)
    for name in ("a", "b"):
        for value in limits.loc[f"location:{name}"]:
            # The restricted fit: the column as an offset (towards lower classes).
            held = FRAME.assign(o=-value * FRAME[name])
            rest = [c for c in X_NAMES if c != name]
            small = fit(held, rest, roles={"offset": "o"})
            assert_allclose(2 * (est.loglik_ - small.loglik_), chi2.ppf(0.9, 1), rtol=1e-6)


def test_separation_is_refused_and_a_wide_profile_brackets_the_estimate():
    # Hardly any row has b = 1, all in one class of the stopping model's last step.
    rng = np.random.default_rng(0)
    x = np.r_[np.zeros(57), 1.0, 1.0, 1.0]
    y = np.r_[rng.integers(0, 3, 57), 1, 2, 2]
    est = OrdinalClassifier("stopping", parallel=False)
    with pytest.raises(ValueError, match="separation"):
        est.fit(x[:, None], y)
    est = OrdinalClassifier().fit(x[:, None], y)
    limits = est.confint(method="profile", X=x[:, None], y=y, level=0.999999)
    assert limits.loc["location:x0", "conf_low"] < est.coef_[0, 0]
    assert limits.loc["location:x0", "conf_high"] > est.coef_[0, 0]


def test_profile_of_partial_and_scaled_models_brackets_wald():
    est = fit(parallel=["b", "c"], scale=["a"], family="cumulative")
    limits = est.confint(method="profile", X=FRAME[X_NAMES], y=FRAME["y"])
    wald = est.confint()
    assert list(limits.index) == list(wald.index)
    assert (limits["conf_low"] < est.result_.estimate).all()
    assert (limits["conf_high"] > est.result_.estimate).all()
    assert_allclose(limits, wald, atol=0.6 * est.std_error_.max())


@pytest.mark.parametrize(
    ("options", "roles", "match"),
    [
        ({"vcov": "HC0"}, {}, "independent draws"),
        ({"tau": [0.25] * 4}, {}, "not the likelihood of the sample"),
        ({"penalty": "elasticnet"}, {}, "penalised"),
    ],
)
def test_ratios_are_refused_where_they_mean_nothing(options, roles, match):
    est = fit(**options)
    with pytest.raises(ValueError, match=match):
        est.confint(method="profile", X=FRAME[X_NAMES], y=FRAME["y"])
    with pytest.raises(ValueError, match=match):
        anova(est, fit())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "boot"}, "'wald' or 'profile'"),
        ({"method": "profile"}, "needs X and y"),
        ({"X": FRAME[X_NAMES]}, "by method='profile' only"),
        ({"method": "profile", "X": FRAME[X_NAMES], "kind": "simultaneous"}, "pointwise"),
        ({"method": "profile", "X": FRAME[X_NAMES], "y": FRAME["y"], "weight": 1}, "weight"),
        ({"method": "profile", "X": FRAME[X_NAMES][:99], "y": FRAME["y"][:99]}, "not the rows"),
    ],
)
def test_confint_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        fit().confint(**arguments)


def test_anova_and_wald():
    small, large = fit(columns=["a"]), fit()
    frame = anova(large, small)
    assert frame["n_params"].tolist() == [4, 6]
    assert_allclose(frame["statistic"][1], 2 * (large.loglik_ - small.loglik_))
    assert_allclose(frame["p_value"][1], chi2.sf(frame["statistic"][1], 2))
    assert large.anova(small).equals(frame)
    with pytest.raises(ValueError, match="same rows"):
        anova(small, fit(FRAME[:500]))
    with pytest.raises(ValueError, match="at least two"):
        anova(small)
    assert large.wald_test().df == 3
    b, V = large.result_.estimate[:2], large.vcov_[:2, :2]
    c = np.array([1.0, 1.0])
    expected = (c @ b) ** 2 / (c @ V @ c)
    for words in ("a + b = 0", "location:a + location:b = 0"):
        assert_allclose(large.wald_test(words).statistic, expected)
    assert_allclose(large.contrast({"a": 1, "b": 1}).estimate, c @ b)


def test_null_model_has_class_shares():
    est = OrdinalClassifier(formula="y ~ 1").fit(FRAME)
    share = np.bincount(FRAME["y"]) / len(FRAME)
    assert_allclose(est.predict_proba(FRAME.iloc[:1])[0], share, rtol=1e-9)
    assert_allclose(est.loglik_, est.null_loglik_, rtol=1e-12)
    assert_allclose(est.intercept_, np.log(np.cumsum(share)[:-1] / (1 - np.cumsum(share)[:-1])))
    with pytest.raises(ValueError, match="thresholds only"):
        est.wald_test()


@pytest.mark.parametrize("kind", ["brant", "lr", "score"])
@pytest.mark.filterwarnings("ignore:Boundaries cross")
def test_po_tests_agree_and_find_what_is_there(kind):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3000, 2))
    u = rng.random(3000)
    below = [expit(-0.5 - 0.2 * x[:, 0] + x[:, 1]), expit(1.5 - 0.9 * x[:, 0] + x[:, 1])]
    y = (u > below[0]).astype(int) + (u > np.maximum(*below))
    found = po_test(x, y, kind=kind)
    assert found.df == 2
    assert found.p_value < 1e-8
    assert found.table["p_value"][0] < 1e-8
    assert found.table["p_value"][1] > 0.001
    assert "every coefficient is the same" in str(found)
    assert found.kind == kind
    # Weights, units and shifts of columns mean nothing to a test.
    w = np.full(3000, 2.0)
    other = po_test(5.0 + 100.0 * x, y, kind=kind, sample_weight=w)
    assert_allclose(other.statistic, 2.0 * found.statistic, rtol=1e-6)


def test_po_test_of_other_models_and_formula():
    a = po_test(FRAME, kind="score", family="adjacent", link="probit", formula="y ~ a + C(g)")
    assert a.table["term"].tolist() == ["a", "C(g)[T.v]", "C(g)[T.w]"]
    assert a.df == 6
    b = brant_test(FRAME, formula="y ~ a + C(g)", offset="o")
    assert b.coef is not None
    assert b.coef.shape == (3, 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "wald"}, "kind must be one of brant, lr, score"),
        ({"family": "acat"}, "family must be one of"),
        ({"link": "log"}, "link must be one of"),
        ({"link": "probit"}, "cumulative logits"),
    ],
)
def test_po_test_refuses(options, match):
    with pytest.raises(ValueError, match=match):
        po_test(FRAME[X_NAMES], FRAME["y"], **options)


def test_po_test_refuses_data():
    with pytest.raises(ValueError, match="at least three"):
        brant_test(FRAME[X_NAMES], FRAME["y"] > 1)
    with pytest.raises(ValueError, match="constant: k"):
        brant_test(FRAME[["a"]].assign(k=1.0), FRAME["y"])


# ----------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": ["a"], "link": "probit"},
        {"family": "stopping", "parallel": False},
        {"family": "adjacent", "rare_class": "first"},
    ],
    ids=str,
)
def test_interval_of_the_rare_class_is_the_delta_method(options):
    est = fit(**options)
    X = FRAME[X_NAMES].iloc[:5]
    p, low, high = est.predict_rare(X, return_ci=True, level=0.9)
    code = 0 if options.get("rare_class") == "first" else -1
    assert_allclose(p, est.predict_proba(X)[:, code], rtol=1e-9)
    structure, model = est._model.structure, clone(est).fit(FRAME[[*X_NAMES, "y"]], "y")

    def log_odds(phi):
        model.intercept_, model.coef_, model.scale_coef_ = structure.raw(phi)
        q = model.predict_proba(X)[:, code]
        return np.log(q / (1 - q))

    D = numerical_jacobian(log_odds, est._model.phi)
    se = np.sqrt(np.einsum("ij,jk,ik->i", D, est._model.variance.internal, D))
    z = norm.ppf(0.95)
    assert_allclose(low, expit(log_odds(est._model.phi) - z * se), rtol=1e-6)
    assert_allclose(high, expit(log_odds(est._model.phi) + z * se), rtol=1e-6)


def test_margins_are_average_derivatives():
    est = fit()
    found = est.margins(FRAME[X_NAMES])
    frame = found.tidy()
    assert_allclose(frame.groupby("term")["estimate"].sum(), 0.0, atol=1e-10)
    below = est.predict_cumulative(FRAME[X_NAMES])
    density = np.column_stack([np.zeros(len(below)), below * (1 - below), np.zeros(len(below))])
    expected = -(np.diff(density, axis=1) * est.coef_[0, 0]).mean(axis=0)
    assert_allclose(frame.loc[frame["term"] == "a", "estimate"], expected, rtol=1e-6)
    on, off = (est.predict_proba(FRAME[X_NAMES].assign(b=v)).mean(axis=0) for v in (1.0, 0.0))
    assert_allclose(frame.loc[frame["term"] == "b", "estimate"], on - off, rtol=1e-9)
    slopes = est.margins(FRAME[X_NAMES], variables=["b"], dummy=False, at={"a": 0.0, "c": 0.0})
    assert "a = 0.0" in str(slopes.summary())
    assert (slopes.std_error > 0).all()


def test_margins_of_formulas_switch_categories():
    est = OrdinalClassifier(formula="y ~ a + I(a**2) + C(g)").fit(FRAME)
    frame = est.margins(FRAME, sample_weight=FRAME["w"]).tidy()
    assert set(frame["term"]) == {"a", "g[v - u]", "g[w - u]"}
    on, off = (est.predict_proba(FRAME.assign(g=v)) for v in ("v", "u"))
    expected = np.average(on - off, axis=0, weights=FRAME["w"])
    assert_allclose(frame.loc[frame["term"] == "g[v - u]", "estimate"], expected, rtol=1e-9)
    with pytest.raises(ValueError, match="variables names 'z'"):
        est.margins(FRAME, variables=["z"])
    with pytest.raises(ValueError, match="at names z"):
        est.margins(FRAME, at={"z": 1})


def test_odds_ratios():
    est = fit(parallel=["a"])
    found = est.odds_ratios()
    assert len(found) == 7
    assert_allclose(found["estimate"][0], np.exp(est.coef_[0, 0]))
    with pytest.raises(ValueError, match="belong to link='logit'"):
        fit(link="probit").odds_ratios()


def test_augment():
    est = fit(family="continuation")
    frame = est.augment(FRAME[[*X_NAMES, "y"]], "y")
    p = est.predict_proba(FRAME[X_NAMES])
    assert_allclose(frame[".fitted[2]"], p[:, 2])
    assert_allclose(frame[".resid[2]"], (FRAME["y"] == 2) - p[:, 2])
    assert (frame[".se_fit[2]"] > 0).all()


def test_crossing_is_counted_said_and_repaired():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    u = rng.random(400)
    y = (u > expit(0.4 * x[:, 0])).astype(int) + (u > expit(1.0 + 2.0 * x[:, 0]))
    with pytest.warns(UserWarning, match="Boundaries cross in"):
        est = OrdinalClassifier(parallel=False).fit(x, y)
    assert est.crossing_ == est.count_crossings(x) > 0
    assert f"boundaries cross in {est.crossing_} of 400" in str(est.summary())
    with pytest.warns(UserWarning, match="were repaired"):
        p = est.predict_proba(x)
    assert (p >= 0).all()
    assert_allclose(p.sum(axis=1), 1.0)
    assert fit(family="stopping", parallel=False).count_crossings(FRAME[X_NAMES]) == 0


# ------------------------------------------------------------------------------------- penalties


def test_a_large_penalty_leaves_class_shares():
    est = fit(penalty="elasticnet", lam=5.0, form="nonparallel")
    assert (est.coef_ == 0).all()
    share = np.bincount(FRAME["y"]) / len(FRAME)
    assert_allclose(est.predict_proba(FRAME[X_NAMES])[0], share, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("link", ["probit", "cauchit"])
def test_penalised_optimum_meets_its_conditions(family, link):
    est = fit(family=family, link=link, penalty="elasticnet", lam=0.03, l1_ratio=0.7)
    assert est.converged_
    assert est.kkt_ <= 1e-8
    # In numbers: minus the mean derivative by a standardised column, at the optimum.
    j, sd = 0, FRAME["a"].std(ddof=0)

    def mean_loglik(step):
        twin = fit(family=family, link=link, penalty="elasticnet", lam=0.03, l1_ratio=0.7)
        twin.coef_ = est.coef_ + np.eye(3)[j] * step
        twin.intercept_ = est.intercept_ + step * FRAME["a"].mean()
        return twin.score(FRAME[X_NAMES], FRAME["y"])

    slope = (mean_loglik(1e-5) - mean_loglik(-1e-5)) / 2e-5 / sd
    b = est.coef_[0, j] * sd
    assert_allclose(slope, 0.03 * (0.7 * np.sign(b) + 0.3 * b), atol=1e-7)


def test_debiased_table_is_near_maximum_likelihood():
    est = fit(penalty="elasticnet", lam=0.01)
    plain = fit()
    assert np.abs(est.coef_[0] - plain.coef_[0]).max() > 0.01
    assert_allclose(est.result_.estimate, plain.result_.estimate, atol=0.02)
    assert "debiased" in str(est.summary())
    assert fit(penalty="elasticnet", lam=0.0).coef_ == pytest.approx(plain.coef_)


# --------------------------------------------------------------------------------- sampling rates


def case_control(seed, n=4000):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40 * n, 1))
    scores = np.column_stack([np.zeros(len(x)), -1.0 + 0.5 * x[:, 0], -4.0 + x[:, 0]])
    p = np.exp(scores)
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random(len(x))[:, None] > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    tau = np.bincount(y) / len(y)
    picks = [rng.choice(np.flatnonzero(y == c), n // 4, replace=False) for c in range(3)]
    rows = np.concatenate(picks)
    return x[rows], y[rows], tau


@pytest.mark.parametrize("correction", ["weighting", "prior"])
def test_population_shares_are_put_back(correction):
    x, y, tau = case_control(0)
    est = OrdinalClassifier("adjacent", tau=tau, correction=correction).fit(x, y)
    truth = {"x0": 0.5, "0|1": 1.0, "1|2": 3.0}  # log p1/p0 = -1 + .5x, log p2/p1 = -3 + .5x
    z = (est.result_.estimate - list(truth.values())) / est.std_error_
    assert (np.abs(z) < 4).all()
    naive = OrdinalClassifier("adjacent").fit(x, y)
    assert abs(naive.intercept_[1] - 3.0) > 1.0
    assert "Population shares" in str(est.summary())
    named = OrdinalClassifier("adjacent", tau=dict(enumerate(tau)), correction=correction)
    assert_allclose(named.fit(x, y).result_.estimate, est.result_.estimate)


def test_weighted_thresholds_reproduce_the_shares():
    x, y, tau = case_control(1)
    est = OrdinalClassifier("adjacent", tau=tau).fit(x, y)
    w = (tau / (np.bincount(y) / len(y)))[y]
    assert_allclose(np.average(est.predict_proba(x), axis=0, weights=w), tau, rtol=1e-8)


def test_shares_equal_to_the_sample_change_the_variance_only():
    share = np.bincount(FRAME["y"]) / len(FRAME)
    plain = fit(family="adjacent", vcov="HC0")
    for correction in ("weighting", "prior"):
        est = fit(family="adjacent", tau=share, correction=correction)
        assert_allclose(est.result_.estimate, plain.result_.estimate, rtol=1e-8)
        assert (est.std_error_ <= plain.std_error_ * 1.05).all()


# -------------------------------------------------------------------------------------- streams


STREAMED = [
    ({}, {}),
    ({"vcov": "HC1"}, {"sample_weight": "w"}),
    ({"vcov": "CR1"}, {"sample_weight": "w", "clusters": "cl", "offset": "o"}),
    ({"family": "stopping", "parallel": False, "vcov": "opg"}, {}),
    ({"parallel": ["a"], "link": "probit"}, {}),
    ({"scale": ["a"], "threshold": "equidistant"}, {}),
]


@pytest.mark.parametrize(("options", "roles"), STREAMED, ids=str)
@pytest.mark.parametrize("formula", [None, "y ~ a + b + C(g)"])
def test_stream_equals_fit(options, roles, formula):
    frame = draw(1500)[["a", "b", "g", "y", *roles.values()]]
    frame.loc[::97, "a"] = np.nan
    y = "y" if formula is None else None
    options = options | {"formula": formula, "missing": "drop"}
    chunks = [frame.iloc[i : i + 400] for i in range(0, 1500, 400)]
    with warnings.catch_warnings(action="ignore"):
        whole = OrdinalClassifier(**options).fit(frame, y, **roles)
        parts = OrdinalClassifier(**options).fit(chunks, y, **roles)
    assert_allclose(parts.result_.estimate, whole.result_.estimate, rtol=1e-10, atol=1e-10)
    assert_allclose(parts.vcov_, whole.vcov_, rtol=1e-10, atol=1e-12)
    assert_allclose(parts.null_loglik_, whole.null_loglik_, rtol=1e-10)
    assert str(parts.summary()) == str(whole.summary())
    assert_allclose(
        parts.predict_proba(frame.dropna()), whole.predict_proba(frame.dropna()), rtol=1e-9
    )


def test_stream_of_parquet_and_of_classes_that_a_chunk_lacks(tmp_path):
    frame = draw(900)[[*X_NAMES, "y"]].sort_values("y")
    labels = np.array(["none", "some", "much", "all"])
    frame["y"] = pd.Categorical(labels[frame["y"]], labels, ordered=True)
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=200, index=False)
    whole = fit(frame)
    chunks = [frame.iloc[i : i + 150] for i in range(0, 900, 150)]
    for source in (chunks, str(tmp_path / "rows.parquet"), lambda: iter(chunks)):
        # Parquet does not keep the order of categories.
        categories = labels.tolist() if isinstance(source, str) else None
        est = OrdinalClassifier(categories=categories).fit(source, "y")
        assert est.classes_.tolist() == ["none", "some", "much", "all"]
        assert_allclose(est.result_.estimate, whole.result_.estimate, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "y", "roles", "match"),
    [
        ({"penalty": "elasticnet"}, "y", {}, "penalty is not available"),
        ({"tau": [0.25] * 4}, "y", {}, "tau is not available"),
        ({}, "y", {"offset": np.ones(3)}, "by column name"),
        ({}, "y", {"env": "g"}, "Unknown roles env"),
        ({"formula": "y ~ scale(a)"}, None, {}, "estimates a transformation"),
    ],
)
def test_stream_refuses(options, y, roles, match):
    chunks = [FRAME[:300], FRAME[300:]]
    with pytest.raises(ValueError, match=match):
        OrdinalClassifier(**options).fit_stream(chunks, y, **roles)


# ------------------------------------------------------------------------------------- structure


def test_summary_speaks_to_both_readers():
    text = " ".join(str(fit(parallel=["a"]).summary()).split())
    for part in (
        "Partial proportional odds model",
        "y=0:",
        "location at 0|1:",
        "thresholds:",
        "P(y <= k) = F(threshold_k - x'coef)",
        "coef_ and intercept_ hold the same numbers",
        "clm and polr",
        "Log-likelihood",
        "LR test",
    ):
        assert part in text
    est = fit()
    assert est.glance()["aic"][0] == pytest.approx(2 * 6 - 2 * est.loglik_)
    assert est.coef_.shape == (3, 3)
    assert (est.coef_ == est.coef_[0]).all()


def test_constant_column_is_left_out_and_said():
    with pytest.warns(UserWarning, match="k: constant"):
        est = OrdinalClassifier(vcov="HC0").fit(FRAME[X_NAMES].assign(k=2.0), FRAME["y"])
    assert (est.coef_[:, 3] == 0).all()
    assert_allclose(est.coef_[:, :3], fit().coef_, rtol=1e-9)
    assert "k" not in est.result_.names
    assert "constant, coefficient 0: k" in str(est.summary())


def test_named_columns_of_a_formula_vary_together():
    est = OrdinalClassifier(formula="y ~ a + C(g)", parallel=["g"]).fit(FRAME)
    assert est.result_.names.count("a") == 3
    assert est.result_.names.count("C(g)[T.v]") == 1
    assert pickle.loads(pickle.dumps(est)).predict_proba(FRAME).shape == (600, 4)
