"""InvalidIVATE: invariances, options, companions, guardrails; reference numbers are elsewhere."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

from robuststat import (
    InvalidIVATE,
    OneSidedNoncomplianceWarning,
    OverlapWarning,
    WeakHeteroscedasticityWarning,
)
from robuststat._core.errors import ConvergenceWarning
from robuststat.simulation import make_invalid_iv, make_weak_iv

SAME = 1e-8  # the same equations in other units or another order
ROLES = {"treatment": "a", "instruments": "z"}
NAMES = ["ATE", "overlap ATE", "direct effect of Z", "confounding covariance"]


def frame_of(draw):
    return draw.X.assign(y=draw.y, a=draw.treatment, z=draw.instruments)


FRAME = frame_of(make_invalid_iv(1500, random_state=7))
RNG = np.random.default_rng(0)


def fit(frame=FRAME, **options):
    return InvalidIVATE(**options).fit(frame, "y", **ROLES)


BASE = fit()


def numbers(est):
    return np.concatenate([est.result_.estimate, est.std_error_])


# ---------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("targeted", [False, True])
def test_shifts_of_the_outcome(targeted):
    base = fit(targeted=targeted)
    shift = 3.0 + 2.0 * FRAME["x1"] - FRAME["x3"]
    moved = fit(FRAME.assign(y=FRAME["y"] + shift), targeted=targeted)
    assert_allclose(numbers(moved), numbers(base), rtol=SAME)
    by_z = fit(FRAME.assign(y=FRAME["y"] + 5.0 * FRAME["z"]), targeted=targeted)
    assert_allclose(by_z.ate_, base.ate_, rtol=SAME)
    assert_allclose(by_z.direct_effect_.estimate, base.direct_effect_.estimate + 5.0, rtol=SAME)


@pytest.mark.parametrize("options", [{}, {"targeted": True}, {"vcov": "eif"}])
def test_units(options):
    base = fit(**options)
    frame = FRAME.assign(y=1e9 * FRAME["y"], x1=1e-6 * FRAME["x1"])
    assert_allclose(numbers(fit(frame, **options)), 1e9 * numbers(base), rtol=1e-7)


def test_other_label_of_the_instrument():
    turned = fit(FRAME.assign(z=1 - FRAME["z"]))
    sign = np.array([1, 1, -1, 1])
    assert_allclose(turned.result_.estimate, sign * BASE.result_.estimate, rtol=SAME)
    assert_allclose(turned.std_error_, BASE.std_error_, rtol=SAME)


def test_other_label_of_the_exposure():
    turned = fit(FRAME.assign(a=1 - FRAME["a"]))
    assert_allclose(turned.ate_, -BASE.ate_, rtol=SAME)


def test_repeated_rows():
    twice = fit(pd.concat([FRAME, FRAME], ignore_index=True))
    assert_allclose(twice.result_.estimate, BASE.result_.estimate, rtol=SAME)
    assert_allclose(twice.vcov_, BASE.vcov_ / 2, rtol=1e-7, atol=1e-12)
    codes = np.tile(np.arange(len(FRAME)), 2)
    grouped = InvalidIVATE().fit(
        pd.concat([FRAME, FRAME], ignore_index=True), "y", clusters=codes, **ROLES
    )
    assert_allclose(grouped.vcov_, BASE.vcov_, rtol=1e-7, atol=1e-12)
    assert_allclose(grouped.score_confint(), BASE.score_confint(), rtol=SAME)
    assert grouped.result_.vcov_type == "CR0"


@pytest.mark.parametrize("vcov", ["sandwich", "eif"])
def test_weights(vcov):
    doubled = InvalidIVATE(vcov=vcov).fit(FRAME, "y", sample_weight=np.full(1500, 2.0), **ROLES)
    assert_allclose(numbers(doubled), numbers(fit(vcov=vcov)), rtol=SAME)
    times = RNG.integers(0, 3, 1500)
    weighted = InvalidIVATE(vcov=vcov).fit(FRAME, "y", sample_weight=times, **ROLES)
    repeated = FRAME.loc[FRAME.index.repeat(times)].reset_index(drop=True)
    same = fit(repeated, vcov=vcov)
    for name in ("direct_effect_", "overlap_effect_", "exclusion_imposed_"):
        assert_allclose(getattr(weighted, name).estimate, getattr(same, name).estimate, rtol=SAME)
    # Repeated rows are one row with its whole score: the clustered variance of the repeated ones.
    origin = np.repeat(np.arange(1500), times)
    grouped = InvalidIVATE().fit(repeated, "y", clusters=origin, **ROLES)
    if vcov == "sandwich":
        assert_allclose(weighted.std_error_, grouped.std_error_, rtol=1e-7)
    assert_allclose(weighted.score_confint(), grouped.score_confint(), rtol=1e-7)


# --------------------------------------------------------------------------------- inputs


def test_ways_to_pass_the_data():
    X = FRAME[["x1", "x2", "x3"]]
    arrays = InvalidIVATE().fit(
        X.to_numpy(), FRAME["y"], treatment=FRAME["a"] == 1, instruments=FRAME[["z"]]
    )
    assert_allclose(numbers(arrays), numbers(BASE), rtol=SAME)
    assert_allclose(numbers(fit(pl.DataFrame(FRAME.to_dict("list")))), numbers(BASE), rtol=SAME)
    formula = InvalidIVATE(formula="y ~ x1 + x2 + x3").fit(FRAME, **ROLES)
    assert_allclose(numbers(formula), numbers(BASE), rtol=SAME)
    assert formula.effect_.names == BASE.effect_.names


def test_categories_and_their_prediction():
    frame = FRAME.assign(g=np.array(["a", "b", "c"])[np.arange(1500) % 3])
    plain = fit(frame)
    dummies = frame.assign(gb=1.0 * (frame["g"] == "b"), gc=1.0 * (frame["g"] == "c"))
    same = fit(dummies.drop(columns="g"))
    assert_allclose(numbers(plain), numbers(same), rtol=SAME)
    assert_allclose(plain.predict(frame), same.predict(dummies.drop(columns="g")), rtol=SAME)


def test_terms_as_formulas_lists_and_defaults():
    default = {
        "instrument": ["x1", "x2", "x3"],
        "treatment": "Z * (x1 + x2 + x3)",
        "effect": "~ x1 + x2 + x3",
        "direct": "Z + x1 + x2 + x3 + Z:x1 + Z:x2 + Z:x3",
        "confounding": ["x1", "x2", "x3"],
    }
    assert_allclose(numbers(fit(terms=default)), numbers(BASE), rtol=SAME)
    some = fit(terms={"effect": "x1 + I(x2**2)"})
    assert list(some.effect_.names) == ["(Intercept)", "x1", "I(x2 ** 2)"] or list(
        some.effect_.names
    ) == ["(Intercept)", "x1", "I(x2**2)"]
    expected = np.column_stack([np.ones(5), FRAME["x1"][:5], FRAME["x2"][:5] ** 2])
    assert_allclose(some.predict(FRAME[:5]), expected @ some.effect_.estimate, rtol=SAME)
    arrays = InvalidIVATE(terms={"effect": "x1"}).fit(
        FRAME[["x1", "x2", "x3"]].to_numpy(),
        FRAME["y"],
        treatment=FRAME["a"],
        instruments=FRAME["z"],
    )
    # Columns of an array are called x0, x1, ...: x1 is the second.
    assert_allclose(numbers(arrays), numbers(fit(terms={"effect": "x2"})), rtol=SAME)


def test_without_covariates():
    est = InvalidIVATE().fit(None, FRAME["y"], treatment=FRAME["a"], instruments=FRAME["z"])
    z, a, y = (FRAME[name].to_numpy() for name in ("z", "a", "y"))
    cov, var = (
        [np.cov(a[z == arm], other[z == arm], bias=True)[0, 1] for arm in (0, 1)]
        for other in (y, a)
    )
    # One cell: the difference of covariances over the difference of variances.
    assert_allclose(est.ate_, (cov[1] - cov[0]) / (var[1] - var[0]), rtol=SAME)
    assert_allclose(est.overlap_effect_.estimate, est.ate_, rtol=SAME)
    assert_allclose(est.confounding_.estimate, cov[0] - est.ate_ * var[0], rtol=1e-6)
    with pytest.raises(ValueError, match="effect model is a constant"):
        est.test_heterogeneity()
    only_roles = InvalidIVATE().fit(FRAME[["y", "a", "z"]], "y", **ROLES)
    assert_allclose(numbers(only_roles), numbers(est), rtol=SAME)
    assert_allclose(only_roles.predict(FRAME[:3]), np.full(3, est.ate_), rtol=SAME)


# ------------------------------------------------------------------------ variance, influence


@pytest.mark.parametrize("vcov", ["sandwich", "eif"])
@pytest.mark.parametrize("weighted", [False, True])
def test_influence_values_carry_the_variance(vcov, weighted):
    weight = RNG.uniform(0.5, 2, 1500) if weighted else None
    est = InvalidIVATE(vcov=vcov, keep_influence=True)
    est.fit(FRAME, "y", sample_weight=weight, **ROLES)
    psi = est.influence_
    assert psi.shape == (1500, 4)
    assert_allclose(psi.T @ psi / 1500**2, est.vcov_, rtol=1e-7, atol=1e-12)
    assert_allclose(psi.mean(axis=0), 0.0, atol=1e-8)
    assert list(est.nuisances_) == ["pi", "p0", "p1", "v0", "v1", "D", "beta", "omega", "h0", "h1"]
    assert_allclose(est.nuisances_["beta"], est.predict(FRAME), rtol=SAME)
    assert BASE.influence_ is None
    assert BASE.nuisances_ is None


def test_refit_vcov_equals_a_clustered_fit():
    groups = np.arange(1500) // 5
    est = fit(keep_influence=True)
    direct = InvalidIVATE(vcov="cluster").fit(FRAME, "y", clusters=groups, **ROLES)
    again = est.refit_vcov("CR0", groups)
    assert_allclose(again.vcov, direct.vcov_, rtol=1e-7, atol=1e-12)
    assert direct.result_.n_clusters == 300


def test_bootstrap():
    data = {"X": FRAME[["x1", "x2", "x3"]], "y": FRAME["y"]}
    data |= {"treatment": FRAME["a"], "instruments": FRAME["z"]}
    first = BASE.bootstrap(**data, n_boot=200, random_state=1)
    assert_allclose(first.estimate, BASE.result_.estimate, rtol=SAME)
    # Standard deviations of 200 replicates have a relative error of 5 %: four of them, and as
    # much again for the difference between bootstrap and sandwich at this n.
    assert_allclose(np.sqrt(np.diag(first.vcov)), BASE.std_error_, rtol=0.4)
    again = BASE.bootstrap(**data, n_boot=4, random_state=1)
    assert_allclose(again.estimates, first.estimates[:4])
    grouped = BASE.bootstrap(**data, n_boot=4, random_state=1, clusters=np.arange(1500) // 3)
    assert grouped.kind == "cluster"
    assert first.confint(kind="percentile").shape == (4, 2)


# ------------------------------------------------------------------------- companions, tests


def test_companions_agree_with_the_table():
    table = BASE.tidy()
    assert list(table["term"]) == NAMES
    bunches = (BASE.overlap_effect_, BASE.direct_effect_, BASE.confounding_)
    for j, part in enumerate(bunches, start=1):
        for name in ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"):
            assert part[name] == table.loc[j, name]
    assert BASE.ate_ == table.loc[0, "estimate"]
    assert_allclose(BASE.test_exclusion().p_value, BASE.direct_effect_.p_value, rtol=SAME)
    assert_allclose(BASE.test_confounding().p_value, BASE.confounding_.p_value, rtol=SAME)
    hausman = BASE.test_exclusion("difference")
    assert_allclose(hausman.statistic, BASE.exclusion_difference_.statistic**2, rtol=SAME)
    gap = BASE.exclusion_imposed_.estimate - BASE.ate_
    assert_allclose(BASE.exclusion_difference_.estimate, gap, rtol=SAME)
    assert BASE.test_exclusion().p_value < 1e-4  # the direct effect is 0.7, its error 0.15
    with pytest.raises(ValueError, match="'direct' or 'difference'"):
        BASE.test_exclusion("hausman")


def test_heterogeneity_is_the_wald_test_of_the_slopes():
    slopes, vcov = BASE.coef_, BASE.effect_.vcov[1:, 1:]
    test = BASE.test_heterogeneity()
    assert test.df == 3
    assert_allclose(test.statistic, slopes @ np.linalg.solve(vcov, slopes), rtol=1e-7)
    constant = fit(effect_model="constant")
    assert constant.coef_.size == 0
    assert_allclose(constant.predict(FRAME), np.full(1500, constant.intercept_))
    with pytest.raises(ValueError, match="constant"):
        constant.test_heterogeneity()


def test_targeted_effect_is_the_mean_of_beta():
    est = fit(targeted=True)
    assert_allclose(est.ate_, est.predict(FRAME).mean(), rtol=SAME)
    # Without it the two differ.
    assert abs(BASE.ate_ - BASE.predict(FRAME).mean()) > 1e-4


def test_intervals_of_the_conditional_effect():
    found = BASE.predict_interval(FRAME[:4], level=0.9)
    row = np.array([1.0, *FRAME.loc[2, ["x1", "x2", "x3"]]], dtype=float)
    assert_allclose(found.loc[2, "std_error"], np.sqrt(row @ BASE.effect_.vcov @ row), rtol=SAME)
    assert_allclose(
        found["conf_high"] - found["estimate"], 1.6448536 * found["std_error"], rtol=1e-6
    )
    augmented = BASE.augment(FRAME[5:9])
    assert list(augmented.index) == [5, 6, 7, 8]
    assert_allclose(augmented[".fitted"], BASE.predict(FRAME[5:9]))
    with pytest.raises(ValueError, match="not an outcome"):
        BASE.augment(FRAME, "y")
    with pytest.raises(ValueError, match="level"):
        BASE.predict_interval(FRAME, level=95)


def test_score_sets_are_nested_in_their_level():
    narrow, wide = BASE.score_confint(0.5), BASE.score_confint(0.99)
    assert wide.conf_low[0] < narrow.conf_low[0] < BASE.overlap_effect_.estimate
    assert wide.conf_high[0] > narrow.conf_high[0] > BASE.overlap_effect_.estimate
    pd.testing.assert_frame_equal(BASE.overlap_effect_.score_set, BASE.score_confint())


def test_overlap_estimand_has_nothing_that_divides_by_d():
    est = fit(estimand="overlap")
    assert est.result_.names == ("overlap ATE",)
    assert_allclose(est.ate_, BASE.overlap_effect_.estimate, rtol=SAME)
    assert_allclose(est.std_error_[0], BASE.overlap_effect_.std_error, rtol=SAME)
    for test in (est.test_exclusion, est.test_confounding):
        with pytest.raises(ValueError, match="needs estimand='ate'"):
            test()
    with pytest.raises(ValueError, match="no effect with exclusion imposed"):
        est.test_exclusion("difference")
    # A second fit with another estimand leaves nothing of the first behind.
    est.set_params(estimand="ate").fit(FRAME, "y", **ROLES)
    assert hasattr(est, "direct_effect_")
    est.set_params(estimand="overlap").fit(FRAME, "y", **ROLES)
    assert not hasattr(est, "direct_effect_")


# ----------------------------------------------------------------------- other kinds of data


def within(est, truth, bound=4.0):
    table = est.tidy().set_index("term")
    for term, value in truth.items():
        gap = abs(table.loc[term, "estimate"] - value) / table.loc[term, "std_error"]
        assert gap < bound, f"{term}: {gap:.1f} standard errors off"


@pytest.mark.parametrize("design", ["standard", "strong", "numeric", "union"])
def test_truth_is_covered(design):
    draw = make_invalid_iv(20_000, design, random_state=3)
    within(fit(frame_of(draw)), draw.truth)


@pytest.mark.parametrize("turned", [False, True])
def test_one_sided_noncompliance(turned):
    draw = make_invalid_iv(20_000, "one_sided", random_state=3)
    frame = frame_of(draw)
    if turned:
        frame["z"] = 1 - frame["z"]
    with pytest.warns(OneSidedNoncomplianceWarning, match="exposure is 0 in every row with Z"):
        est = fit(frame)
    sign = -1.0 if turned else 1.0
    truth = draw.truth * [1.0, 1.0, sign]
    within(est, truth)
    assert est.result_.diagnostics["one_sided"]
    assert not hasattr(est, "confounding_")
    assert "One-sided noncompliance" in str(est.summary())
    with pytest.raises(ValueError, match="zero by assumption"):
        est.test_confounding()


def test_one_sided_equals_a_regression_without_covariates():
    draw = make_invalid_iv(2000, "one_sided", random_state=3)
    a, z, y = draw.treatment, draw.instruments, draw.y
    with pytest.warns(OneSidedNoncomplianceWarning):
        est = InvalidIVATE().fit(None, y, treatment=a, instruments=z)
    takers, others = y[(z == 1) & (a == 1)], y[(z == 1) & (a == 0)]
    assert_allclose(est.ate_, takers.mean() - others.mean(), rtol=SAME)
    se = np.sqrt(takers.var() / takers.size + others.var() / others.size)
    assert_allclose(est.std_error_[0], se, rtol=SAME)


def numeric_instrument(n, seed, binary):
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)
    z = 0.5 * x + rng.uniform(-1, 1, n)
    if binary:
        a = (rng.random(n) < 0.3 + 0.15 * z + 0.1 * u).astype(float)
    else:
        a = z + x + u + (1.0 + 0.4 * z) * rng.standard_normal(n)
    y = 1.5 * a + 0.7 * z + x + 2 * u + rng.standard_normal(n)
    return pd.DataFrame({"x": x, "y": y, "a": a, "z": z})


@pytest.mark.parametrize("binary", [False, True])
def test_numeric_instrument(binary):
    frame = numeric_instrument(20_000, 1, binary)
    est = fit(frame, estimand="overlap", effect_model="constant")
    within(est, {"overlap ATE": 1.5})
    assert est.result_.vcov_type == "eif"
    assert_allclose(est.predict(frame[:3]), np.full(3, est.ate_))
    assert "Z = 1" not in str(est.summary())
    low, high = est.score_confint().to_numpy()[0]
    assert low < est.ate_ < high
    groups = np.arange(len(frame)) // 2
    assert (
        InvalidIVATE("overlap", effect_model="constant")
        .fit(frame, "y", clusters=groups, **ROLES)
        .result_.vcov_type
        == "CR0"
    )
    replicates = est.bootstrap(frame, "y", **ROLES, n_boot=3, random_state=0)
    assert_allclose(replicates.estimate, [est.ate_], rtol=SAME)
    kept = fit(frame, estimand="overlap", effect_model="constant", keep_influence=True)
    assert_allclose((kept.influence_**2).sum() / 20_000**2, kept.vcov_[0, 0], rtol=SAME)


# ------------------------------------------------------------------------------ guardrails


def test_weak_heteroscedasticity_is_said():
    frame = frame_of(make_weak_iv(2000, random_state=1))
    with pytest.warns(WeakHeteroscedasticityWarning, match="strength is low"):
        est = fit(frame)
    text = str(est.summary())
    assert "Lead with the overlap effect and its score set" in text
    assert text.index("Lead with") < text.index("Estimate Std. Error")
    assert "do not rely on the ATE" in " ".join(text.split())


def test_change_of_sign_is_said():
    frame = frame_of(make_invalid_iv(4000, "linear", random_state=1))
    frame["a"] = np.where(frame["x1"] > 0, frame["a"], 1 - frame["a"])
    with pytest.warns(WeakHeteroscedasticityWarning, match="D\\(x\\) changes sign"):
        est = fit(frame)
    assert 0 < est.result_.diagnostics["share_d_negative"] < 1
    assert "no average of the effects otherwise" in " ".join(str(est.summary()).split())


def test_strong_data_warn_of_nothing(recwarn):
    est = fit()
    assert not [w for w in recwarn if "robuststat" in str(w.filename)]
    assert not est.result_.diagnostics["weak"]
    assert "Lead with" not in str(est.summary())


def test_bounds_are_counted():
    with pytest.warns(WeakHeteroscedasticityWarning):
        est = fit(frame_of(make_weak_iv(2000, random_state=1)), min_abs_d=0.008)
    count = est.result_.diagnostics["n_d_bounded"]
    assert count > 0
    assert f"raised to min_abs_d=0.008 in {count} rows" in " ".join(str(est.summary()).split())
    clipped = fit(clip_pi=0.4, keep_influence=True)
    assert clipped.nuisances_["pi"].between(0.4, 0.6).all()
    outside = int((~fit(keep_influence=True).nuisances_["pi"].between(0.4, 0.6)).sum())
    assert f"bounded by clip_pi=0.4 in {outside} rows" in " ".join(str(clipped.summary()).split())


def test_extreme_probabilities_are_said():
    frame = FRAME.assign(x4=8.0 * (FRAME["z"] - 0.5) + 3.0 * RNG.standard_normal(1500))
    with pytest.warns(OverlapWarning, match="few rows decide"):
        fit(frame)


def test_collinear_columns_are_left_out_and_named():
    est = fit(FRAME.assign(x4=FRAME["x1"] - 2 * FRAME["x3"]))
    assert_allclose(numbers(est), numbers(BASE), rtol=1e-7)
    text = " ".join(str(est.summary()).split())
    assert "Left out of the model of instrument, effect, confounding" in text
    assert "x4, Z:x4" in text
    assert est.effect_.names == BASE.effect_.names
    assert_allclose(est.predict(FRAME.assign(x4=0.0)), BASE.predict(FRAME), rtol=1e-6)


def test_separation_is_said_and_survived():
    frame = FRAME.assign(x4=np.where(FRAME["z"] == 1, 1.0, -1.0) * RNG.uniform(0.5, 1.5, 1500))
    # Probabilities of zero and one leave no overlap, and so no strength.
    with (
        pytest.warns(ConvergenceWarning, match="separate the values of instrument"),
        pytest.warns(WeakHeteroscedasticityWarning),
        pytest.warns(OverlapWarning),
    ):
        est = fit(frame)
    assert est.result_.diagnostics["separated"] == ["instrument"]
    assert np.isfinite(numbers(est)).all()
    assert "ridge" in str(est.summary())


def test_constant_outcome():
    with pytest.warns(UserWarning, match="outcome is constant"):
        est = fit(FRAME.assign(y=3.0))
    assert_allclose(est.result_.estimate, 0.0, atol=1e-10)
    assert_allclose(est.std_error_, 0.0, atol=1e-10)


def test_summary_names_every_part():
    text = str(BASE.summary())
    for words in (
        "Strength: mean f_D",
        "Score set of the overlap effect (95%): [",
        "Test of exclusion (no direct effect of Z)",
        "Test of no unmeasured confounding",
        "Test of a constant effect: chi2(3)",
        "Imposing exclusion: ATE",
        "Assumes:",
    ):
        assert words in text
