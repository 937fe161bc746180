"""Units from documents: exact expectations, the document-level twin, designs with known truth."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

from robuststat import DSLRegressor, aggregate_units
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat.simulation import monte_carlo

ROUNDING = 1e-10  # the same sums in another order


def make_documents(rng, n_units=200, prob="equal", whole=False):
    """Documents of units whose share depends on x; machine labels lean towards one."""
    x = rng.normal(size=n_units)
    number = rng.integers(3, 25, n_units)
    who = np.repeat(np.arange(n_units), number)
    chance = 1 / (1 + np.exp(-(0.2 + 0.7 * x + rng.normal(size=n_units))))
    gold = (rng.random(who.size) < chance[who]).astype(float)
    machine = np.where(rng.random(who.size) < 0.8, gold, rng.random(who.size) < 0.7)
    pi = np.full(who.size, 0.15) if prob == "equal" else np.where(machine == 1, 0.3, 0.08)
    if whole:
        pi = np.where(x > 0, 0.35, 0.2)[who]
        labeled = (rng.random(n_units) < np.where(x > 0, 0.35, 0.2))[who]
    else:
        labeled = rng.random(who.size) < pi
    if prob == "two-stage":
        pi = np.full(who.size, 0.5 * 0.3)
        labeled = (rng.random(n_units) < 0.5)[who] & (rng.random(who.size) < 0.3)
    frame = pd.DataFrame({"who": who, "x": x[who], "machine": machine.astype(float), "pi": pi})
    frame["y"] = np.where(labeled, gold, np.nan)
    return frame, gold


def by_hand(frame, g="machine", weight=None):
    """Table of units written with groupby."""
    a = np.ones(len(frame)) if weight is None else frame[weight]
    gap = (frame["y"] - frame[g]).fillna(0.0) / frame["pi"]
    parts = pd.DataFrame(
        {
            "who": frame["who"],
            "a": a,
            "pseudo": a * (frame[g] + gap),
            "noise": a**2 * (1 - frame["pi"]) * gap**2,
            "g": a * frame[g],
        }
    )
    sums = parts.groupby("who").sum()
    return pd.DataFrame(
        {
            "y": sums["pseudo"] / sums["a"],
            "noise": np.sqrt(sums["noise"]) / sums["a"],
            "machine": sums["g"] / sums["a"],
        }
    )


def ols_hc0(x, y):
    X = np.column_stack([np.ones(len(x)), x])
    bread = np.linalg.inv(X.T @ X)
    y = np.asarray(y)
    beta = bread @ X.T @ y
    scores = X * (y - X @ beta)[:, None]
    return beta, np.sqrt(np.diag(bread @ scores.T @ scores @ bread))


@pytest.mark.parametrize("weight", [None, "a"])
def test_table_is_that_of_groupby(weight):
    rng = np.random.default_rng(0)
    frame, _ = make_documents(rng, prob="unequal")
    frame["a"] = rng.integers(1, 4, len(frame))
    shuffled = frame.sample(frac=1, random_state=1)
    arguments = {"unit": "who", "prediction": ["machine"], "sample_prob": "pi"}
    arguments |= {"covariates": ["x"], "sample_weight": weight}
    units = aggregate_units(shuffled, "y", **arguments)
    expected = by_hand(frame, weight=weight)
    for name in expected:
        assert_allclose(units.table[name], expected[name], rtol=ROUNDING, atol=1e-12)
    assert (units.table["n_documents"] == frame.groupby("who").size()).all()
    assert (units.table["n_labeled"] == frame.groupby("who")["y"].count()).all()
    assert_allclose(units.table["x"], frame.groupby("who")["x"].first())
    assert_allclose(shuffled.groupby("who").size().size, units.weights.sum())
    other = aggregate_units(pl.from_pandas(shuffled), "y", **arguments)
    pd.testing.assert_frame_equal(other.table, units.table, check_dtype=False)


def test_label_and_noise_are_unbiased_for_every_unit():
    """Over all 2^6 labellings, one of them without any label."""
    gold = np.array([1, 0, 3, 2, 5, 1.0])
    frame = pd.DataFrame({"who": list("aaabbb"), "s": [1, 1, 2, 2, 2, 2.0]})
    frame["pi"] = [0.2, 0.5, 0.9, 0.3, 0.3, 0.6]
    found, chances = [], []
    for labels in itertools.product([True, False], repeat=6):
        flags = np.array(labels)
        if not flags.any():
            continue  # contributes the surrogate mean; added below
        frame["y"] = np.where(flags, gold, np.nan)
        units = aggregate_units(frame, "y", unit="who", prediction="s", sample_prob="pi")
        found.append(units.table[["y", "noise"]].to_numpy())
        chances.append(np.where(flags, frame["pi"], 1 - frame["pi"]).prod())
    none = np.column_stack([frame.groupby("who")["s"].mean(), np.zeros(2)])
    values = np.array([*found, none])
    chance = np.array([*chances, (1 - frame["pi"]).prod()])
    assert_allclose(chance.sum(), 1.0)
    mean = np.tensordot(chance, values[:, :, 0], 1)
    assert_allclose(mean, [gold[:3].mean(), gold[3:].mean()], rtol=ROUNDING)
    variance = np.tensordot(chance, (values[:, :, 0] - mean) ** 2, 1)
    assert_allclose(np.tensordot(chance, values[:, :, 1] ** 2, 1), variance, rtol=ROUNDING)


@pytest.mark.parametrize("weight", [None, "a"])
def test_regression_of_units_is_that_of_weighted_documents(weight):
    rng = np.random.default_rng(2)
    frame, _ = make_documents(rng, prob="unequal")
    frame["a"] = rng.integers(1, 4, len(frame))
    units = aggregate_units(
        frame,
        "y",
        unit="who",
        prediction="machine",
        sample_prob="pi",
        covariates=["x"],
        sample_weight=weight,
    )
    beta, error = ols_hc0(units.table["x"], units.table["y"])
    est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
    est.fit(
        frame[["x"]],
        frame["y"],
        prediction=frame["machine"],
        sample_prob=frame["pi"],
        sample_weight=units.weights,
        clusters=frame["who"],
    )
    assert_allclose(est.result_.estimate, beta, rtol=1e-8)
    assert_allclose(est.result_.std_error, error, rtol=1e-8)


def test_probability_is_the_share_labelled_by_default():
    frame, _ = make_documents(np.random.default_rng(3))
    share = frame["y"].notna().mean()
    one = aggregate_units(frame, "y", unit="who", prediction="machine")
    two = aggregate_units(
        frame.assign(pi=share), "y", unit="who", prediction="machine", sample_prob="pi"
    )
    pd.testing.assert_frame_equal(one.table, two.table)


def test_whole_units_are_an_ordinary_labelled_sample():
    frame, gold = make_documents(np.random.default_rng(4), whole=True)
    units = aggregate_units(
        frame,
        "y",
        unit="who",
        prediction="machine",
        sample_prob="pi",
        covariates="x",
        drawn="units",
    )
    truth = pd.Series(gold).groupby(frame["who"]).mean()
    labeled = frame.groupby("who")["y"].count().to_numpy() > 0
    assert_allclose(units.table["y"][labeled], truth[labeled])
    assert units.table["y"][~labeled].isna().all()
    assert_allclose(units.table["sample_prob"], frame.groupby("who")["pi"].first())
    assert units.reliability == 1
    est = DSLRegressor(formula="y ~ x", learner="ols", n_rep=1, random_state=0)
    est.fit(units.table, prediction="machine", sample_prob="sample_prob")
    assert est.n_labeled_ == labeled.sum()
    assert "exact for units" in str(units)


def test_default_probability_of_whole_units_counts_units():
    frame, _ = make_documents(np.random.default_rng(6), whole=True)
    arguments = {"unit": "who", "prediction": "machine", "drawn": "units"}
    units = aggregate_units(frame, "y", **arguments)
    share = (frame.groupby("who")["y"].count() > 0).mean()
    assert_allclose(units.table["sample_prob"], share)
    assert abs(share - frame["y"].notna().mean()) > 1e-3


def test_words_and_reliability():
    frame, gold = make_documents(np.random.default_rng(5), n_units=4000)
    units = aggregate_units(frame, "y", unit="who", prediction="machine", sample_prob="pi")
    truth = pd.Series(gold).groupby(frame["who"]).mean()
    slope = np.cov(truth, units.table["y"])[0, 1] / units.table["y"].var()
    assert abs(slope - units.reliability) < 0.03
    text = str(units)
    assert f"shrink to about {units.reliability:.2f}" in text
    assert "Units: 4,000" in text
    assert "Units by the mean of y" in units._repr_html_()


def recipe(frame):
    """Mean of the labelled documents for the truth, with probability 1 - prod(1 - pi)."""
    groups = frame.groupby("who")
    table = groups[["x", "machine"]].mean()
    table["y"] = groups["y"].mean()
    table["prob"] = 1 - np.exp(np.log1p(-frame["pi"]).groupby(frame["who"]).sum())
    w = table["y"].notna() / table["prob"]
    table["used"] = table["machine"] + w * (table["y"].fillna(0) - table["machine"])
    return table


@pytest.mark.slow
@pytest.mark.parametrize("prob", ["equal", "unequal", "two-stage"])
def test_units_as_outcome_cover_and_the_recipe_does_not(prob):
    def design(random_state):
        rng = np.random.default_rng(random_state)
        frame, _ = make_documents(rng, prob=prob)
        return {"frame": frame, "x": frame.groupby("who")["x"].first().to_numpy()}

    big, gold = make_documents(np.random.default_rng(99), n_units=400_000)
    mean = pd.Series(gold).groupby(big["who"]).mean()
    truth, _ = ols_hc0(big.groupby("who")["x"].first(), mean)

    def own(draw):
        units = aggregate_units(
            draw["frame"], "y", unit="who", prediction="machine", sample_prob="pi"
        )
        return ols_hc0(draw["x"], units.table["y"])

    def naive(draw):
        return ols_hc0(draw["x"], recipe(draw["frame"])["used"])

    table = monte_carlo(
        design, {"own": own, "recipe": naive}, 400, truth=truth, random_state=1
    ).table.set_index("estimator")
    ours, theirs = table.loc["own"], table.loc["recipe"]
    assert (ours["bias"].abs() < 3.5 * ours["bias_mcse"]).all()
    assert ((ours["se_ratio"] - 1).abs() < 3.5 * ours["se_ratio_mcse"] + 0.02).all()
    assert (ours["coverage"] > 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 400) - 0.01).all()
    if prob == "equal":
        # Valid as an outcome, but a noisy mean of few labels counts like the truth.
        assert (theirs["bias"].abs() < 3.5 * theirs["bias_mcse"]).all()
        assert (theirs["sd"].to_numpy() > 1.15 * ours["sd"].to_numpy()).all()
    elif prob == "unequal":
        assert theirs["bias"].iloc[0] > 0.1
        assert theirs["coverage"].iloc[0] < 0.05


@pytest.mark.slow
def test_share_as_covariate_needs_whole_units():
    """Slope 2 of an outcome on the share: whole units are right, noisy shares shrink it."""

    def design(random_state, whole=True):
        rng = np.random.default_rng(random_state)
        frame, gold = make_documents(rng, n_units=400, whole=whole)
        share = pd.Series(gold).groupby(frame["who"]).mean().to_numpy()
        return {"frame": frame, "z": 1 + 2 * share + 0.3 * rng.normal(size=400)}

    def whole_units(draw):
        units = aggregate_units(
            draw["frame"],
            "y",
            unit="who",
            prediction="machine",
            sample_prob="pi",
            drawn="units",
        )
        est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
        est.fit(
            units.table[["y"]].rename(columns={"y": "share"}),
            draw["z"],
            prediction={"share": units.table[["machine"]]},
            sample_prob=units.table["sample_prob"],
        )
        return est.result_.estimate[1:], est.result_.std_error[1:]

    line = monte_carlo(design, whole_units, 400, truth=[2.0], random_state=2).table.iloc[0]
    assert abs(line["bias"]) < 3.5 * line["bias_mcse"]
    assert abs(line["coverage"] - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / 400) + 0.01
    shrunk = []
    for seed in range(20):
        draw = design(seed, whole=False)
        units = aggregate_units(
            draw["frame"], "y", unit="who", prediction="machine", sample_prob="pi"
        )
        slope = np.polyfit(units.table["y"], draw["z"], 1)[0]
        shrunk.append((slope, 2 * units.reliability))
        table = recipe(draw["frame"]).dropna()
        assert np.polyfit(table["y"], draw["z"][table.index], 1)[0] < 1.8
    assert np.mean([slope for slope, _ in shrunk]) < 1.6
    assert_allclose(*np.mean(shrunk, axis=0), rtol=0.05)


FRAME = pd.DataFrame(
    {
        "who": list("aabb"),
        "y": [1, np.nan, np.nan, 0],
        "s": [1, 1, 0, 1.0],
        "pi": [0.5, 0.5, 0.4, 0.5],
        "x": [1, 1, 2, 2],
        "a": [1, 1, 0, 0],
    }
)


@pytest.mark.parametrize(
    ("change", "arguments", "error", "match"),
    [
        ({}, {"prediction": []}, RoleError, "prediction is empty"),
        ({}, {"prediction": "t"}, RoleError, "prediction='t' is not a column"),
        ({}, {"unit": "v"}, RoleError, "unit='v' is not a column"),
        ({}, {"prediction": "y"}, DataError, "y would name several columns"),
        ({"noise": 1.0}, {"prediction": "noise"}, DataError, "noise would name several"),
        ({}, {"covariates": ["s"]}, DataError, "s would name several"),
        ({"v": [1, 2, 2, 2]}, {"covariates": ["v"]}, DataError, "'v' varies within 1 .*'a'"),
        ({"s": [1, np.nan, 0, 1]}, {}, DataError, r"missing values in s \(1 rows\)"),
        ({"who": ["a", None, "b", "b"]}, {}, DataError, r"missing values in who \(1 rows\)"),
        ({"x": [1, 1, None, None]}, {"covariates": ["x"]}, DataError, r"x \(2 rows\)"),
        ({"y": np.nan}, {}, DataError, "No row is labelled"),
        ({"y": ["yes", None, None, "no"]}, {}, DataError, "y must be numeric"),
        ({"pi": [0, 0.5, 0.5, 0.5]}, {"sample_prob": "pi"}, RoleError, r"1 values outside \(0, 1"),
        ({}, {"sample_weight": "a"}, DataError, "zero in all documents of 1 units .first: 'b'"),
        ({"a": [1, -1, 1, 1]}, {"sample_weight": "a"}, DataError, "1 values that are negative"),
        ({}, {"drawn": "units"}, RoleError, "2 units are labelled in part .first: who 'a' with 1"),
        (
            {"y": [1, 1, None, None]},
            {"drawn": "units", "sample_prob": "pi"},
            RoleError,
            "differs between documents of 1 units .first: who 'b'",
        ),
        ({}, {"drawn": "rows"}, ParameterError, "drawn"),
        ({}, {"prediction": np.ones(4)}, ParameterError, "prediction must be the name of a col"),
        ({}, {"sample_prob": FRAME["pi"]}, ParameterError, "sample_prob must be the name"),
    ],
)
def test_bad_input(change, arguments, error, match):
    given = {"unit": "who", "prediction": "s"} | arguments
    with pytest.raises(error, match=match):
        aggregate_units(FRAME.assign(**change), "y", **given)


@pytest.mark.parametrize("X", [np.ones((4, 2)), FRAME.iloc[:0]])
def test_documents_must_be_a_frame_with_rows(X):
    with pytest.raises(DataError, match="one row a document"):
        aggregate_units(X, "y", unit="who", prediction="s")
