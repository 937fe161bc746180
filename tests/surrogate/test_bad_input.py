"""Bad input of the surrogate estimators: which argument, which value or count, what to do.

The first table follows section 5 of the specification line by line; the others go through
constructor parameters, roles, formulas, folds and variances.
"""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_allclose
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from robuststat import DSLClassifier, DSLMean, DSLRegressor, compare_estimators
from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    DataError,
    DroppedRowsWarning,
    IdentificationError,
    OverlapWarning,
    ParameterError,
    RobuststatError,
    RoleError,
    SmallClusterWarning,
)

EXACT = 1e-8  # the same equations solved twice
N = 60
FORMULA = "y ~ x1 + x2"
HALVES = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]


def make_frame():
    rng = np.random.default_rng(0)
    f = pd.DataFrame({"x1": rng.normal(size=N), "x2": rng.normal(size=N)})
    f["g"] = np.array(["a", "b", "c"])[np.arange(N) % 3]
    f["y"] = f["x1"] + rng.normal(size=N)
    f["b"] = (rng.random(N) < 0.5).astype(float)
    f["c"] = rng.poisson(2, N).astype(float)
    f["s"], f["bs"], f["cs"] = f["y"] + rng.normal(size=N), f["b"], f["c"]
    f["R"] = np.arange(N) % 2
    f["grp"] = np.arange(N) // 4
    f["pi"] = 0.5
    f["z"] = np.exp(f["x1"]).where(f["R"] == 1)
    f["x1_known"] = f["x1"].where(f["R"] == 1)
    for name in "ybc":
        f[name] = f[name].where(f["R"] == 1)
    return f


FRAME = make_frame()
X = FRAME[["x1", "x2"]].to_numpy()
Y, B, S, R = (FRAME[name].to_numpy() for name in ("y", "b", "s", "R"))
SMALL = FRAME[["x1", "x2", "y", "s"]]
ROW = np.arange(N)


def reg(**options):
    return DSLRegressor(**({"learner": "passthrough"} | options))


def cla(**options):
    return DSLClassifier(**({"learner": "passthrough"} | options))


def mean(**options):
    return DSLMean(**({"learner": "passthrough"} | options))


def at(values, row, value):
    changed = np.array(values, dtype=float)
    changed[row] = value
    return changed


def labels_on(rows, values=Y):
    full = np.where(np.isnan(values), 0.5, values)
    return np.where(np.isin(ROW, rows), full, np.nan)


def refused(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call()
    assert isinstance(caught.value, RobuststatError)
    assert isinstance(caught.value, ValueError)


def table(*cases):
    return pytest.mark.parametrize(
        ("call", "error", "match"), [c[1:] for c in cases], ids=[c[0] for c in cases]
    )


# Section 5 of the specification.


@table(
    (
        "neither prediction nor features",
        lambda: reg().fit(X, Y),
        RoleError,
        r"give at least one of prediction, features\. Pass an array of 60 values",
    ),
    (
        "no labelled row",
        lambda: reg().fit(X, np.full(N, np.nan), prediction=S),
        DataError,
        r"No row is labelled: y is missing in all 60 rows\. Pass expert labels",
    ),
    (
        "no labelled row, classes",
        lambda: cla().fit(X, np.full(N, None), prediction=S),
        DataError,
        "No row is labelled: y is missing in all 60 rows",
    ),
    (
        "fewer labels than coefficients",
        lambda: reg().fit(X, labels_on([0, 1, 2]), prediction=S),
        DataError,
        r"3 labelled rows .* cannot support 3 coefficients; at least 4 are needed\. Label more",
    ),
    (
        "weight zero is not labelled",
        lambda: reg().fit(X, Y, prediction=S, sample_weight=np.where(R & (ROW > 4), 0.0, 1.0)),
        DataError,
        "2 labelled rows .* cannot support 3 coefficients",
    ),
    (
        "training part of a fold without labels",
        lambda: reg(learner="ols", n_rep=1, cv=HALVES).fit(
            X, labels_on(np.arange(20)), prediction=S
        ),
        DataError,
        r"fold 2 of repetition 1, variable 'y' has 0 labelled rows; at least 2 .* Use fewer folds",
    ),
    (
        "training part of a fold with one label",
        lambda: reg(learner="ols", cv=2).fit(X[:, :1], labels_on([0, 1, 2]), prediction=S),
        DataError,
        "of repetition 1, variable 'y' has 1 labelled rows; at least 2",
    ),
    (
        "training part of a fold with one class",
        lambda: cla(learner="logit", n_rep=1, cv=HALVES).fit(
            X, np.where(ROW < 20, 0, np.where(ROW > 40, 1, np.nan)), prediction=S
        ),
        DataError,
        r"fold 1 of repetition 1, variable 'y' has one class only \(0\)\. Use fewer folds",
    ),
    (
        "a class too rare for any partition",
        lambda: cla(learner="logit", random_state=0).fit(
            X, np.where(ROW < 20, ROW == 3, np.nan), prediction=S
        ),
        DataError,
        r"of repetition \d, variable 'y' has one class only \(0\)\. Use fewer folds, more labels",
    ),
    *(
        (
            f"sample_prob {value}",
            lambda value=value: reg().fit(
                X, Y, prediction=S, sample_prob=at(FRAME["pi"], [7, 9], value)
            ),
            RoleError,
            rf"sample_prob has 2 values outside \(0, 1\] .*{shown}.*first at row 7\). Pass the",
        )
        for value, shown in ((0, "min 0,"), (-1, "min -1,"), (1.5, "max 1.5"), (np.inf, "max inf"))
    ),
    (
        "sample_prob missing",
        lambda: reg().fit(X, Y, prediction=S, sample_prob=at(FRAME["pi"], 7, np.nan)),
        DataError,
        r"Column 'sample_prob' has 1 missing values \(NaN\), first at row 7\. Fill or remove",
    ),
    (
        "label where labeled is 0",
        lambda: reg().fit(X, np.nan_to_num(Y), prediction=S, labeled=R),
        RoleError,
        r"labeled is 0 but 'y' is present in 30 rows \(first at row 0\)\. Set 'y' to missing",
    ),
    (
        "no label where labeled is 1",
        lambda: reg().fit(X, Y, prediction=S, labeled=np.ones(N)),
        RoleError,
        r"labeled is 1 but 'y' is missing in 30 rows \(first at row 0\)\. Supply the label",
    ),
    (
        "predicted covariate known where labeled is 0",
        lambda: reg(formula="x2 ~ x1").fit(FRAME, prediction={"x1": "s"}, labeled="R"),
        RoleError,
        "labeled is 0 but 'x1' is present in 30 rows",
    ),
    (
        "missing covariate",
        lambda: reg().fit(at(X, (3, 1), np.nan), Y, prediction=S),
        DataError,
        r"Column 'x1' has 1 missing values \(NaN\), first at row 3\. .* missing='drop'",
    ),
    (
        "missing surrogate",
        lambda: reg().fit(X, Y, prediction=at(S, [4, 5], np.nan)),
        DataError,
        r"Column 'prediction' has 2 missing values \(NaN\), first at row 4",
    ),
    (
        "missing in several columns",
        lambda: reg().fit(at(X, (3, 1), np.nan), Y, prediction=at(S, 4, np.nan)),
        DataError,
        r"has 1 missing values .*\(1 more columns have some\)",
    ),
    (
        "missing, formula, raise",
        lambda: reg(formula=FORMULA, missing="raise").fit(
            FRAME.assign(x1=at(FRAME["x1"], 3, np.nan)), prediction="s"
        ),
        DataError,
        "Column 'x1' has 1 missing values",
    ),
    (
        "constant column",
        lambda: reg().fit(np.column_stack([X, np.ones(N)]), Y, prediction=S),
        CollinearityError,
        r"'x2' is a linear combination of '\(Intercept\)' \(matrix rank 3 of 4\)\. Drop it",
    ),
    (
        "duplicated column",
        lambda: cla().fit(np.column_stack([X, X[:, 0]]), B, prediction=S),
        CollinearityError,
        "'x2' is a linear combination of 'x0'",
    ),
    (
        "duplicated term",
        lambda: reg(formula="y ~ x1 + I(2 * x1)").fit(FRAME, prediction="s"),
        CollinearityError,
        r"'I\(2 \* x1\)' is a linear combination of 'x1'",
    ),
    (
        "gold labels 1/2",
        lambda: cla().fit(X, B + 1, prediction=S),
        DataError,
        r"labels of 'y' must be 0/1 .*; they take 2 values: 1\.0, 2\.0\. Recode",
    ),
    (
        "three classes",
        lambda: cla().fit(X, np.where(R, ROW % 3, np.nan), prediction=S),
        DataError,
        r"Only binary .* they take 3 values: 0\.0, 1\.0, 2\.0\. Recode",
    ),
    (
        "continuous labels",
        lambda: cla().fit(X, Y, prediction=S),
        DataError,
        r"Unknown label type: continuous.* they take 30 values: .*, \.\.\.\. Recode",
    ),
    (
        "one class",
        lambda: cla().fit(X, np.where(R, 1.0, np.nan), prediction=S),
        DataError,
        r"labels of 'y' hold one class only \(1\.0\).* Label more rows",
    ),
    (
        "infinite label",
        lambda: cla().fit(X, at(B, 1, np.inf), prediction=S),
        DataError,
        "Input y contains infinity",
    ),
    (
        "no rows, frame",
        lambda: reg(formula=FORMULA).fit(FRAME[:0], prediction="s"),
        DataError,
        r"0 sample\(s\)",
    ),
    (
        "text in y",
        lambda: reg().fit(X, np.array(["a"] * N), prediction=S),
        DataError,
        r"y must be numeric, but row 0 holds 'a' \(60 such values\)\. Convert",
    ),
    (
        "dates in y",
        lambda: reg().fit(X, np.array(["2020-01-01"] * N, "datetime64[s]"), prediction=S),
        DataError,
        r"y must be numeric, but holds dates or durations \(datetime64\[s\]\)\. Convert",
    ),
    (
        "text in an array",
        lambda: reg().fit(FRAME[["g"]].to_numpy(), Y, prediction=S),
        DataError,
        "X must be numeric: could not convert string to float: 'a'. Pass a data frame",
    ),
    (
        "dates in a frame",
        lambda: reg().fit(SMALL.assign(t=pd.Timestamp("2020-01-01")), "y", prediction="s"),
        DataError,
        r"The formula cannot be computed from the columns t \(datetime64.*Convert them to numbers",
    ),
)
def test_section_5(call, error, match):
    refused(call, error, match)


def test_one_row():
    with (
        pytest.warns(UserWarning, match="All 1 rows"),
        pytest.raises(DataError, match="1 labelled"),
    ):
        reg().fit(X[:1], Y[1:2], prediction=S[:1])


@pytest.mark.parametrize(
    ("bad", "error", "match"),
    [
        (lambda: scipy.sparse.csr_matrix(X), TypeError, "dense data is required"),
        (lambda: X + 1j, ValueError, "Complex data not supported"),
        (lambda: X[:, 0], ValueError, "Expected 2D array, got 1D"),
        (lambda: X[:, :0], ValueError, r"0 feature\(s\)"),
        (lambda: X[:0], ValueError, r"0 sample\(s\)"),
        (lambda: FRAME[["x1", "x2"]].set_axis(["a", 1], axis=1), TypeError, "string names"),
        (lambda: pd.concat([SMALL, SMALL["x1"]], axis=1), DataError, "unique column names"),
    ],
    ids=["sparse", "complex", "1-d", "no column", "no row", "mixed names", "double name"],
)
def test_covariates_of_the_wrong_kind(bad, error, match):
    with pytest.raises(error, match=match):
        reg().fit(bad(), Y, prediction=S)


@pytest.mark.parametrize(
    "same",
    [
        lambda: (X > 0, Y),
        lambda: (pd.DataFrame(X > 0, columns=["x0", "x1"], dtype="boolean"), Y),
        lambda: (pd.DataFrame(X > 0, columns=["x0", "x1"]).astype("Int64"), Y),
        lambda: (pd.DataFrame(X > 0).astype("int64[pyarrow]").set_axis(["a", "b"], axis=1), Y),
        lambda: (X > 0, pd.Series(Y).astype("Float64")),
        lambda: (X > 0, pd.Series(Y, dtype="float64[pyarrow]")),
        lambda: (X > 0, pd.Series(Y).astype(object).where(R == 1, None)),
        lambda: (X > 0, pd.Series(Y, index=ROW[::-1])),
        lambda: (pd.DataFrame(X > 0, index=np.zeros(N)), Y),
    ],
    ids=["bool", "boolean", "Int64", "arrow X", "Float64 y", "arrow y", "None", "index y", "index"],
)
def test_kinds_of_numbers_are_accepted(same):
    covariates, outcome = same()
    expected = reg().fit((X > 0).astype(float), Y, prediction=S)
    est = reg().fit(covariates, outcome, prediction=S)
    assert_allclose(est.coef_, expected.coef_, rtol=EXACT)
    assert_allclose(est.std_error_, expected.std_error_, rtol=EXACT)


def test_one_column_is_enough():
    est = reg().fit(X[:, :1], Y, prediction=S)
    assert est.coef_.shape == (1,)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        same = reg().fit(X[:, :1], Y[:, None], prediction=S[:, None], labeled=R[:, None])
    assert_allclose(same.coef_, est.coef_, rtol=EXACT)


def test_probabilities_above_one_after_scaling():
    prob = np.where(ROW < 6, 0.9, 0.2)
    with pytest.warns(OverlapWarning, match=r"6 labelling probabilities exceed 1 .* \(max 1\.67\)"):
        est = reg().fit(X, Y, prediction=S, sample_prob=prob)
    assert est.sample_prob_[1] > 1
    assert reg(normalize_prob=False).fit(X, Y, prediction=S, sample_prob=prob).sample_prob_ == (
        0.2,
        0.9,
    )


@pytest.mark.parametrize(
    ("prob", "match"),
    [
        (
            at(np.full(240, 0.5), 1, 0.005),
            r"smallest labelling probability is 0\.005; the largest weight .* is 200 .* worth 5 eq",
        ),
        (at(np.ones(240), 1, 0.011), r"probability is 0\.011; .* is 90\.9 .*, so 120 labels are"),
    ],
)
def test_extreme_weights(prob, match):
    many, y, s = np.tile(X, (4, 1)), np.tile(Y, 4), np.tile(S, 4)
    with pytest.warns(OverlapWarning, match=match):
        est = reg(normalize_prob=False).fit(many, y, prediction=s, sample_prob=prob)
    weights = 1 / prob[~np.isnan(y)]
    effective = weights.sum() ** 2 / (weights**2).sum()
    text = " ".join(str(est.summary()).split())
    assert f"worth {effective:,.0f} equal ones" in text
    if prob.min() < 0.01:
        assert "labelling probabilities go down to 0.005" in text


def test_small_equal_probabilities_are_no_reason_to_warn():
    many = np.random.default_rng(0).normal(size=(20_000, 2))
    y = np.full(20_000, np.nan)
    y[:100] = many[:100, 0]
    est = reg().fit(many, y, prediction=many[:, 0])  # a warning would be an error here
    assert "below 0.01" not in str(est.summary())


def test_prediction_that_is_the_outcome():
    with pytest.raises(RoleError, match="prediction names 'y_hand', which is the outcome"):
        reg().fit(
            FRAME.rename(columns={"y": "y_hand"})[["x1", "y_hand"]], "y_hand", prediction="y_hand"
        )


def test_missing_rows_are_dropped_and_counted():
    with pytest.warns(DroppedRowsWarning, match="3 of 60 rows dropped .*: prediction 2, x1 1"):
        est = reg(missing="drop").fit(at(X, (3, 1), np.nan), Y, prediction=at(S, [4, 5], np.nan))
    keep = ~np.isin(ROW, [3, 4, 5])
    expected = reg().fit(X[keep], Y[keep], prediction=S[keep])
    assert_allclose(est.vcov_, expected.vcov_, rtol=EXACT)
    assert est.result_.n_obs == 57
    assert est.result_.diagnostics["n_dropped_by"] == {"prediction": 2, "x1": 1}
    # Rows leave before probabilities are scaled.
    assert est.sample_prob_ == pytest.approx(R[keep].mean())


def test_formula_drops_by_default():
    frame = FRAME.assign(x1=at(FRAME["x1"], 3, np.nan), s=at(FRAME["s"], 3, np.nan))
    with pytest.warns(DroppedRowsWarning, match="1 of 60 rows dropped .*: s 1, x1 1"):
        est = reg(formula=FORMULA).fit(frame, prediction="s")
    assert "1 dropped: s 1, x1 1" in str(est.summary())
    with pytest.raises(DataError, match=r"No complete row is left; .*\{'x1': 60\}"):
        reg(formula=FORMULA).fit(FRAME.assign(x1=np.nan), prediction="s")


def test_separation_is_not_silent():
    with pytest.warns(ConvergenceWarning, match=r"1 of 1 fits did not converge: .*separate"):
        est = cla().fit(X, np.where(R, X[:, 0] > 0, np.nan), prediction=X[:, 0] > 0)
    assert est.converged_ is False
    assert not est.glance()["converged"].item()
    assert np.isfinite(est.vcov_).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: cla(max_iter=1).fit(X, B, prediction=FRAME["bs"]),
        lambda: cla().fit(X, B, prediction=10 * S),
        lambda: cla().fit(X, B, prediction=3 * S),
        lambda: reg(model="poisson").fit(X, FRAME["c"], prediction=S - 50),
    ],
    ids=["max_iter", "no root, saturated", "no root", "poisson"],
)
def test_no_convergence_is_not_silent(call):
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        est = call()
    assert est.converged_ is False


def test_real_surrogates_of_a_binary_label_are_fine():
    est = cla().fit(X, B, prediction=FRAME["bs"] * 0.8 + 0.3)
    assert est.converged_
    assert est.classes_.tolist() == [0, 1]


def test_clusters_fewer_than_twice_the_folds():
    with (
        pytest.warns(SmallClusterWarning, match="6 clusters are few for cv=5: 3 folds are used"),
        pytest.warns(SmallClusterWarning, match="Only 6 clusters"),
    ):
        est = reg(learner="ols", n_rep=2).fit(X, Y, prediction=S, clusters=ROW // 10)
    assert est.losses_["y"].shape == (2, 3)


@pytest.mark.parametrize("learner", ["ols", "passthrough"])
def test_one_cluster(learner):
    with pytest.raises(DataError, match="clusters has 1 distinct values"):
        reg(learner=learner).fit(X, Y, prediction=S, clusters=np.zeros(N))


# Constructor parameters.

WRONG = {
    "model": ("probit", "one of 'linear', 'poisson', 'quantile'"),
    "formula": (3, "None or a string"),
    "learner": ("grf", "one of 'auto', 'passthrough', 'ols', 'logit' or a scikit-learn estimator"),
    "cv": (1, "an integer >= 2, a scikit-learn splitter, or a list"),
    "n_rep": (0, r"an integer in \[1, inf\)"),
    "design": ("cluster", "one of 'srs', 'bernoulli', 'stratified'"),
    "normalize_prob": (1, "True or False"),
    "prob_terms": ("x1", "None or a list of column names"),
    "variance": ("HC1", "one of 'robust', 'design'"),
    "population": ("corpus", "one of 'superpopulation', 'finite'"),
    "tuning": (True, "None or one of 'scalar', 'matrix'"),
    "vcov": ("HC3", "None or one of 'HC0', 'HC1', 'CR0', 'CR1'"),
    "use_t": (None, "True or False"),
    "fit_intercept": ("yes", "True or False"),
    "missing": ("ignore", "None or one of 'raise', 'drop'"),
    "keep_influence": (0, "True or False"),
    "tol": (0.0, r"a number in \(0, 1\)"),
    "max_iter": (2.5, r"an integer in \[1, inf\)"),
    "random_state": ("seed", "None, an int"),
    "n_jobs": (1.5, r"None or an integer"),
    "verbose": (-1, r"an integer in \[0, 10\]"),
    "by": (3, "None or a string or a list of column names"),
    "absorb": (3, "None or a string or a list of column names"),
    "quantile": (1.0, r"a number in \(0, 1\)"),
}


CLASSES = [DSLRegressor, DSLClassifier, DSLMean]


@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls in CLASSES for name in WRONG if name in cls().get_params()],
)
def test_constructor_parameters(cls, name):
    value, words = WRONG[name]
    words = "one of 'logit', 'multinomial'" if (cls, name) == (DSLClassifier, "model") else words
    options = {"learner": "ols"} | {name: value}
    with pytest.raises(ParameterError, match=f"{name} must be {words}.*{value}"):
        cls(**options).fit(X, B, prediction=FRAME["bs"])


def test_every_constructor_parameter_is_checked():
    known = {name for cls in CLASSES for name in cls().get_params()}
    assert known == set(WRONG)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learner", LinearRegression),
        ("cv", True),
        ("cv", "5"),
        ("prob_terms", []),
        ("prob_terms", ["x1", 2]),
        ("n_rep", True),
        ("n_rep", 2.0),
        ("tol", np.nan),
        ("normalize_prob", np.True_),
    ],
)
def test_near_misses(name, value):
    with pytest.raises(ParameterError, match=f"{name} must be"):
        reg(**{name: value}).fit(X, Y, prediction=S)


# Roles.

ROLES = ["prediction", "labeled", "sample_prob", "features", "strata", "psu"]
ROLES += ["sample_weight", "clusters"]


@pytest.mark.parametrize("role", ROLES)
def test_roles_of_the_wrong_shape(role):
    def fit(X, y, value):
        return lambda: reg().fit(X, y, **({"prediction": S} | {role: value}))

    listed = "Its columns are x1, x2, y, s"
    refused(fit(X, Y, np.ones(5)), RoleError, rf"{role} has 5 (rows|values) but X has 60")
    refused(fit(SMALL, "y", "nope"), RoleError, rf"{role}='nope' is not a column of X\. {listed}")
    refused(fit(X, Y, "nope"), RoleError, rf"{role}='nope' names a column, but X is an array")
    refused(fit(X, Y, np.ones((N, 2, 2))), RoleError, rf"{role} must .*\(60, 2, 2\)")
    refused(fit(X, Y, 3.0), RoleError, rf"{role} must .*got shape \(\)")
    if role not in ("prediction", "features"):
        refused(fit(X, Y, np.ones((N, 2))), RoleError, rf"{role} must be one value .*\(60, 2\)")


@table(
    (
        "unknown outcome",
        lambda: reg().fit(SMALL, "nope", prediction="s"),
        RoleError,
        "y='nope' is not a column of X",
    ),
    (
        "outcome name with an array",
        lambda: reg().fit(X, "y", prediction=S),
        RoleError,
        "y='y' names a column, but X is an array",
    ),
    ("no outcome", lambda: reg().fit(X, prediction=S), DataError, "requires y to be passed"),
    (
        "short outcome",
        lambda: reg().fit(X, Y[:5], prediction=S),
        DataError,
        "X has 60 rows, y has 5",
    ),
    (
        "infinite outcome",
        lambda: reg().fit(X, at(Y, 1, np.inf), prediction=S),
        DataError,
        r"Input y contains infinity .*first at row 1\)\. Remove",
    ),
    (
        "infinite covariate",
        lambda: reg().fit(at(X, (3, 1), -np.inf), Y, prediction=S),
        DataError,
        r"Column 'x1' of X holds infinity \(inf\) in 1 rows, first at row 3",
    ),
    (
        "infinite surrogate",
        lambda: reg().fit(X, Y, prediction=at(S, 1, np.inf)),
        DataError,
        r"The prediction of 'y' holds infinity \(inf\) in 1 rows\. Recode",
    ),
    (
        "infinite surrogate, learner",
        lambda: reg(learner="ols").fit(X, Y, prediction=at(S, 1, np.inf)),
        DataError,
        r"The input 'prediction' of the learner holds infinity \(inf\) in 1 rows",
    ),
    (
        "infinite feature",
        lambda: reg(learner="ols").fit(X, Y, prediction=S, features=at(S, [1, 2], np.inf)),
        DataError,
        r"The input 'features' of the learner holds infinity \(inf\) in 2 rows",
    ),
    (
        "labeled not 0/1",
        lambda: reg().fit(X, Y, prediction=S, labeled=2 * R),
        DataError,
        r"labeled must hold only 0/1 .* row 1 holds 2 \(30 such values\)",
    ),
    (
        "labeled text",
        lambda: reg().fit(X, Y, prediction=S, labeled=np.where(R, "yes", "no")),
        DataError,
        "labeled must be numeric, but row 0 holds 'no'",
    ),
    (
        "labeled missing",
        lambda: reg().fit(X, Y, prediction=S, labeled=at(R, 3, np.nan)),
        DataError,
        "Column 'labeled' has 1 missing values",
    ),
    (
        "cluster missing",
        lambda: reg().fit(X, Y, prediction=S, clusters=at(R, 3, np.nan)),
        DataError,
        "Column 'clusters' has 1 missing values",
    ),
    (
        "clusters of mixed types",
        lambda: reg().fit(X, Y, prediction=S, clusters=pd.Series([(1,), 1] * 30)),
        DataError,
        "clusters mixes types that cannot be ordered",
    ),
    (
        "prediction dict, unknown key, formula",
        lambda: reg(formula=FORMULA).fit(FRAME, prediction={"y": "s", "c": "cs"}),
        RoleError,
        "prediction names 'c', which is neither the outcome nor a column of the formula.*x1, x2",
    ),
    (
        "prediction dict, unknown key, frame",
        lambda: reg().fit(SMALL, "y", prediction={"y": "s", "zz": "s"}),
        RoleError,
        "prediction names 'zz', which is neither the outcome 'y' nor a covariate.*x1, x2",
    ),
    (
        "prediction dict, unknown column",
        lambda: reg(formula=FORMULA).fit(FRAME, prediction={"y": "nope"}),
        RoleError,
        r"prediction\['y'\]='nope' is not a column of X",
    ),
    (
        "prediction dict, empty",
        lambda: reg().fit(X, np.nan_to_num(Y), prediction={}),
        RoleError,
        "prediction is an empty dict. Name at least one",
    ),
    (
        "prediction dict, short",
        lambda: reg().fit(X, Y, prediction={"y": S[:5]}),
        RoleError,
        r"prediction\['y'\] has 5 rows but X has 60",
    ),
    (
        "passthrough with several surrogates",
        lambda: reg(formula=FORMULA).fit(FRAME, prediction=["s", "bs"]),
        ParameterError,
        r"one surrogate as it is, but 'y' has 2 \(s, bs\)\. Choose one",
    ),
    (
        "passthrough with several surrogates of a covariate",
        lambda: reg(formula="x2 ~ x1_known").fit(FRAME, prediction={"x1_known": ["s", "bs"]}),
        ParameterError,
        "'x1_known' has 2",
    ),
    (
        "passthrough without surrogate",
        lambda: reg().fit(X, Y, features=S),
        RoleError,
        "learner='passthrough' needs prediction=",
    ),
    (
        "passthrough with text",
        lambda: reg(formula=FORMULA).fit(FRAME, prediction="g"),
        DataError,
        "prediction of 'y' must be numeric, but row 0 holds 'a'",
    ),
    (
        "passthrough with other class labels",
        lambda: cla(formula="b ~ x1").fit(FRAME, prediction="g"),
        DataError,
        "prediction of 'y' must be numeric, but row 0 holds 'a'",
    ),
    (
        "predicted categories with one level",
        lambda: reg(formula="x2 ~ g").fit(
            FRAME.assign(g=FRAME["g"].where((R == 1) & (FRAME["g"] == "a"))), prediction={"g": "s"}
        ),
        DataError,
        r"labels of 'g' hold one class only \('a'\)",
    ),
    (
        "surrogate that is no level",
        lambda: reg(formula="x2 ~ g").fit(
            FRAME.assign(g=FRAME["g"].where(R == 1)), prediction={"g": "s"}
        ),
        DataError,
        r"surrogate of 'g' holds 60 values that no expert used .* classes are a, b, c",
    ),
    (
        "predicted number used as category",
        lambda: reg(formula="x2 ~ C(b)", learner="ols", n_rep=1).fit(FRAME, prediction={"b": "bs"}),
        ParameterError,
        r"A term makes categories from b, whose predictions are numbers\. Write a 0/1 column",
    ),
    (
        "negative counts",
        lambda: reg(model="poisson").fit(X, Y, prediction=S),
        DataError,
        r"model='poisson' needs outcomes >= 0, but 'y' has 12 negative values \(min -2.29.*row 3\)",
    ),
    (
        "negative weight",
        lambda: reg().fit(X, Y, prediction=S, sample_weight=at(np.ones(N), 2, -1)),
        DataError,
        r"sample_weight has 1 negative or infinite values \(first at row 2: -1\)",
    ),
    (
        "infinite weight",
        lambda: reg().fit(X, Y, prediction=S, sample_weight=at(np.ones(N), 2, np.inf)),
        DataError,
        "sample_weight has 1 negative or infinite",
    ),
    (
        "weights all zero",
        lambda: reg().fit(X, Y, prediction=S, sample_weight=np.zeros(N)),
        DataError,
        "sample_weight is zero for every row",
    ),
    (
        "weights zero in labelled rows",
        lambda: reg().fit(X, Y, prediction=S, sample_weight=1.0 - R),
        DataError,
        "sample_weight is zero in all 30 labelled rows",
    ),
    (
        "design stratified without strata",
        lambda: reg(design="stratified").fit(X, Y, prediction=S),
        RoleError,
        "design='stratified' needs strata=",
    ),
    (
        "stratum without label",
        lambda: reg(design="stratified").fit(X, Y, prediction=S, strata=1 - R),
        RoleError,
        "1 strata have no labelled row: 1. Label some rows there, or merge",
    ),
    (
        "prob_terms unknown",
        lambda: reg(prob_terms=["zz"]).fit(X, Y, prediction=S),
        ParameterError,
        r"prob_terms names 'zz', which is neither a column of the design \(\(Intercept\), x0, x1\)",
    ),
    (
        "prob_terms predicted",
        lambda: reg(formula="x2 ~ x1_known", prob_terms=["x1_known"]).fit(
            FRAME, prediction={"x1_known": "s"}
        ),
        ParameterError,
        "prob_terms names 'x1_known', which is not known for every row",
    ),
    (
        "prob_terms text",
        lambda: reg(prob_terms=["g"]).fit(X, Y, prediction=S, features=FRAME[["g"]]),
        DataError,
        "g must be numeric",
    ),
    (
        "prob_terms decide who is labelled",
        lambda: reg(prob_terms=["R"]).fit(X, Y, prediction=S, features=FRAME[["R"]]),
        DataError,
        "model of the labelling probabilities did not converge.*Use fewer terms",
    ),
)
def test_roles(call, error, match):
    refused(call, error, match)


# Formulas, frames and new rows.


@table(
    (
        "unknown column",
        lambda: reg(formula="y ~ x1 + zz").fit(FRAME, prediction="s"),
        ParameterError,
        r"names columns that are not in the frame: zz\. The frame has x1, x2",
    ),
    (
        "unknown function",
        lambda: reg(formula="y ~ foo(x1)").fit(FRAME, prediction="s"),
        ParameterError,
        "not in the frame: foo",
    ),
    *(
        (
            f"unreadable {formula}",
            lambda formula=formula: reg(formula=formula).fit(FRAME, prediction="s"),
            ParameterError,
            r"cannot be read: [^\x1b]*\. Write it as 'y ~ x1 \+ x2 \+ C\(group\)'",
        )
        for formula in ("y ~ x1 +* x2", "y ~ (x1", "y ~ x1 ~ x2", "y ~ x1 | x2", "y ~ .")
    ),
    (
        "two outcomes",
        lambda: reg(formula="y + c ~ x1").fit(FRAME, prediction="s"),
        ParameterError,
        r"left-hand side 'y \+ c' has 2 columns",
    ),
    (
        "no outcome",
        lambda: reg(formula="~ x1").fit(FRAME, prediction="s"),
        DataError,
        "requires y to be passed",
    ),
    (
        "outcome twice",
        lambda: reg(formula=FORMULA).fit(FRAME, "y", prediction="s"),
        RoleError,
        r"outcome is given twice: by y and by the formula \('y'\)",
    ),
    (
        "array",
        lambda: reg(formula=FORMULA).fit(X, prediction=S),
        DataError,
        "formula= needs a data frame",
    ),
    (
        "fit_intercept",
        lambda: reg(formula=FORMULA, fit_intercept=False).fit(FRAME, prediction="s"),
        ParameterError,
        "fit_intercept=False has no effect with a formula. Write '- 1'",
    ),
    (
        "logarithm of negative values",
        lambda: reg(formula="y ~ np.log(x1)").fit(FRAME, prediction="s"),
        DataError,
        r"The term 'np.log\(x1\)' has 28 values that are not finite \(first at used row 1\)",
    ),
    (
        "logarithm of a negative outcome",
        lambda: reg(formula="np.log(y) ~ x1").fit(FRAME, prediction="s"),
        DataError,
        r"outcome 'np.log\(y\)' is not finite in 12 rows whose columns are known .*row 3\)",
    ),
    (
        "logarithm of text",
        lambda: reg(formula="y ~ np.log(g)").fit(FRAME, prediction="s"),
        DataError,
        r"formula cannot be computed from the columns g \((str|object)\)",
    ),
    *(
        (
            f"stateful {term}",
            lambda term=term: reg(formula=f"x2 ~ {term}").fit(FRAME, prediction={"x1_known": "s"}),
            ParameterError,
            r"estimates a transformation from 'x1_known', which is known for .* I\(x / 10\)",
        )
        for term in ("center(x1_known)", "scale(x1_known)", "poly(x1_known, 2)")
    ),
    (
        "logarithm of a predicted covariate",
        lambda: reg(formula="x2 ~ np.log(z)").fit(FRAME, prediction={"z": "s"}),
        DataError,
        r"The term 'np.log\(z\)' is not finite in 28 rows when z is replaced by its prediction",
    ),
    ("X None", lambda: reg().fit(None, Y, prediction=S), DataError, "X=None. Pass the covariates"),
    (
        "X None, only names",
        lambda: mean().fit(None, "y", prediction="s"),
        DataError,
        "X is None and no other argument says how many rows",
    ),
    (
        "by unknown",
        lambda: mean(by="zz").fit(FRAME, "y", prediction="s"),
        RoleError,
        "by=zz is not a column of X. Its columns are x1",
    ),
    (
        "by with an array",
        lambda: mean(by="zz").fit(X, Y, prediction=S),
        DataError,
        "Groups by zz need a data frame",
    ),
    (
        "by missing",
        lambda: mean(by="g").fit(FRAME.assign(g=FRAME["g"].where(ROW != 5)), "y", prediction="s"),
        DataError,
        "Column 'g' has 1 missing values",
    ),
    (
        "by of mixed types",
        lambda: mean(by="g").fit(
            FRAME.assign(g=pd.Series(["a", 1] * 30, dtype=object)), "y", prediction="s"
        ),
        DataError,
        "by=g mixes types that cannot be ordered",
    ),
    (
        "predicted group",
        lambda: mean(by="b").fit(FRAME, "y", prediction={"y": "s", "b": "bs"}),
        ParameterError,
        r"prediction names 'b', but a mean \(by b\) has a predicted outcome only",
    ),
    (
        "mean of text",
        lambda: mean().fit(None, FRAME["g"].where(R == 1), prediction=S),
        DataError,
        r"surrogate of 'y' holds 60 values that no expert used .* classes are a, b, c",
    ),
    (
        "shares that do not add up",
        lambda: mean().fit(None, FRAME["g"].where(R == 1), prediction=np.full((N, 3), 0.5)),
        DataError,
        r"3 columns predicted for 'y' must be probabilities .* in 60 rows .*row 0: 1\.5",
    ),
)
def test_formulas_and_groups(call, error, match):
    refused(call, error, match)


def test_role_columns_are_no_covariates():
    with pytest.raises(DataError, match=r"X has no covariate.* or use DSLMean"):
        reg(learner="ols").fit(FRAME[["x1", "y", "s"]], "y", prediction="s", features=["x1"])


def test_prediction_keys():
    frame = FRAME[["x1", "s", "y"]].rename(columns={"y": "out"})
    with pytest.raises(RoleError, match="prediction names the outcome twice, as 'out' and as 'y'"):
        reg().fit(frame, "out", prediction={"out": "s", "y": S})
    renamed = frame.rename(columns={"x1": "y"})
    with pytest.raises(RoleError, match=r"means the outcome \('out'\), but a covariate"):
        reg().fit(renamed, "out", prediction={"out": "s", "y": S})
    series = pd.Series(Y, name="label")
    named = reg().fit(X, series, prediction={"label": S})
    assert_allclose(named.coef_, reg().fit(X, Y, prediction={"y": S}).coef_)


def test_transformed_outcome_and_passthrough():
    frame = FRAME.assign(ey=np.exp(FRAME["y"]))
    with pytest.raises(ParameterError, match=r"the surrogate for np\.log\(ey\) as it is, which is"):
        reg(formula="np.log(ey) ~ x1").fit(frame, prediction="s")


@pytest.mark.parametrize("kind", ["HC2", "HC3", "CR2"])
def test_leverage_corrections_need_the_rows(kind):
    est = reg(keep_influence=True).fit(X, Y, prediction=S)
    with pytest.raises(ParameterError, match=f"kind must be one of .*got '{kind}'"):
        est.refit_vcov(kind)


def test_new_rows():
    with_groups = reg(formula="y ~ x1 + g").fit(FRAME, prediction="s")
    refused(
        lambda: with_groups.predict(FRAME.assign(g=[f"new{i}" for i in ROW])),
        DataError,
        r"Categories not seen when the model was fitted: ('new\d+', ){5}\.\.\.\. Remove these rows",
    )
    refused(lambda: with_groups.predict(FRAME[["x1"]]), DataError, "X lacks the columns g")
    refused(lambda: with_groups.predict(X), DataError, "fitted on a frame with named columns")
    refused(
        lambda: with_groups.predict(FRAME.assign(x1=at(FRAME["x1"], 3, np.nan))),
        DataError,
        r"Column 'x1' has 1 missing values \(NaN\), first at row 3\. Predictions need",
    )
    assert with_groups.predict(FRAME[FRAME["g"] == "b"]).shape == (20,)
    plain = reg().fit(FRAME[["x1", "g", "y", "s"]], "y", prediction="s")
    refused(lambda: plain.predict(FRAME.assign(g="zz")), DataError, "not seen .*: 'zz'")
    with pytest.warns(OverlapWarning, match=r"no expert label informs g\[a\]:R\[0\]"):
        means = mean(by=["g", "R"]).fit(FRAME, "y", prediction="s")
    refused(lambda: means.predict(FRAME.assign(R=7)), DataError, r"Groups not seen .*\('a', 7\)")
    arrays = reg().fit(X, Y, prediction=S)
    with pytest.raises(ValueError, match="X contains NaN"):
        arrays.predict(at(X, (3, 1), np.nan))
    with pytest.raises(ValueError, match="X has 1 features, but DSLRegressor is expecting 2"):
        arrays.predict(X[:, :1])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        reg().predict(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        mean().summary()


# Folds and learners.


class _Broken(LinearRegression):
    def predict(self, X):
        return np.full(len(X), np.nan)


def folds(cv, n_rep=1, **roles):
    return lambda: reg(learner="ols", n_rep=n_rep, cv=cv).fit(X, Y, prediction=S, **roles)


ONCE = r"test parts of cv must hold every row exactly once; row \d+ is in \d of them"


@table(
    ("one fold only", folds(HALVES[:1]), ParameterError, ONCE),
    ("same fold twice", folds([*HALVES, HALVES[0]]), ParameterError, ONCE),
    ("no fold", folds([]), ParameterError, ONCE),
    ("random splits", folds(ShuffleSplit(3)), ParameterError, ONCE),
    (
        "tests on training rows",
        folds([(np.arange(35), HALVES[0][1]), HALVES[1]]),
        ParameterError,
        "tests on rows it trains on",
    ),
    (
        "test row too large",
        folds([(HALVES[0][0], np.arange(30, 61)), HALVES[1]]),
        ParameterError,
        "cv names row 60, but there are 60 rows",
    ),
    (
        "training row too large",
        folds([(np.arange(90, 99), HALVES[0][1]), HALVES[1]]),
        ParameterError,
        "cv names row 90, but there are 60 rows",
    ),
    (
        "negative training rows",
        folds([(-np.arange(1, 31), HALVES[0][1]), HALVES[1]]),
        ParameterError,
        "cv names row -1",
    ),
    (
        "positions not integers",
        folds([(HALVES[0][0] + 0.5, HALVES[0][1]), HALVES[1]]),
        ParameterError,
        r"cv must hold row positions \(integers\) or masks of 60 rows; got .* type float64",
    ),
    (
        "mask too long",
        folds([(np.arange(61) < 30, HALVES[0][1]), HALVES[1]]),
        ParameterError,
        r"masks of 60 rows; got an array of shape \(61,\)",
    ),
    ("numbers", folds([1, 2]), ParameterError, r"list of \(train, test\) pairs; it holds 1"),
    (
        "triples",
        folds([(np.arange(3), np.arange(3), np.arange(3))]),
        ParameterError,
        r"list of \(train, test\) pairs",
    ),
    (
        "one partition for three repetitions",
        folds(HALVES, n_rep=3),
        ParameterError,
        "cv holds 1 partitions but n_rep=3. Pass one list",
    ),
    (
        "list that splits clusters",
        folds(HALVES, clusters=ROW % 15),
        ParameterError,
        "trains and tests on rows of one cluster. Keep clusters together",
    ),
    (
        "classifier for numbers",
        lambda: reg(learner=LogisticRegression()).fit(X, Y, prediction=S),
        ParameterError,
        "LogisticRegression.* is a classifier, but 'y' is not 0/1 .* Use a regressor",
    ),
    (
        "learner='logit' for numbers",
        lambda: reg(learner="logit").fit(X, Y, prediction=S),
        ParameterError,
        "is a classifier, but 'y' is not 0/1",
    ),
    (
        "learner predicts NaN",
        lambda: reg(learner=_Broken(), n_rep=1).fit(X, Y, prediction=S),
        DataError,
        "The learner _Broken.* predicts values of 'y' that are not finite",
    ),
)
def test_folds_and_learners(call, error, match):
    refused(call, error, match)


def test_splitters():
    masks = [(np.isin(ROW, a), np.isin(ROW, b)) for a, b in HALVES]
    assert_allclose(folds(masks)().coef_, folds(HALVES)().coef_, rtol=EXACT)
    nested = folds([HALVES, masks], n_rep=2)()
    assert_allclose(nested.repeat_params_.iloc[0], nested.repeat_params_.iloc[1], rtol=EXACT)
    assert folds(KFold(3, shuffle=True), n_rep=2)().losses_["y"].shape == (2, 3)
    assert folds(GroupKFold(3), clusters=ROW // 4)().losses_["y"].shape == (1, 3)
    assert folds(100)().losses_["y"].shape == (1, N)
    with (
        pytest.warns(UserWarning, match="groups parameter is ignored"),
        pytest.raises(ParameterError, match="rows of one cluster"),
    ):
        folds(KFold(3, shuffle=True), clusters=ROW // 4)()
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        folds(GroupKFold(3))()
    with pytest.raises(ParameterError, match="random_state must be None, an int"):
        reg(learner="ols", random_state="a").fit(X, Y, prediction=S)


# Variances.


def fit_with(**options):
    roles = {k: options.pop(k) for k in ("psu", "clusters", "strata") if k in options}
    return lambda: reg(**options).fit(X, Y, prediction=S, **roles)


GROUPS = ROW // 4


@table(
    ("psu and clusters", fit_with(psu=GROUPS, clusters=GROUPS), RoleError, "psu replaces clusters"),
    ("psu and vcov", fit_with(psu=GROUPS, vcov="HC1"), RoleError, "psu replaces clusters and vcov"),
    (
        "CR without clusters",
        fit_with(vcov="CR1"),
        ParameterError,
        "vcov='CR1' and clusters=None do",
    ),
    (
        "HC with clusters",
        fit_with(vcov="HC1", clusters=GROUPS),
        ParameterError,
        "vcov='HC1' and clusters=given do not fit: CR0 and CR1 need clusters",
    ),
    (
        "finite with psu",
        fit_with(population="finite", psu=GROUPS),
        ParameterError,
        "population='finite' has its own variance.*Leave psu out",
    ),
    ("one psu", fit_with(psu=np.zeros(N)), DataError, "psu has 1 distinct values"),
    (
        "psu across strata",
        fit_with(psu=GROUPS, strata=ROW % 3),
        RoleError,
        r"15 psu lie in more than one of the strata \(first: 0\)\. Give units",
    ),
    (
        "one psu in each stratum",
        fit_with(psu=GROUPS, strata=GROUPS),
        DataError,
        "15 of 15 strata have a single psu",
    ),
    (
        "compare another estimator",
        lambda: compare_estimators(LinearRegression(), X, Y, prediction=S),
        ParameterError,
        "est must be a DSLRegressor, DSLClassifier, DSLMean or DSLMoment instance; got Linear",
    ),
    (
        "compare without surrogate",
        lambda: compare_estimators(reg(), X, Y),
        RoleError,
        "give at least one of prediction, features",
    ),
    (
        "refit_vcov without influence",
        lambda: fit_with()().refit_vcov("HC1"),
        ParameterError,
        "refit_vcov needs the influence of every row. Fit with keep_influence=True",
    ),
    (
        "refit_vcov CR without clusters",
        lambda: fit_with(keep_influence=True)().refit_vcov("CR1"),
        ParameterError,
        "kind='CR1' and clusters do not fit: pass clusters for CR",
    ),
    (
        "refit_vcov unknown",
        lambda: fit_with(keep_influence=True)().refit_vcov("HC9"),
        ParameterError,
        "kind must be one of .* got 'HC9'",
    ),
)
def test_variances(call, error, match):
    refused(call, error, match)


def test_design_variance_needs_scaled_probabilities():
    with pytest.warns(
        UserWarning, match=r"variance='design' does not hold .* variance='robust' is used"
    ):
        est = reg(normalize_prob=False, variance="design").fit(
            X, Y, prediction=S, sample_prob=FRAME["pi"]
        )
    plain = reg(normalize_prob=False).fit(X, Y, prediction=S, sample_prob=FRAME["pi"])
    assert_allclose(est.vcov_, plain.vcov_, rtol=EXACT)


def test_few_labels_for_tuning():
    with pytest.warns(UserWarning, match="tuning='scalar' is chosen from 30 labels"):
        reg(tuning="scalar").fit(X, Y, prediction=S)


def test_errors_are_builtin_errors_too():
    assert issubclass(CollinearityError, np.linalg.LinAlgError)
    assert issubclass(CollinearityError, IdentificationError)


def test_lazy_frames_must_be_collected():
    lazy = pl.from_pandas(SMALL).lazy()
    refused(lambda: reg().fit(lazy, "y", prediction="s"), DataError, r"lazy frame.*X\.collect\(\)")


@pytest.mark.parametrize("terms", [["x0", "x0"], ["(Intercept)"]])
@pytest.mark.parametrize("variance", ["robust", "design"])
def test_collinear_probability_terms(terms, variance):
    with pytest.raises(CollinearityError, match="prob_terms are collinear: column"):
        reg(prob_terms=terms, variance=variance).fit(X, Y, prediction=S)


def test_squares_that_overflow():
    with pytest.raises(DataError, match=r"The squares of x1 overflow\. Rescale the column"):
        reg().fit(X * [1.0, 1e200], Y, prediction=S)
