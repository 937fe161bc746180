"""What PRESTO says when it cannot do what is asked: the argument, the value, what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from robuststat import CollinearityError, DataError, ParameterError, PrestoClassifier
from robuststat.ordinal import SeparationError
from robuststat.ordinal._response import read_response

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(200, 3))
Y = np.digitize(X[:, 0] + RNG.logistic(size=200), [0.0, 2.0])


def fit(X=X, y=Y, roles=None, **options):
    return PrestoClassifier(**({"lam": 0.01} | options)).fit(X, y, **(roles or {}))


OPTIONS = [
    ({"lam": -1.0}, "lam must be a finite number >= 0"),
    ({"lam": "best"}, r'"cv", "aic", "bic", "ebic"; got .best.'),
    ({"lam": True}, "lam must be"),
    ({"lam": np.nan}, "lam must be"),
    ({"l1_ratio": 1.5}, r"l1_ratio must be a number in \[0, 1\]; got 1.5"),
    ({"first_block_penalty": -0.1}, "first_block_penalty must be"),
    ({"penalty_factors": [1.0, -1.0, 1.0]}, "that of 'x1' is -1"),
    ({"penalty_factors": [1.0]}, "must hold 3 numbers"),
    ({"penalty_factors": {"zz": 1.0}}, "names 'zz', which is not a column"),
    ({"link": "log"}, "link must be one of 'logit'"),
    ({"crossing": "never"}, "crossing must be one of 'box', 'train', 'allow'"),
    ({"box": (np.zeros(2), np.ones(2))}, "3 numbers each"),
    ({"box": {"x9": (0, 1)}}, "box names 'x9'"),
    ({"box": {"x0": (1, 0)}}, r"box of 'x0' must be finite with low <= high; got \(1, 0\)"),
    ({"box_margin": -1.0}, "box_margin must be"),
    ({"rare_class": "middle"}, "rare_class must be one of 'last', 'first'"),
    ({"lam": "cv", "n_lambdas": 0}, "n_lambdas must be"),
    ({"lam": "cv", "lambda_min_ratio": 1.0}, "lambda_min_ratio must be"),
    ({"lam": "cv", "lambdas": [0.1, -0.1]}, "lambdas must be a list of finite numbers >= 0"),
    ({"lambdas": [0.1]}, "nothing to choose from lambdas"),
    ({"lam": "bic", "l1_ratio": 0.0}, "which ridge"),
    ({"lam": "cv", "cv": 1}, "cv must be"),
    ({"scoring": "auc"}, "scoring must be one of 'log_loss'"),
    ({"selection": "max"}, "selection must be one of 'min', '1se'"),
    ({"inference": "wald"}, "inference must be one of"),
    ({"vcov": "HC9"}, "vcov must be"),
    ({"vcov": "CR0"}, "pass clusters for CR0"),
    ({"on_crossing": "hope"}, "on_crossing must be one of"),
    ({"tol": 0.0}, "tol must be"),
    ({"max_iter": 0}, "max_iter must be"),
    ({"categories": "ab"}, "categories must be None or a list"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS)
def test_options(options, match):
    with pytest.raises(ParameterError, match=match):
        fit(**options)


OUTCOMES = [
    (np.zeros(200), "y has one class"),
    (np.array(["a", "b"] * 100), r"text without an order \('a', 'b'\). Pass categories="),
    (pd.Series(["a", "b"] * 100, dtype="category"), "text without an order"),
    (RNG.normal(size=200), r"200 different values .* at most 50"),
    (np.where(np.arange(200) == 7, np.nan, Y), "Column 'y' has 1 missing values .*first at row 7"),
    (np.where(np.arange(200) == 7, np.inf, Y), "infinity"),
    (Y[:50], "X has 200 rows, y has 50"),
    (pd.Categorical.from_codes(Y, ["a", "b", "c", "d"], ordered=True), "never takes 'd'"),
    (np.zeros((200, 3)), "All counts of .* are zero"),
    (np.full((200, 3), -1.0), r"600 counts that are negative .*row 0, class 1: -1"),
    (None, "requires y to be passed"),
]


@pytest.mark.parametrize(("y", "match"), OUTCOMES)
def test_outcomes(y, match):
    with pytest.raises(DataError, match=match):
        fit(y=y)


def broken(value, i=3, j=1):
    changed = X.copy()
    changed[i, j] = value
    return changed


ROLES = [
    (X, {"sample_weight": np.full(200, -1.0)}, "200 negative or infinite values"),
    (X, {"sample_weight": np.zeros(200)}, "sample_weight is zero for every row"),
    (X, {"sample_weight": np.ones(3)}, "sample_weight has 3 values but X has 200 rows"),
    (X, {"offset": np.ones(3)}, "offset has 3 values"),
    (X, {"offset": np.full(200, np.inf)}, "offset holds infinity"),
    (X, {"clusters": np.zeros(3)}, "clusters has 3 values"),
    (broken(np.nan), {}, "Column 'x1' has 1 missing values .*row 3"),
    (broken(np.inf), {}, "Column 'x1' of X holds infinity"),
    (sparse.csr_matrix(broken(np.nan)), {}, "NaN"),
]


@pytest.mark.parametrize(("rows", "roles", "match"), ROLES)
def test_rows_and_roles(rows, roles, match):
    with pytest.raises(ValueError, match=match):
        fit(rows, roles=roles)


def test_categories_and_levels():
    words = np.array(["lo", "mid", "hi"])[Y]
    est = fit(y=words, categories=["lo", "mid", "hi"])
    np.testing.assert_allclose(est.coef_, fit().coef_)
    with pytest.raises(DataError, match=r"holds 'mid', which categories=\['lo', 'hi'\]"):
        fit(y=words, categories=["lo", "hi"])
    with pytest.raises(DataError, match="names a class twice"):
        fit(y=words, categories=["lo", "lo", "hi"])
    declared = pd.Categorical.from_codes(Y, ["a", "b", "c", "d"], ordered=True)
    dropped = fit(y=declared, drop_empty=True)
    assert list(dropped.classes_) == ["a", "b", "c"]
    assert "never occur were left out: d" in str(dropped.summary())


def test_order_of_categories_is_kept_whatever_holds_them():
    polars = pytest.importorskip("polars")
    order = ["zero", "few", "many"]
    pandas = pd.Categorical.from_codes(Y, order, ordered=True)
    texts = np.array(order)[Y]
    enum = polars.Series("y", texts, dtype=polars.Enum(order))
    frame = polars.DataFrame({"a": X[:, 0], "y": enum})
    for rows, y in ((X, pandas), (X, pd.Series(pandas)), (X, enum), (frame, "y")):
        assert list(PrestoClassifier(lam=0.01).fit(rows, y).classes_) == order


def test_kinds_of_labels():
    assert fit(y=Y.astype(bool)).classes_.dtype == bool
    assert fit(y=Y / 2).classes_.tolist() == [0, 0.5, 1]
    assert fit(y=Y.astype(float)).classes_.dtype.kind == "i"
    found = read_response(Y, weights=np.where(Y == 1, 0.0, 2.0))
    assert found.classes.tolist() == [0, 2]
    assert found.counts.sum() == 2 * (Y != 1).sum()
    counts = pd.DataFrame({"no": [3, 0, 2], "yes": [1, 2, 0]})
    table = read_response(counts.to_numpy(), columns=tuple(counts))
    assert table.rows.tolist() == [0, 0, 1, 2]
    assert table.classes.tolist() == ["no", "yes"]
    with pytest.raises(DataError, match="categories has 3 entries but y has 2 columns"):
        read_response(counts.to_numpy(), categories=["a", "b", "c"])


def test_constant_column_is_said_and_kept_out():
    wide = np.column_stack([X, np.full(200, 5.0)])
    with pytest.warns(UserWarning, match="1 columns do not vary and get coefficient 0: x3"):
        est = fit(wide)
    assert (est.coef_[:, 3] == 0).all()
    assert est.converged_
    np.testing.assert_allclose(est.coef_[:, :3], fit().coef_, atol=1e-8)
    assert "x3" in str(est.summary())
    with (
        pytest.warns(UserWarning, match="do not vary"),
        pytest.raises(CollinearityError, match="not identified: column 'x3'"),
    ):
        fit(wide, lam=0.0)


def test_collinear_columns():
    twice = np.column_stack([X, X[:, 0] + X[:, 1]])
    with pytest.raises(CollinearityError, match=r"not identified: column 'x3' .*lam > 0"):
        fit(twice, lam=0.0)
    with pytest.raises(CollinearityError, match="not identified"):
        fit(twice, first_block_penalty=0.0)
    with pytest.warns(UserWarning, match="No standard errors: The information matrix is singular"):
        est = fit(twice)
    assert est.kkt_ < 1e-8
    assert est.tidy()["std_error"].isna().all()


@pytest.mark.parametrize("standardize", [True, False])
def test_separation_is_named_instead_of_huge_coefficients(standardize):
    split = np.column_stack([X, np.where(Y == 2, 1.0, 0.0) + 0.1 * X[:, 1]])
    with pytest.raises(SeparationError, match=r"x3[\s\S]*positive lam"):
        fit(split, lam=0.0, crossing="allow", standardize=standardize)
    with pytest.raises(SeparationError, match="x3"):
        fit(10.0 * np.column_stack([X, Y + 0.1 * X[:, 1]]), first_block_penalty=0.0)
    assert np.abs(fit(split, lam=0.001, inference="none").coef_).max() < 100


def test_too_many_parameters_for_variances(monkeypatch):
    from robuststat.ordinal import _presto

    monkeypatch.setattr(_presto, "MAX_PARAMETERS", 5)
    with pytest.warns(UserWarning, match="8 parameters; variances are computed up to 5"):
        assert fit().debiased_ is None


def test_cross_validation_needs_every_class():
    rare = Y.copy()
    rare[rare == 2] = 1
    rare[0] = 2
    with pytest.raises(DataError, match=r"Class number 3 has 1 row; .*at least 2"):
        fit(y=rare, lam="cv")
    first = np.argsort(Y == 2, kind="stable")
    halves = [(first[:100], first[100:]), (first[100:], first[:100])]
    with pytest.raises(DataError, match="training part of fold 1 has no row of class number 3"):
        fit(lam="cv", cv=halves)


def test_prediction_refuses_other_columns():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    est = fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="2 features"):
        fit().predict(X[:, :2])
    with pytest.raises(ValueError, match="contains NaN"):
        fit().predict(broken(np.nan))
    with pytest.raises(DataError, match=r"offset must be 200 finite numbers"):
        fit().predict_proba(X, offset=np.ones(2))
    with pytest.raises(ParameterError, match="level must lie strictly between 0 and 1"):
        fit().predict_rare(X, return_ci=True, level=2)
    with pytest.raises(ParameterError, match="scores must hold 3 numbers"):
        fit().predict_expected(X, scores=[1])
    with pytest.raises(ParameterError, match="Odds ratios belong to link='logit'"):
        fit(link="probit").odds_ratios()


def test_frame_input_is_left_alone_and_float32_is_read():
    single = X.astype(np.float32)
    np.testing.assert_allclose(fit(single).coef_, fit().coef_, atol=1e-6)
    before = X.copy()
    fit()
    np.testing.assert_array_equal(before, X)
