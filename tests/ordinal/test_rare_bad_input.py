"""Rare events: bad data and options get an error that names them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from robuststat import CollinearityError, DataError, ParameterError, RareEventClassifier

X = np.random.default_rng(0).normal(size=(40, 2))
Y = (np.arange(40) % 4 == 0).astype(int)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros(40), "y has one class"),
        (np.arange(40) % 3, "y has 3 classes; RareEventClassifier takes two"),
        (np.linspace(0, 1, 40), "has 40 classes; RareEventClassifier takes two"),
        (np.where(np.arange(40) == 3, np.nan, Y), "NaN"),
        (np.where(np.arange(40) == 3, np.inf, Y), "infinity"),
        (Y[:39], "inconsistent numbers of samples"),
    ],
)
def test_outcome(y: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RareEventClassifier().fit(X, y)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.where(np.arange(40) == 3, -1.0, 1.0), "negative"),
        (np.zeros(40), "sample_weight is zero for every row"),
        (np.ones(39), "sample_weight"),
        (np.where(Y == 1, 0.0, 1.0), "y has one class"),
    ],
)
def test_weights(weights: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RareEventClassifier().fit(X, Y, sample_weight=weights)


@pytest.mark.parametrize("method", ["firth", "ml", "king_zeng"])
def test_collinear_and_constant_columns_are_named(method: str) -> None:
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(c=lambda d: d.a - d.b)
    with pytest.raises(CollinearityError, match="column 'c' is a linear combination"):
        RareEventClassifier(method).fit(frame, Y)
    with pytest.raises(CollinearityError, match="'k'"):
        RareEventClassifier(method).fit(frame[["a"]].assign(k=2.0), Y)
    with pytest.raises(CollinearityError, match="rank"):
        RareEventClassifier(method).fit(np.random.default_rng(1).normal(size=(10, 12)), Y[:10])


def test_missing_covariates_name_the_column() -> None:
    frame = pd.DataFrame(X, columns=["a", "b"])
    frame.loc[2, "b"] = np.nan
    with pytest.raises(DataError, match="'b'"):
        RareEventClassifier().fit(frame, Y)


def test_predict_with_other_columns() -> None:
    fit = RareEventClassifier().fit(pd.DataFrame(X, columns=["a", "b"]), Y)
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(pd.DataFrame(X, columns=["b", "a"]))
    with pytest.raises(ValueError, match="features"):
        RareEventClassifier().fit(X, Y).predict_rare(X[:, :1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "lasso"}, "method must be one of 'firth'"),
        ({"tau": 1.0}, r"tau must be None or a number in \(0"),
        ({"tau": 5}, "tau must be"),
        ({"correction": "weighting"}, "needs tau="),
        ({"correction": "weighting", "tau": 0.1}, "does not go with method='firth'"),
        ({"flic": True}, "flic must be one of False, 'flic', 'flac'"),
        ({"flic": "flic", "method": "ml"}, "corrects method='firth'"),
        ({"prior_df": 0.0}, "prior_df must be"),
        ({"prior_df": 2.0}, "belongs to method='logf'"),
        ({"vcov": "HC3"}, "vcov must be"),
        ({"vcov": "CR0"}, "clusters do not fit together"),
        ({"intervals": "profile", "method": "king_zeng"}, "maximises no likelihood"),
        ({"intervals": "profile", "vcov": "HC0"}, "do not go with a robust variance"),
        (
            {"method": "ml", "intervals": "profile", "tau": 0.1, "correction": "weighting"},
            "do not go with a robust variance",
        ),
        ({"tol": 0.0}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be"),
    ],
)
def test_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        RareEventClassifier(**options).fit(X, Y)


def test_clusters_that_do_not_fit() -> None:
    groups = np.arange(40) // 4
    with pytest.raises(ParameterError, match="clusters do not fit"):
        RareEventClassifier(vcov="HC0").fit(X, Y, clusters=groups)
    with pytest.raises(ParameterError, match="leave clusters out"):
        RareEventClassifier(intervals="profile").fit(X, Y, clusters=groups)


def test_new_outcome_of_another_class() -> None:
    fit = RareEventClassifier().fit(X, Y)
    with pytest.raises(DataError, match="holds 2, which is none of the classes"):
        fit.calibration(X, np.full(40, 2))
