"""OrdinalClassifier against R: clm, polr, VGAM, ordinalNet; origin: tests/reference/presto."""

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from robuststat import OrdinalClassifier, brant_test, po_test
from robuststat.ordinal import anova

pytestmark = pytest.mark.reference

FOLDER = Path(__file__).parents[1] / "reference" / "presto"
SHARED = Path(__file__).parents[3] / "shared" / "reference" / "presto"
FAMILY = {
    "cumulative": "cumulative",
    "sratio": "stopping",
    "cratio": "continuation",
    "acat": "adjacent",
}


@cache
def peers(source=FOLDER / "expected_ordinal_peers.csv"):
    return pd.read_csv(source)


@cache
def table(case):
    return pd.read_csv(FOLDER / f"{case}.csv")


def stored(case, peer, frame=None):
    frame = peers() if frame is None else frame
    rows = frame[(frame["case"] == case) & (frame["peer"] == peer)]
    return {name: part.set_index("name")["value"] for name, part in rows.groupby("quantity")}


def cases(prefix):
    found = peers()[["case", "peer"]].drop_duplicates()
    found = found[found["peer"].str.startswith(prefix)]
    return [pytest.param(*pair, id="-".join(pair)) for pair in found.to_numpy().tolist()]


def fit(case, weighted=True, **options):
    frame = table(case)
    weights = frame["w"] if "w" in frame and weighted else None
    X = frame.drop(columns=["y", "w"], errors="ignore")
    with warnings.catch_warnings():
        # Non-parallel cumulative fits cross in some rows, as R's do.
        warnings.filterwarnings("ignore", message="Boundaries cross")
        return OrdinalClassifier(**options).fit(X, frame["y"], sample_weight=weights)


def in_order_of_clm(est):
    """Thresholds first, as clm prints them."""
    order = np.argsort([block != "thresholds" for block in est.result_.component], kind="stable")
    return est.result_.estimate[order], est.result_.std_error[order]


@pytest.mark.parametrize(("case", "peer"), cases("ordinal::clm"))
def test_clm(case, peer):
    words = dict(part.split("=", 1) for part in peer.split()[2:])
    options = {"link": words["link"]}
    plain = True
    if "threshold" in words or "scale" in words:
        plain = False  # stored without weights
        options["threshold"] = words.get("threshold", "flexible")
        options["scale"] = ["g2"] if "scale" in words else None
    if "nominal" in words:
        options["parallel"] = False
    est, expected = fit(case, plain, **options), stored(case, peer)
    tol = 1e-6
    if words["link"] == "cauchit":
        # clm stopped short of the optimum there (README of the reference numbers): ours is higher.
        tol = 5e-4
        assert est.loglik_ > expected["loglik"].iloc[0]
    assert_allclose(est.loglik_, expected["loglik"].iloc[0], rtol=tol)
    assert est.kkt_ < 1e-12
    if "nominal" in words:
        columns = list(est.feature_names_in_)
        for k in range(len(est.intercept_)):
            head = f"{k + 1}|{k + 2}"
            assert_allclose(est.intercept_[k], expected["coef"][f"{head}.(Intercept)"], rtol=tol)
            # clm adds nominal effects to the threshold.
            theirs = [-expected["coef"][f"{head}.{name}"] for name in columns]
            assert_allclose(est.coef_[k], theirs, rtol=tol)
            errors = [expected["se"][f"{head}.{name}"] for name in columns]
            block = np.array(est.result_.component) == f"location at {head}"
            assert_allclose(est.std_error_[block], errors, rtol=tol)
        return
    values, errors = in_order_of_clm(est)
    assert_allclose(values, expected["coef"].to_numpy(), rtol=tol, atol=tol)
    assert_allclose(errors, expected["se"].to_numpy(), rtol=tol)


@pytest.mark.parametrize(("case", "peer"), cases("VGAM"))
def test_vgam(case, peer):
    name = FAMILY[peer.split()[2]]
    options = {"family": name, "parallel": "FALSE" not in peer}
    partial = "partial" in peer
    if partial:
        options["parallel"] = ["age", "inc"]
    est, expected = fit(case, not partial, **options), stored(case, peer)
    assert_allclose(est.loglik_, expected["loglik"].iloc[0], rtol=1e-9)
    sign = 1.0 if name in ("cumulative", "stopping") else -1.0
    for k in range(len(est.intercept_)):
        coef = expected["coef"]
        assert_allclose(
            est.intercept_[k], sign * coef[f"(Intercept):{k + 1}"], rtol=1e-6, atol=1e-6
        )
        theirs = [coef.get(f"{c}:{k + 1}", coef.get(c)) for c in est.feature_names_in_]
        assert_allclose(est.coef_[k], -sign * np.array(theirs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("case", "peer"), cases("MASS"))
def test_polr(case, peer):
    est, expected = fit(case), stored(case, peer)
    assert_allclose(est.result_.estimate, expected["coef"].to_numpy(), rtol=1e-5, atol=1e-6)
    # polr's Hessian is numerical.
    assert_allclose(est.std_error_, expected["se"].to_numpy(), rtol=1e-4)


@pytest.mark.parametrize(("case", "peer"), cases("ordinalNet"))
def test_elastic_net(case, peer):
    words = dict(part.split("=", 1) for part in peer.split()[2:])
    name = FAMILY[words["family"]]
    form = {"semi": "semiparallel"}.get(words["form"], words["form"])
    est = fit(
        case,
        family=name,
        penalty="elasticnet",
        lam=float(words["lambda"]),
        l1_ratio=float(words["alpha"]),
        form=form,
    )
    assert est.kkt_ <= 1e-8
    coef = stored(case, peer)["coef"]
    sign = 1.0 if name in ("cumulative", "stopping") else -1.0
    for k in range(len(est.intercept_)):
        assert_allclose(est.intercept_[k], sign * coef[f"(Intercept):{k + 1}"], atol=1e-4)
        theirs = [coef.get(c, 0.0) + coef.get(f"{c}:{k + 1}", 0.0) for c in est.feature_names_in_]
        assert_allclose(est.coef_[k], -sign * np.array(theirs), atol=1e-4)


def test_brant():
    for expected in json.loads((FOLDER / "expected_brant.json").read_text()):
        frame = table(expected["case"])
        found = brant_test(frame.drop(columns="y"), frame["y"])
        assert_allclose(found.statistic, expected["omnibus"], rtol=1e-9)
        assert found.df == expected["df"]
        each = found.table.set_index("term")
        assert_allclose(
            each["statistic"], pd.Series(expected["per_variable"])[each.index], rtol=1e-9
        )
        assert (each["df"] == expected["df_each"]).all()


@pytest.mark.filterwarnings("ignore:Boundaries cross")
def test_nominal_likelihood_ratios():
    expected = pd.read_csv(FOLDER / "expected_nominal_lr.csv")
    for case, part in expected.groupby("case"):
        frame = table(case)
        found = po_test(frame.drop(columns="y"), frame["y"], kind="lr").table.set_index("term")
        part = part.set_index("variable")
        assert_allclose(found["statistic"], part["LRT"][found.index], rtol=1e-8)
        assert (found["df"] == part["df"][found.index]).all()


@pytest.mark.skipif(not SHARED.exists(), reason="R's GPL data sets are not in the repository")
def test_wine_and_housing():
    frame = pd.read_csv(SHARED / "data_wine.csv")
    everything = pd.read_csv(SHARED / "expected_R_peers.csv")
    for link in ("logit", "probit", "cloglog", "loglog", "cauchit"):
        est = OrdinalClassifier(link=link, formula="rating ~ temp + contact").fit(frame)
        expected = stored("data_wine", f"ordinal::clm 2022.11.16 link={link}", everything)
        values, errors = in_order_of_clm(est)
        tol = 5e-4 if link == "cauchit" else 1e-6
        assert_allclose(values, expected["coef"], rtol=tol)
        assert_allclose(errors, expected["se"], rtol=tol)
    free = OrdinalClassifier(
        parallel=["temp"], formula="rating ~ temp + contact", on_crossing="ignore"
    ).fit(frame)
    name = "ordinal::clm 2022.11.16 link=logit nominal=all"
    assert_allclose(free.loglik_, stored("data_wine", name, everything)["loglik"], rtol=1e-9)
    test = anova(OrdinalClassifier(formula="rating ~ temp + contact").fit(frame), free)
    assert test["df"].tolist()[1] == 3
    cells = pd.read_csv(SHARED / "data_housing.csv")
    wide = cells.pivot_table(index=["Infl", "Type", "Cont"], columns="Sat", values="Freq")
    counts = wide[["Low", "Medium", "High"]].reset_index()
    levels = {"Infl": ["Low", "Medium", "High"], "Cont": ["Low", "High"]}
    levels["Type"] = ["Tower", "Apartment", "Atrium", "Terrace"]
    for column, order in levels.items():
        counts[column] = pd.Categorical(counts[column], order)
    est = OrdinalClassifier().fit(counts, ["Low", "Medium", "High"])
    expected = stored("data_housing", "ordinal::clm 2022.11.16 link=logit", everything)
    assert est.result_.n_obs == 1681
    assert est.classes_.tolist() == ["Low", "Medium", "High"]
    ours = dict(zip(est.result_.names, est.result_.estimate, strict=True))
    assert_allclose(est.intercept_, expected["coef"][["Low|Medium", "Medium|High"]], rtol=1e-6)
    assert_allclose(ours["Infl[T.High]"], expected["coef"]["InflHigh"], rtol=1e-6)
    assert_allclose(ours["Type[T.Terrace]"], expected["coef"]["TypeTerrace"], rtol=1e-6)
