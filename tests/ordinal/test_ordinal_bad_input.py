"""What OrdinalClassifier refuses, and in which words (section 5 of the specification)."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from robuststat import OrdinalClassifier, SeparationError
from robuststat._core.errors import CollinearityError, ConvergenceWarning, DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 2))
Y = np.digitize(X[:, 0] + RNG.logistic(size=200), [-1.0, 1.0])
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(y=Y)


def refused(match, y=Y, data=X, roles=None, error=ValueError, **options):
    with pytest.raises(error, match=match):
        OrdinalClassifier(**options).fit(data, y, **(roles or {}))


def test_one_class():
    refused("y has one class", np.ones(200))


def test_two_classes_work():
    est = OrdinalClassifier().fit(X, Y > 1)
    assert est.coef_.shape == (1, 2)
    assert est.decision_function(X).shape == (200,)


def test_empty_declared_class():
    levels = pd.Categorical(Y, categories=[0, 1, 7, 2], ordered=True)
    refused("never takes 7", levels)
    est = OrdinalClassifier(drop_empty=True).fit(X, levels)
    assert est.classes_.tolist() == [0, 1, 2]


def test_text_needs_an_order():
    text = np.array(["low", "mid", "high"])[Y]
    refused(r"text without an order .*categories=", text)
    est = OrdinalClassifier(categories=["low", "mid", "high"]).fit(X, text)
    assert est.result_.names[-2:] == ("low|mid", "mid|high")
    assert_allclose(est.coef_, OrdinalClassifier().fit(X, Y).coef_)


def test_measurements_are_no_classes():
    refused("continuous", RNG.normal(size=200))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_and_infinite_values(bad):
    broken = X.copy()
    broken[3, 1] = bad
    refused("'?x1'?|NaN|inf", data=broken)
    y = Y.astype(float)
    y[5] = bad
    refused("NaN|missing|infinity", y)
    if np.isnan(bad):
        with pytest.warns(UserWarning, match="1 of 200 rows dropped"):
            assert OrdinalClassifier(missing="drop").fit(broken, Y).result_.n_obs == 199


@pytest.mark.parametrize(
    ("weights", "match"),
    [(-np.ones(200), "negative"), (np.zeros(200), "zero for every row"), (np.ones(3), "3 values")],
)
def test_weights(weights, match):
    refused(match, roles={"sample_weight": weights})


def test_weights_of_zero_are_no_rows():
    w = (np.arange(200) < 150).astype(float)
    est = OrdinalClassifier(vcov="HC0").fit(X, Y, sample_weight=w)
    other = OrdinalClassifier(vcov="HC0").fit(X[:150], Y[:150])
    assert_allclose(est.vcov_, other.vcov_, rtol=1e-9)
    assert est.result_.n_obs == 150


def test_collinear_columns_are_named():
    doubled = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    refused(
        "not identified.*column 'x2' is a linear combination", data=doubled, error=CollinearityError
    )
    # The thresholds stand for a constant: a full set of dummies depends on them.
    dummies = np.eye(3)[np.arange(200) % 3]
    refused("not identified", data=dummies, error=CollinearityError)


def test_more_columns_than_rows():
    refused("not identified", data=RNG.normal(size=(200, 250)), error=CollinearityError)


@pytest.mark.parametrize("family", ["cumulative", "stopping", "continuation", "adjacent"])
@pytest.mark.parametrize("reverse", [False, True])
def test_separation_is_refused(family, reverse):
    x = np.sort(RNG.normal(size=(60, 1)), axis=0)
    y = np.repeat([0, 1, 2], 20)
    refused(
        "Complete separation by the column x0.*PrestoClassifier",
        y,
        x,
        family=family,
        reverse=reverse,
        error=SeparationError,
    )
    est = OrdinalClassifier(family, reverse=reverse, penalty="elasticnet", lam=0.01).fit(x, y)
    assert np.abs(est.coef_).max() < 100


def test_quasi_separation_by_a_dummy():
    dummy = (np.arange(200) < 6).astype(float)
    y = np.where(dummy == 1, 2, Y)
    refused(
        "Quasi-complete separation by the column x2",
        y,
        np.column_stack([X, dummy]),
        error=SeparationError,
    )


def test_no_convergence_is_said():
    with pytest.warns(ConvergenceWarning, match="no convergence in 2 iterations"):
        est = OrdinalClassifier(max_iter=2).fit(X, Y)
    assert not est.converged_
    assert "NOT CONVERGED" in str(est.summary())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"family": "acat"}, "family must be one of"),
        ({"link": "log"}, "link must be one of"),
        ({"parallel": "x0"}, "parallel must be True or False or a list of column names"),
        ({"parallel": ["z"]}, "parallel names 'z', which is not a column"),
        ({"threshold": "fixed"}, "threshold must be one of"),
        ({"threshold": "symmetric", "parallel": False}, "needs parallel=True"),
        ({"scale": ["z"]}, "scale names 'z'"),
        ({"scale": ["x0"], "family": "adjacent"}, "belong to family='cumulative'"),
        ({"penalty": "lasso"}, "penalty must be"),
        ({"lam": -1.0}, "lam must be a number"),
        ({"l1_ratio": 1.5}, "l1_ratio must be"),
        ({"rho": -1.0}, "rho must be"),
        ({"form": "fused"}, "form must be"),
        ({"penalty": "elasticnet", "parallel": False}, "instead of parallel="),
        ({"penalty": "elasticnet", "threshold": "symmetric"}, "threshold cannot be combined"),
        ({"penalty": "elasticnet", "scale": ["x0"]}, "scale cannot be combined"),
        ({"vcov": "HC3"}, "vcov must be"),
        ({"vcov": "CR0"}, "'CR0' and clusters do not fit"),
        ({"tau": [0.5, 0.5]}, "must hold 3 positive shares"),
        ({"tau": [0.5, 0.5, 0.5]}, "add up to 1"),
        ({"tau": {0: 0.5, 1: 0.5}}, r"absent: \[2\]"),
        ({"tau": [0.2, 0.3, 0.5], "vcov": "hessian"}, "wrong for classes sampled"),
        ({"tau": [0.2, 0.3, 0.5], "correction": "prior"}, "family='adjacent'"),
        ({"on_crossing": "hide"}, "on_crossing must be"),
        ({"formula": "y ~ a - 1"}, "no intercept"),
    ],
)
def test_options(options, match):
    if "formula" in options:
        refused(match, None, FRAME, **options)
    else:
        refused(match, **options)


def test_clusters_need_their_variance():
    groups = np.arange(200) // 10
    refused("do not fit", roles={"clusters": groups}, vcov="HC1")
    assert OrdinalClassifier().fit(X, Y, clusters=groups).result_.vcov_type == "CR0"


def test_offset_moves_towards_lower_classes():
    est = OrdinalClassifier().fit(X, Y)
    p, q = (est.predict_cumulative(X, offset=np.full(200, v)) for v in (0.0, 1.0))
    assert (q > p).all()
    refused("offset has 3 values", roles={"offset": np.zeros(3)})
    with pytest.raises(DataError, match="200 finite numbers"):
        est.predict(X, offset=np.zeros(3))


def test_other_columns_at_predict():
    est = OrdinalClassifier().fit(FRAME[["a", "b"]], Y)
    with pytest.raises(ValueError, match="feature names"):
        est.predict(FRAME[["b", "a"]].rename(columns={"b": "z"}))


def test_single_precision_and_penalised_without_variance():
    est = OrdinalClassifier().fit(X.astype(np.float32), Y)
    assert_allclose(est.coef_, OrdinalClassifier().fit(X, Y).coef_, rtol=1e-4)
    wide = RNG.normal(size=(60, 70))
    refused("standard errors need", Y[:60], wide, penalty="elasticnet", lam=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.arange(50) % 3}, "y has 50|50 values"),
        ({"sample_weight": np.ones(3)}, "sample_weight has 3"),
        ({"sample_weight": np.full(300, -1.0)}, "sample_weight must be finite, >= 0"),
        ({"y": np.r_[np.nan, np.arange(299) % 3]}, "1 missing values"),
    ],
)
def test_score_names_what_does_not_fit(change, message):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = np.digitize(x[:, 0] + rng.logistic(size=300), [-1.0, 1.0])
    est = OrdinalClassifier().fit(x, y)
    with pytest.raises(ValueError, match=message):
        est.score(x, **({"y": y} | change))
    # A part of the data need not hold every class.
    assert np.isfinite(est.score(x[y == 1], y[y == 1]))


def test_form_counts_without_a_penalty_weight():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = np.digitize(x[:, 0] + rng.logistic(size=300), [-1.0, 1.0])
    options = {"penalty": "elasticnet", "form": "nonparallel", "tol": 1e-10}
    none, hardly = (OrdinalClassifier(lam=lam, **options).fit(x, y) for lam in (0.0, 1e-9))
    np.testing.assert_allclose(none.coef_, hardly.coef_, atol=1e-5)
    assert np.ptp(none.coef_[:, 1]) > 1e-3


def test_failed_fit_is_no_fit():
    x = np.random.default_rng(0).normal(size=(60, 1))
    est = OrdinalClassifier()
    with pytest.raises(ValueError, match=r"combination|collinear"):
        est.fit(np.hstack([x, 2 * x]), np.arange(60) % 3)
    with pytest.raises(NotFittedError):
        est.predict_proba(np.hstack([x, x]))
