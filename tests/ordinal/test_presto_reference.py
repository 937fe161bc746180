"""PRESTO against stored optima: own runs to a violation of 1e-12, conic solver, the paper's code.

The objective is written down here once more, from coefficients on the raw scale, so that an error
in the solver's bookkeeping of scales and signs cannot hide.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from robuststat import PrestoClassifier, presto_path

FOLDER = Path(__file__).parents[1] / "reference" / "presto"
OPTIMA = json.loads((FOLDER / "expected_presto_optimum.json").read_text())
NONCROSSING = json.loads((FOLDER / "expected_presto_noncrossing.json").read_text())


@cache
def load(case):
    frame = pd.read_csv(FOLDER / f"{case}.csv")
    X = frame.drop(columns=[c for c in ("y", "w") if c in frame])
    return X, frame["y"], frame.get("w", None)


def fit_case(row, **options):
    X, y, w = load(row["case"])
    weighted = row.get("weights", row.get("weights_used"))
    est = PrestoClassifier(
        lam=row["lam"],
        l1_ratio=row.get("l1_ratio", 1.0),
        standardize=row.get("standardize", True),
        first_block_penalty=row.get("first_block_penalty_factor", 1.0),
        inference="none",
        **options,
    )
    est.fit(X, y, sample_weight=w if weighted else None)
    return est, X, y, (w.to_numpy() if weighted else np.ones(len(y)))


def objective(est, X, y, w, row):
    """Section 2.1 of the method, from raw coefficients."""
    values = X.to_numpy(float)
    mean = np.average(values, weights=w, axis=0)
    sd = np.sqrt(np.average((values - mean) ** 2, weights=w, axis=0))
    scale = sd if row.get("standardize", True) else np.ones_like(sd)
    psi = np.diff(-est.coef_ * scale, axis=0, prepend=0.0)
    v = np.ones_like(psi)
    v[0] = row.get("first_block_penalty_factor", 1.0)
    a = row.get("l1_ratio", 1.0)
    cdf = expit(est.intercept_ - values @ est.coef_.T)
    p = np.diff(cdf, axis=1, prepend=0.0, append=1.0)[np.arange(len(y)), y - 1]
    penalty = (v * (a * np.abs(psi) + 0.5 * (1 - a) * psi**2)).sum()
    return -np.average(np.log(p), weights=w) + row["lam"] * penalty


def expected_coef(row, names):
    listed = row.get("coef_rows", row.get("nonzero_rows"))
    q = len(row["intercepts"])
    return np.array([listed.get(name, [0.0] * q) for name in names]).T


@pytest.mark.parametrize("row", OPTIMA, ids=lambda r: f"{r['case'][4:10]}-{r['lam']:.3g}")
def test_optimum(row):
    est, X, y, w = fit_case(row, crossing="allow", tol=1e-9)
    value = objective(est, X, y, w, row)
    assert value <= row["objective"] + 1e-9
    assert est.kkt_ <= 1e-9
    wanted = expected_coef(row, list(X.columns))
    sd = X.to_numpy(float).std(axis=0)
    # The stored coefficients have the sign of P(y <= k) = F(a + x'b).
    np.testing.assert_allclose(-est.coef_ * sd, wanted * sd, atol=1e-5, rtol=0)
    np.testing.assert_allclose(est.intercept_, row["intercepts"], atol=1e-5, rtol=1e-5)
    total = w.sum()
    np.testing.assert_allclose(est.loglik_, row["loglik"], rtol=1e-8)
    assert np.count_nonzero(est.psi_) == row["n_nonzero_psi"]
    assert est.glance()["n_params"].item() == row["n_nonzero_psi"] + len(row["intercepts"])
    assert est.bic_ == pytest.approx(-2 * est.loglik_ + np.log(total) * est.df_)


@pytest.mark.parametrize("row", NONCROSSING, ids=lambda r: f"{r['crossing']}-{r['lam']:.3g}")
def test_optimum_without_crossing(row):
    est, X, y, w = fit_case(row, crossing=row["crossing"], tol=1e-9)
    value = objective(est, X, y, w, row)
    # The reference stopped at 1e-9 of a conic solver; the constraint is kept 1e-9 away from zero.
    assert value == pytest.approx(row["objective"], abs=1e-6)
    wanted = expected_coef(row, list(X.columns))
    sd = X.to_numpy(float).std(axis=0)
    np.testing.assert_allclose(-est.coef_ * sd, wanted * sd, atol=1e-3, rtol=0)
    smallest = np.diff(
        expit(est.intercept_ - X.to_numpy() @ est.coef_.T), axis=1, prepend=0.0, append=1.0
    ).min()
    if row["crossing"] == "allow":
        assert smallest == pytest.approx(row["min_class_probability_on_training_rows"], abs=1e-5)
        assert (est.crossing_.n_rows > 0) == (smallest < 0)
    else:
        assert smallest > 0.0
        assert est.crossing_.n_rows == 0


def test_papers_own_code_on_centred_columns():
    reference = pd.read_csv(FOLDER / "reference_code_centred_dense.csv")
    X, y, _ = load("sim_dense_n1000_p5_K3")
    centred = X - X.mean()
    for lam, rows in reference.groupby("lambda"):
        est = PrestoClassifier(lam=lam, crossing="allow", inference="none").fit(centred, y)
        values = rows.set_index("quantity")["value"].astype(float)
        assert est.loglik_ >= values["loglik"] - 1e-6
        thresholds = values[[n for n in values.index if n.startswith("(Intercept)")]]
        np.testing.assert_allclose(est.intercept_, thresholds, atol=1e-5)


def test_two_classes_are_the_lasso_logit_of_scikit_learn():
    X, y, _ = load("sim_dense_n1000_p5_K3")
    two = (y > 1).astype(int)
    Z = ((X - X.mean()) / X.std(ddof=0)).to_numpy()
    lam = 0.02
    est = PrestoClassifier(lam=lam, inference="none", tol=1e-10).fit(Z, two)
    # saga stops at its tolerance; C multiplies the sum of losses. Since 1.8 the choice has another
    # name.
    old = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 8)
    lasso = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
    peer = LogisticRegression(
        **lasso, C=1.0 / (lam * len(two)), solver="saga", tol=1e-10, max_iter=20_000
    ).fit(Z, two)
    np.testing.assert_allclose(est.coef_, peer.coef_, atol=1e-6)
    np.testing.assert_allclose(est.predict_proba(Z), peer.predict_proba(Z), atol=1e-6)
    assert "lasso logistic" in str(est.summary())


def test_path_is_the_same_as_single_fits_and_certified():
    X, y, _ = load("sim_sparse_n2500_p10_K4")
    path = presto_path(X, y, n_lambdas=8)
    assert (path.kkt <= 1e-8).all()
    top = next(r["lambda_max_l1"] for r in OPTIMA if r["case"] == "sim_sparse_n2500_p10_K4")
    assert path.lambdas[0] == pytest.approx(top, rel=1e-10)
    assert (path.psi[0] == 0).all()
    assert (path.psi[1] != 0).any()
    for i in (3, 7):
        one = PrestoClassifier(lam=float(path.lambdas[i]), inference="none").fit(X, y)
        np.testing.assert_allclose(one.coef_, path.coefs[i], atol=1e-6)
