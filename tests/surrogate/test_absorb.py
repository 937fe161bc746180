"""Absorbed fixed effects: against R ``dsl``, one indicator a group, statsmodels, and simulation.

Origin of the reference files: tests/reference/dsl/README.md.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from robuststat import DSLClassifier, DSLRegressor, compare_estimators
from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    DataError,
    DroppedRowsWarning,
    ParameterError,
    RoleError,
)
from robuststat._core.table import to_codes
from robuststat.surrogate import _absorb

EXACT = 1e-8  # exact roots of the same equations; stored with 15 digits
SAME = 1e-10  # the same estimator with one indicator a group
CHAIN = 1e-12  # a projection, relative to the largest value
FOLDER = Path(__file__).parents[1] / "reference" / "dsl"
FORMULA = "y ~ x1 + x2"


@cache
def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv.gz")


FELM = stored("r_dsl_felm")


def reference_fit(name, absorb=None):
    case = FELM[name]
    frame = table(case["data"]).copy()
    for column in case["predicted_var"]:
        frame[column] = frame[column].where(frame["R"] == 1)
    roles = {"clusters": case["cluster"]} if "cluster" in case else {}
    est = DSLRegressor(
        formula=case["formula"], absorb=absorb or case["index"], learner="passthrough"
    )
    prediction = dict(zip(case["predicted_var"], case["prediction"], strict=True))
    return est.fit(frame, prediction=prediction, labeled="R", sample_prob="pi", **roles)


@pytest.mark.reference
@pytest.mark.parametrize("name", [name for name in FELM if not name.endswith("WRONG")])
def test_equal_to_r_dsl(name):
    root, est = FELM[name]["exact_root"], reference_fit(name)
    assert list(est.result_.names) == root["names"]
    assert_allclose(est.result_.estimate, root["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, root["standard_errors"], rtol=EXACT)
    assert_allclose(est.vcov_, root["vcov"], rtol=EXACT)
    assert est.n_labeled_ == FELM[name]["n_labeled"]


@pytest.mark.reference
def test_two_ways_unbalanced_is_right_where_r_dsl_is_not():
    # R dsl demeans once by each factor; on an unbalanced panel that is not the projection. The
    # solution with indicators is (stored from an independent implementation, and computed here).
    name = "felm_twoways_unbalanced_R_WRONG"
    right = stored("derived_felm")["cases"]["felm_twoways_unbalanced_RIGHT"]
    est = reference_fit(name)
    assert_allclose(est.result_.estimate, right["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, right["se_cluster_unit"], rtol=EXACT)
    gap = np.abs(est.result_.estimate - FELM[name]["exact_root"]["coefficients"])
    assert gap.max() > 0.01
    assert_allclose(reference_fit(name, ["year", "unit"]).vcov_, est.vcov_, rtol=SAME)


@cache
def panel(predicted, n=500):
    """Unbalanced rows in three factors; the columns in ``predicted`` are hidden."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "unit": rng.integers(0, 25, n).astype(str),
            "year": rng.integers(2000, 2008, n),
            "region": rng.integers(0, 5, n),
            "crowd": rng.integers(0, 30, n),
        }
    )
    frame["x1"] = rng.normal(size=n) + 0.1 * (frame["year"] - 2000)
    frame["x2"] = rng.normal(size=n) + 0.3 * frame["region"]
    effect = frame["unit"].astype(int) * 0.2 + frame["region"]
    frame["y"] = 0.5 * frame["x1"] - 0.3 * frame["x2"] + effect + rng.normal(size=n)
    frame["y_hat"] = 0.8 * frame["y"] + 0.3 + 0.4 * rng.normal(size=n)
    frame["x1_hat"] = frame["x1"] + 0.3 + 0.2 * rng.normal(size=n)
    frame["half"] = (frame["x2"] > 0).astype(int)
    frame["pi"] = np.where(frame["half"] == 1, 0.6, 0.3)
    frame["weight"] = rng.uniform(0.5, 2, n)
    frame["R"] = (rng.random(n) < frame["pi"]).astype(float)
    for name in predicted:
        frame[name] = frame[name].where(frame["R"] == 1)
    return frame


def folds(n_rep):
    crowd = panel(())["crowd"].to_numpy()
    parts = np.random.default_rng(0).integers(0, 4, (n_rep, 30))[:, crowd]
    return [[(np.flatnonzero(p != k), np.flatnonzero(p == k)) for k in range(4)] for p in parts]


def both(absorb, predicted, roles, **options):
    """Fit with absorbed effects and with indicators, and the positions of the slopes there."""
    frame = panel(predicted)
    options = {"learner": "passthrough"} | options
    roles = {"prediction": {name: f"{name}_hat" for name in predicted}, "labeled": "R"} | roles
    est = DSLRegressor(formula=FORMULA, absorb=list(absorb), **options).fit(frame, **roles)
    terms = "".join(f" + C({name})" for name in absorb)
    full = DSLRegressor(formula=FORMULA + terms, **options).fit(frame, **roles)
    return est, full, [full.result_.names.index(name) for name in ("x1", "x2")]


VARIANTS = {
    "plain": ({}, {}),
    "unequal, weighted, HC1, t": (
        {"sample_prob": "pi", "sample_weight": "weight"},
        {"vcov": "HC1", "use_t": True},
    ),
    "clusters, CR1": (
        {"sample_prob": "pi", "sample_weight": "weight", "clusters": "crowd"},
        {"vcov": "CR1", "variance": "design"},
    ),
    "known probabilities": ({"sample_prob": "pi"}, {"normalize_prob": False}),
    "stratified": ({"strata": "half"}, {"design": "stratified", "variance": "design"}),
    "survey": ({"psu": "crowd"}, {"variance": "design"}),
    "finite": (
        {"sample_prob": "pi", "sample_weight": "weight"},
        {"population": "finite"},
    ),
    "cross-fitted": (
        {"features": ["x2", "region"], "clusters": "crowd"},
        {"learner": "ols", "n_rep": 3, "cv": folds(3)},
    ),
    "estimated probabilities": (
        {"sample_prob": "pi", "features": ["half"]},
        {"learner": "ols", "cv": folds(1)[0], "n_rep": 1, "prob_terms": ["half"]}
        | {"variance": "design"},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predicted", [("y",), ("x1",), ("y", "x1")], ids=",".join)
@pytest.mark.parametrize(
    "absorb", [("unit",), ("unit", "year"), ("unit", "year", "region")], ids=",".join
)
def test_equal_to_one_indicator_a_group(absorb, predicted, variant):
    roles, options = VARIANTS[variant]
    if predicted == ("x1",) and "features" in roles:
        roles = roles | {"features": [*roles["features"], "y"]}
    est, full, slopes = both(absorb, predicted, roles, **options)
    assert est.converged_
    assert est.intercept_ == 0.0
    assert_allclose(est.coef_, full.result_.estimate[slopes], rtol=SAME)
    assert_allclose(est.std_error_, full.std_error_[slopes], rtol=SAME)
    assert_allclose(est.repeat_params_, full.repeat_params_.iloc[:, slopes], rtol=SAME)
    if len(est.repeat_params_) == 1:
        # Medians over repetitions are made positive semi-definite as a whole: the covariances then
        # depend on how many other parameters there are.
        scale = np.outer(est.std_error_, est.std_error_)
        assert_allclose(est.vcov_ / scale, full.vcov_[np.ix_(slopes, slopes)] / scale, atol=SAME)
    assert est.result_.df == full.result_.df
    assert_allclose(est.design_effect_, full.design_effect_.iloc[slopes], rtol=SAME)
    assert est.result_.diagnostics["n_absorbed"] + 2 == full.result_.estimate.size


def test_fully_labelled_equals_statsmodels():
    smf = pytest.importorskip("statsmodels.formula.api")
    frame = panel(())
    with pytest.warns(UserWarning, match="rows are labelled"):
        est = DSLRegressor(formula=FORMULA, absorb=["unit", "year"], vcov="CR1").fit(
            frame, prediction="y_hat", clusters="crowd"
        )
    theirs = smf.ols(FORMULA + " + C(unit) + C(year)", frame).fit(
        cov_type="cluster", cov_kwds={"groups": frame["crowd"]}
    )
    assert_allclose(est.coef_, theirs.params[["x1", "x2"]], rtol=SAME)
    assert_allclose(est.std_error_, theirs.bse[["x1", "x2"]], rtol=SAME)


def test_without_formula_absorbed_and_role_columns_are_no_covariates():
    frame = panel(("y",))
    columns = ["x1", "x2", "unit", "y", "y_hat", "crowd"]
    est = DSLRegressor(absorb="unit", learner="passthrough", fit_intercept=False)
    est.fit(frame[columns], "y", prediction="y_hat", clusters="crowd")
    other = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough")
    other.fit(frame, prediction="y_hat", clusters="crowd")
    assert_allclose(est.vcov_, other.vcov_, rtol=SAME)
    assert list(est.feature_names_in_) == ["x1", "x2"] == list(est.result_.names)
    assert est.n_features_in_ == 2
    assert est.result_.diagnostics["n_absorbed"] == 25


def test_categories_keep_their_reference_level():
    frame = panel(("y",)).assign(region=lambda f: f["region"].map(lambda v: f"r{v}"))
    columns = ["x1", "region", "unit", "y", "y_hat"]
    est = DSLRegressor(absorb="unit", learner="passthrough")
    est.fit(frame[columns], "y", prediction="y_hat")
    assert list(est.result_.names) == ["x1", *(f"region[T.r{j}]" for j in range(1, 5))]
    predicted = panel(("y", "x1")).assign(region=frame["region"])
    prediction = {"y": "y_hat", "x1": "x1_hat"}
    fits = [
        DSLRegressor(formula=formula, absorb=absorb, learner="passthrough").fit(
            predicted, prediction=prediction
        )
        for formula, absorb in (("y ~ region + x1", "unit"), ("y ~ region + x1 + C(unit)", None))
    ]
    position = fits[1].result_.names.index("x1")
    assert_allclose(fits[0].coef_[-1], fits[1].result_.estimate[position], rtol=SAME)


def test_summary_says_what_was_absorbed():
    frame = panel(("y",)).copy()
    frame.loc[0, "unit"] = "alone"
    frame.loc[frame["unit"] == "3", "y"] = np.nan
    est = DSLRegressor(formula=FORMULA, absorb=["unit", "year"], learner="passthrough")
    est.fit(frame, prediction="y_hat")
    text = str(est.summary())
    expected = 1 + int(np.isnan(frame.loc[0, "y"]))
    assert f"unit (26 groups, 1 of one row, {expected} without labels, kept)" in text
    assert "Absorbed parameters: 33; projection converged in" in text
    assert "with fixed effects of unit, year" in text
    assert est.absorbed_.to_dict("list") == {
        "factor": ["unit", "year"],
        "groups": [26, 8],
        "singletons": [1, 0],
        "unlabelled": [expected, 0],
    }
    one = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough")
    assert "projection exact" in str(one.fit(frame, prediction="y_hat").summary())
    alone = frame.drop(index=0)
    without = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough").fit(
        alone, prediction="y_hat", sample_prob=np.full(499, 0.4)
    )
    with_it = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough").fit(
        frame, prediction="y_hat", sample_prob=np.full(500, 0.4)
    )
    # A group of one row adds nothing; it only changes the scale of the probabilities.
    assert_allclose(with_it.coef_, without.coef_, rtol=0.01)
    assert (
        DSLRegressor(learner="passthrough")
        .fit(frame[["x1"]], frame["y"], prediction=frame["y_hat"])
        .absorbed_
        is None
    )


def test_labels_that_cannot_carry_the_groups_give_no_design_effect():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"unit": np.repeat(np.arange(60), 4), "x": rng.normal(size=240)})
    frame["y_hat"] = frame["x"] + rng.normal(size=240)
    frame["y"] = (frame["y_hat"] + rng.normal(size=240)).where(np.arange(240) % 4 == 0)
    est = DSLRegressor(absorb="unit", learner="passthrough").fit(frame, "y", prediction="y_hat")
    assert est.design_effect_.isna().all()
    assert "the expert labels alone cannot carry this model" in str(est.summary())
    assert np.isfinite(est.std_error_).all()
    with pytest.raises(
        ParameterError, match=r"use_t=True needs more labelled rows \(60\) than .*61"
    ):
        est.set_params(use_t=True).fit(frame, "y", prediction="y_hat")


def test_refit_vcov_counts_absorbed_parameters():
    frame = panel(("y",))
    options = {"formula": FORMULA, "absorb": ["unit", "year"], "learner": "passthrough"}
    est = DSLRegressor(keep_influence=True, **options).fit(frame, prediction="y_hat")
    again = est.refit_vcov("CR1", clusters=frame["crowd"])
    direct = DSLRegressor(vcov="CR1", **options).fit(frame, prediction="y_hat", clusters="crowd")
    assert_allclose(again.std_error, direct.std_error_, rtol=SAME)


def test_predicted_covariate_in_short_groups_is_warned_about():
    # The noise of the correction stays in squared group means: with 4 rows a group the slope is
    # about 25 % too large here, with 64 about 1 %. Indicators give the same numbers.
    rng = np.random.default_rng(1)

    def slope(rows, seed):
        draw = np.random.default_rng(seed)
        unit = np.repeat(np.arange(6400 // rows), rows)
        x = draw.normal(size=6400) + draw.normal(size=unit[-1] + 1)[unit]
        frame = pd.DataFrame({"unit": unit, "y": x + draw.normal(size=6400)})
        frame["x_hat"] = x + 0.5 * draw.normal(size=6400)
        frame["x"] = np.where(draw.random(6400) < 0.3, x, np.nan)
        return DSLRegressor(formula="y ~ x", absorb="unit", learner="passthrough").fit(
            frame, prediction={"x": "x_hat"}
        )

    seed = int(rng.integers(1000))
    with pytest.warns(UserWarning, match=r"about 2\d% of its variation .* is noise"):
        short = slope(4, seed)
    assert short.coef_[0] > 1.1
    assert "label more rows, improve the predictions" in " ".join(str(short.summary()).split())
    assert abs(slope(64, seed).coef_[0] - 1) < 0.08


def test_predict_and_augment_are_refused():
    frame = panel(("y",))
    est = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough")
    est.fit(frame, prediction="y_hat")
    for method in ("predict", "augment"):
        with pytest.raises(ParameterError, match=f"{method} is not available with absorb=.*unit"):
            getattr(est, method)(frame)


BAD = {
    "unknown column": (
        lambda f: DSLRegressor(absorb="firm").fit(f, "y", prediction="y_hat"),
        RoleError,
        "absorb='firm' is not a column of X",
    ),
    "arrays": (
        lambda f: DSLRegressor(absorb="unit").fit(
            f[["x1"]].to_numpy(), f["y"].to_numpy(), prediction=f["y_hat"].to_numpy()
        ),
        RoleError,
        "absorb=.*names columns, but X is an array.*data frame",
    ),
    "codes instead of a name": (
        lambda f: DSLRegressor(absorb=np.arange(500)).fit(f, "y", prediction="y_hat"),
        ParameterError,
        "absorb must be",
    ),
    "empty list": (
        lambda f: DSLRegressor(absorb=[]).fit(f, "y", prediction="y_hat"),
        ParameterError,
        "absorb must be",
    ),
    "twice": (
        lambda f: DSLRegressor(absorb=["unit", "unit"]).fit(f, "y", prediction="y_hat"),
        ParameterError,
        "names a column twice",
    ),
    "in the formula": (
        lambda f: DSLRegressor(formula="y ~ x1 + C(year)", absorb="year").fit(
            f, prediction="y_hat"
        ),
        ParameterError,
        "absorb names 'year', which is also outcome, prediction or part of the formula",
    ),
    "outcome": (
        lambda f: DSLRegressor(formula="y ~ x1", absorb="y").fit(f, prediction="y_hat"),
        ParameterError,
        "absorb names 'y', which is also outcome",
    ),
    "prediction": (
        lambda f: DSLRegressor(absorb="y_hat").fit(f, "y", prediction="y_hat"),
        ParameterError,
        "absorb names 'y_hat'",
    ),
    "missing group": (
        lambda f: DSLRegressor(absorb="year").fit(
            f[["x1", "y", "y_hat"]].assign(year=f["year"].where(f["year"] > 2001)),
            "y",
            prediction="y_hat",
        ),
        DataError,
        r"Column 'year' has \d+ missing values",
    ),
    "poisson": (
        lambda f: DSLRegressor("poisson", absorb="unit").fit(f, "y", prediction="y_hat"),
        ParameterError,
        "absorb needs model='linear'; got model='poisson'",
    ),
    "tuning": (
        lambda f: DSLRegressor(absorb="unit", tuning="scalar").fit(f, "y", prediction="y_hat"),
        ParameterError,
        "absorb and tuning='scalar' do not go together",
    ),
    "no covariate": (
        lambda f: DSLRegressor(formula="y ~ 1", absorb="unit").fit(f, prediction="y_hat"),
        ParameterError,
        "leaves no covariate",
    ),
    "constant within groups": (
        lambda f: DSLRegressor(formula="y ~ x1 + z", absorb=["unit", "year"]).fit(
            f.assign(z=f["unit"].astype(int) * 3 + f["year"]), prediction="y_hat"
        ),
        CollinearityError,
        "z does not vary within the groups of unit, year: the fixed effects determine it",
    ),
    "collinear within groups": (
        lambda f: DSLRegressor(formula="y ~ x1 + z", absorb="unit").fit(
            f.assign(z=f["unit"].astype(int) + f["x1"]), prediction="y_hat"
        ),
        CollinearityError,
        "'z' is a linear combination of 'x1'",
    ),
    "collinear within groups, covariate predicted": (
        lambda f: DSLRegressor(formula="y ~ x1 + x2 + z", absorb="unit", learner="passthrough").fit(
            f.assign(z=f["unit"].astype(int) + f["x2"], x1=f["x1"].where(f["R"] == 1)),
            prediction={"y": "y_hat", "x1": "x1_hat"},
        ),
        CollinearityError,
        "'z' is a linear combination of 'x2'",
    ),
    "one group a row": (
        lambda f: DSLRegressor(formula="y ~ x1", absorb="row").fit(
            f.assign(row=np.arange(500)), prediction="y_hat"
        ),
        CollinearityError,
        "x1 does not vary within the groups of row",
    ),
    "compare_estimators": (
        lambda f: compare_estimators(DSLRegressor(absorb="unit"), f, "y", prediction="y_hat"),
        ParameterError,
        "compare_estimators does not take absorb",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call(panel(("y",)))


def test_a_classifier_has_no_absorb():
    with pytest.raises(TypeError, match="absorb"):
        DSLClassifier(absorb="unit")


def test_rows_with_a_missing_group_are_dropped_and_counted():
    frame = panel(("y",)).copy()
    frame["unit"] = frame["unit"].where(frame["unit"] != "4")
    lost = int(frame["unit"].isna().sum())
    est = DSLRegressor(formula=FORMULA, absorb="unit", learner="passthrough")
    with pytest.warns(DroppedRowsWarning, match=f"unit {lost}"):
        est.fit(frame, prediction="y_hat")
    assert est.result_.diagnostics["n_dropped_by"] == {"unit": lost}
    assert est.absorbed_["groups"].item() == 24


def grouped(*columns):
    return {f"f{j}": to_codes(np.asarray(c), "f")[0] for j, c in enumerate(columns)}


def graphs():
    rng, row = np.random.default_rng(2), np.arange(300)
    third = rng.integers(0, 20, 300)
    return {
        "chain": (row // 2, (row + 1) // 2),
        "nested": (row // 4, row // 40),
        "nested and crossed": (row // 4, row // 40, rng.integers(0, 6, 300)),
        "disconnected": (row // 4, np.where(row < 150, row % 5, 5 + row % 7)),
        "the same twice": (row // 3, row // 3),
        "sparse": (rng.integers(0, 150, 300), rng.integers(0, 150, 300)),
        "four": (rng.integers(0, 60, 300), rng.integers(0, 40, 300), third, third // 5),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", graphs())
def test_projection_and_rank(name, weighted):
    rng = np.random.default_rng(3)
    columns = rng.standard_t(2, size=(300, 2))
    weights = rng.uniform(size=300) * (rng.random(300) < 0.8) if weighted else None
    absorber = _absorb.make_absorber(grouped(*graphs()[name]), weights)
    found = absorber.project(columns)
    root = np.ones(300) if weights is None else np.sqrt(weights)
    dummies = np.column_stack([np.eye(c.max() + 1)[c] for c in graphs()[name]])
    dummies = dummies * root[:, None]
    effect = np.linalg.lstsq(dummies, columns * root[:, None], rcond=1e-12)[0]
    assert absorber.converged
    gap = found * root[:, None] - dummies @ effect
    assert np.abs(gap).max() < CHAIN * np.abs(columns).max()
    assert absorber.rank == np.linalg.matrix_rank(dummies)


def test_rank_of_many_groups_in_three_factors_is_an_upper_bound(monkeypatch):
    for columns in graphs().values():
        codes = list(grouped(*columns).values())
        exact = _absorb.absorbed_rank(codes, None)
        monkeypatch.setattr(_absorb, "_DENSE_GROUPS", 0)
        assert exact <= _absorb.absorbed_rank(codes, None) <= exact + 3
        monkeypatch.undo()


def test_a_projection_that_does_not_converge_is_said(monkeypatch):
    monkeypatch.setattr(_absorb, "MAX_STEPS", 2)
    est = DSLRegressor(formula=FORMULA, absorb=["unit", "year"], learner="passthrough")
    with pytest.warns(ConvergenceWarning, match="projection on the groups of unit, year did not"):
        est.fit(panel(("y",)), prediction="y_hat")
    assert not est.converged_
    assert "projection NOT converged" in str(est.summary())


@pytest.mark.slow
def test_monte_carlo():
    # Bounds as in tests/statistical: bias within 4 Monte Carlo standard errors, coverage between
    # the 1e-4 quantiles of a binomial share. CR1 with t(G - 1); 60 units in an unbalanced panel.
    repetitions, truth, tail = 400, 0.5, 1e-4
    estimates, covered = [], []
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        unit, year = np.divmod(np.arange(720), 12)
        kept = rng.random(720) < 0.7
        unit, year = unit[kept], year[kept]
        n = unit.size
        # Effects are correlated with x; errors are correlated within units.
        effect = rng.normal(size=60)
        x = effect[unit] + 0.2 * year + rng.normal(size=n)
        noise = rng.normal(size=n) + 0.5 * rng.normal(size=60)[unit] * (year - 6) / 6
        y = truth * x + 2 * effect[unit] + np.sin(year) + noise
        machine = 0.8 * y + 0.3 * x + 0.5 + 0.5 * rng.normal(size=n)
        frame = pd.DataFrame({"unit": unit, "year": year, "x": x, "machine": machine})
        frame["y"] = np.where(rng.random(n) < 0.4, y, np.nan)
        est = DSLRegressor(formula="y ~ x", absorb=["unit", "year"], vcov="CR1", learner="ols")
        est.set_params(n_rep=1, random_state=seed)
        est.fit(frame, prediction="machine", features=["x"], clusters="unit")
        low, high = est.confint().to_numpy()[0]
        estimates.append(est.coef_[0])
        covered.append(low <= truth <= high)
    spread = np.std(estimates, ddof=1) / np.sqrt(repetitions)
    assert abs(np.mean(estimates) - truth) <= 4 * spread
    share = np.sum(covered)
    assert binom.ppf(tail, repetitions, 0.94) <= share <= binom.ppf(1 - tail, repetitions, 0.95)
