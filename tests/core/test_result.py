"""InferenceResult, Wald tests, restrictions, bands and exports against statsmodels and SciPy."""

import copy
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from statsmodels.regression.linear_model import OLS

from robuststat._core.errors import (
    CollinearityError,
    DataError,
    IdentificationError,
    ParameterError,
)
from robuststat._results.constraints import describe, linear_map, parse_constraints
from robuststat._results.export import decode, encode
from robuststat._results.intervals import critical_value, simultaneous_critical_value, two_sided_p
from robuststat.result import COLUMNS, InferenceResult, WaldTest, compare

EXACT = 1e-12  # same formula in another order of operations
QMC = 5e-4  # quasi-random error of a band's critical value
NAMES = ["(Intercept)", "x1", "x2", "region[T.South]"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(80), rng.normal(size=(80, 2)), rng.integers(0, 2, 80)])
    y = X @ [1.0, 0.5, 0.0, -0.3] + rng.normal(size=80) * (1 + X[:, 3])
    return X, y


@pytest.fixture(scope="module")
def peer(data):
    X, y = data
    return OLS(y, X).fit(cov_type="HC1", use_t=True)


@pytest.fixture(scope="module")
def result(data, peer):
    X, y = data
    n, k = X.shape
    psi = X * (y - X @ peer.params)[:, None]
    return InferenceResult.from_scores(
        estimate=peer.params,
        jacobian=-X.T @ X / n,
        meat=psi.T @ psi / n,
        names=NAMES,
        n_obs=n,
        df=n - k,
        factor=n / (n - k),
        vcov_type="HC1",
        method="Linear model",
        outcome="y",
        influence=psi,
        diagnostics={"n_dropped": 3, "n_iter": 4, "glance": {"r2": 0.5}, "cluster_name": "town"},
    )


def simple(estimate=(1.0, 2.0), vcov=None, names=("a", "b"), **more):
    vcov = np.eye(len(estimate)) if vcov is None else vcov
    return InferenceResult(estimate=estimate, vcov=vcov, names=names, **({"n_obs": 10} | more))


# ---------------------------------------------------------------------- reference values


def test_coefficient_table_equals_statsmodels(result, peer):
    tidy = result.tidy(level=0.9)
    np.testing.assert_allclose(tidy["estimate"], peer.params, rtol=EXACT)
    np.testing.assert_allclose(tidy["std_error"], peer.bse, rtol=EXACT)
    np.testing.assert_allclose(tidy["statistic"], peer.tvalues, rtol=1e-10)
    np.testing.assert_allclose(tidy["p_value"], peer.pvalues, rtol=1e-10)
    np.testing.assert_allclose(
        tidy[["conf_low", "conf_high"]], peer.conf_int(0.1), rtol=1e-10, atol=EXACT
    )
    np.testing.assert_allclose(result.confint(0.9), peer.conf_int(0.1), rtol=1e-10, atol=EXACT)
    assert list(result.confint().index) == NAMES
    assert (tidy["df"] == 76).all()


@pytest.mark.parametrize(
    ("text", "peer_text"),
    [
        ("x1 = x2", "x1 = x2"),
        ("x1 + 2*x2 = 3, x1 = 0", "x1 + 2*x2 = 3, x1 = 0"),
        ("`x1` - (x2 - 1)/2 == 1.5e-1", "x1 - x2/2 + .5 = 0.15"),
        (["x1 = 1", "+x2 = -1"], "x1 = 1, x2 = -1"),
        ("-x1 + 2*(x2*3) = .5", "6*x2 - x1 = 0.5"),
        ("region[T.South]= (Intercept)", "x3 = const"),
        ("x1 = x2 = 0", "x1 = x2, x2 = 0"),
    ],
)
def test_wald_text_equals_statsmodels(result, peer, text, peer_text):
    test = result.wald_test(text)
    reference = peer.f_test(peer_text)
    assert test.distribution == "F"
    np.testing.assert_allclose(test.statistic, reference.statistic, rtol=1e-9)
    np.testing.assert_allclose(test.p_value, reference.pvalue, rtol=1e-9)
    assert (test.df, test.df_denom) == (reference.df_num, reference.df_denom)


def test_wald_chi2_default_matrix_and_right_hand_side(result, peer):
    normal = simple(result.estimate, result.vcov, NAMES)
    slopes = np.eye(4)[1:]
    reference = peer.wald_test(slopes, use_f=False, scalar=True)
    for test in (
        normal.wald_test(),
        normal.wald_test(slopes),
        normal.wald_test("x1, x2, region[T.South]"),
    ):
        np.testing.assert_allclose(test.statistic, reference.statistic, rtol=1e-9)
        np.testing.assert_allclose(test.p_value, reference.pvalue, rtol=1e-9)
        assert (test.distribution, test.df, test.df_denom) == ("chi2", 3, np.inf)
        assert test.null_hypothesis == "x1 = 0, x2 = 0, region[T.South] = 0"
    frame = pd.DataFrame({"x1": [1, 0], "x2": [1, 2]}, index=["sum", "twice"])
    shifted = normal.wald_test(frame, r=[0.5, 1])
    assert shifted.null_hypothesis == "x1 + x2 = 0.5, 2*x2 = 1"
    np.testing.assert_allclose(shifted.estimate, frame @ result.estimate[1:3] - [0.5, 1])
    assert normal.wald_test("x1 = x2", r=2).null_hypothesis == "x1 - x2 = 2"
    assert not shifted.estimate.flags.writeable


def test_contrast_equals_statsmodels(result, peer):
    C = np.array([[0, 1, -1, 0], [1, 0, 0, 1]])
    reference = peer.t_test(C)
    contrast = result.contrast(C, names=["diff", "south"])
    np.testing.assert_allclose(contrast.estimate, reference.effect, rtol=EXACT)
    np.testing.assert_allclose(contrast.std_error, reference.sd, rtol=1e-10)
    np.testing.assert_allclose(contrast.p_value, reference.pvalue, rtol=1e-9)
    np.testing.assert_allclose(contrast.influence, result.influence @ C.T)
    assert contrast.names == ("diff", "south")
    assert contrast.df == result.df
    assert contrast.vcov_type == "HC1"


def test_contrast_spellings_agree():
    res = simple()
    spellings = ["a - b", {"a": 1, "b": -1}, [1, -1], pd.Series({"a": 1.0, "b": -1.0})]
    found = [res.contrast(spec) for spec in spellings]
    assert {c.names for c in found} == {("a - b",)}
    assert all(c.estimate == -1 for c in found)
    assert res.contrast(pd.Series({"a": 1.0}, name="first")).names == ("first",)
    assert res.contrast(pd.DataFrame({"b": [1.0]}, index=["second"])).estimate == 2


@pytest.mark.parametrize("df", [np.inf, 3.0, 40.0])
def test_p_values_keep_their_digits_far_out(df):
    t = np.array([0.0, 1.0, 8.0, 30.0])
    reference = 2 * (stats.norm if np.isinf(df) else stats.t(df)).sf(t)
    np.testing.assert_allclose(two_sided_p(t, df), reference, rtol=1e-10)
    np.testing.assert_allclose(two_sided_p(-t, df), reference, rtol=1e-10)


def test_equivalence_is_two_one_sided_t_tests(result):
    low, high = -1.0, np.array([1.0, 0.8, 0.3, 0.5])
    frame = result.equivalence_test(low, high, level=0.9)
    t = stats.t(result.df)
    expected = np.maximum(
        t.sf((result.estimate - low) / result.std_error),
        t.cdf((result.estimate - high) / result.std_error),
    )
    np.testing.assert_allclose(frame["p_value"], expected, rtol=1e-10)
    assert list(frame.columns) == list(COLUMNS["equivalence"])
    assert (frame["equivalent"] == (expected < 0.1)).all()
    # Equivalence at level .9 is a 80 % interval inside the bounds.
    inner = result.confint(0.8)
    inside = (inner["conf_low"] > low) & (inner["conf_high"] < high)
    assert (frame["equivalent"].to_numpy() == inside.to_numpy()).all()


# ------------------------------------------------------------------------------- bands


def test_simultaneous_band_of_independent_normals_is_sidak():
    for k in (2, 5, 20):
        exact = stats.norm.ppf((1 + 0.95 ** (1 / k)) / 2)
        assert simultaneous_critical_value(np.eye(k), 0.95, np.inf) == pytest.approx(exact, abs=QMC)


@pytest.mark.parametrize("df", [3, 10, 60])
def test_simultaneous_band_is_the_studentized_maximum_modulus(df):
    # Independent estimates that share one variance: P = E[(2 Phi(c s) - 1)^k], s^2 ~ chi2/df.
    c = simultaneous_critical_value(np.eye(3), 0.95, df)
    chi2 = stats.chi2(df)
    integral, _ = integrate.quad(
        lambda u: (2 * stats.norm.cdf(c * np.sqrt(chi2.ppf(u) / df)) - 1) ** 3, 0, 1
    )
    assert integral == pytest.approx(0.95, abs=5e-5)


def test_simultaneous_band_has_the_joint_probability():
    A = np.random.default_rng(3).normal(size=(3, 3))
    V = A @ A.T
    sd = np.sqrt(np.diag(V))
    R = V / np.outer(sd, sd)
    c = simultaneous_critical_value(V, 0.9, np.inf)
    joint = stats.multivariate_normal.cdf(
        np.full(3, c), np.zeros(3), R, abseps=1e-7, maxpts=10**6, lower_limit=np.full(3, -c)
    )
    assert joint == pytest.approx(0.9, abs=2e-4)


def test_simultaneous_band_limits_and_repeats():
    point, bonferroni = critical_value(0.95, np.inf), critical_value(1 - 0.05 / 3, np.inf)
    assert simultaneous_critical_value(np.ones((3, 3)), 0.95, np.inf) == point
    almost = np.full((3, 3), 1 - 1e-14) + 1e-14 * np.eye(3)
    assert point <= simultaneous_critical_value(almost, 0.95, np.inf) <= point + 1e-5
    assert simultaneous_critical_value(np.diag([1.0, 0.0]), 0.95, np.inf) == point
    V = 0.3 + 0.7 * np.eye(3)
    c = simultaneous_critical_value(V, 0.95, np.inf)
    assert point < c < bonferroni
    assert c == simultaneous_critical_value(V, 0.95, np.inf)
    other = simultaneous_critical_value(V, 0.95, np.inf, np.random.default_rng(7))
    assert other == pytest.approx(c, abs=QMC)
    # At an extreme level the points cannot tell the band from Bonferroni's.
    wide = simultaneous_critical_value(np.eye(5), 0.999999, np.inf)
    assert wide == critical_value(1 - (1 - 0.999999) / 5, np.inf)


def test_simultaneous_confint_contains_the_pointwise_one(result):
    inner, outer = result.confint(), result.confint(kind="simultaneous")
    assert (outer["conf_low"] < inner["conf_low"]).all()
    assert (outer["conf_high"] > inner["conf_high"]).all()
    again = result.confint(kind="simultaneous", random_state=5)
    np.testing.assert_allclose(outer, again, atol=1e-3)


# ------------------------------------------------------------------------- the object


def test_arrays_are_copies_and_read_only():
    given = np.array([1.0, 2.0])
    res = simple(given)
    given[0] = 9
    assert res.estimate[0] == 1
    for array in (res.estimate, res.vcov):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        res.df = 3
    assert repr(res) == "<InferenceResult: 2 estimates, n_obs=10, vcov_type='HC0'>"


def test_pickle_and_deepcopy_keep_everything(result):
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert type(twin) is InferenceResult
        assert twin.to_dict() == result.to_dict()
        assert not twin.estimate.flags.writeable
        assert not twin.influence.flags.writeable


def test_zero_variance_needs_no_warning():
    res = simple([1.0, 0.0, -2.0], np.zeros((3, 3)), ["a", "b", "c"], df=5)
    np.testing.assert_array_equal(res.statistic, [np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(res.p_value, [0, np.nan, 0])
    assert (res.tidy()["conf_low"] == res.estimate).all()
    assert (res.confint(kind="simultaneous")["conf_high"] == res.estimate).all()
    assert "inf" in str(res.summary())
    assert res.wald_test().p_value == 0
    assert np.isnan(res.wald_test("b = 0").p_value)
    assert "chi2(1) = nan" in str(simple([0.0], [[0.0]], ["b"]).wald_test())
    half = simple([1.0, 2.0], np.diag([1.0, 0.0]))
    assert half.wald_test("a = 0, b = 1").statistic == np.inf
    with pytest.raises(IdentificationError, match="zero variance and hold exactly: b = 2"):
        half.wald_test("a = 0, b = 2")
    assert res.equivalence_test(-1.5, 1.5)["equivalent"].tolist() == [True, True, False]


def test_exponentiate():
    res = simple([0.5], [[0.04]], ["x"])
    plain, ratio = res.tidy().iloc[0], res.tidy(exponentiate=True).iloc[0]
    for name in ("estimate", "conf_low", "conf_high"):
        assert ratio[name] == pytest.approx(np.exp(plain[name]))
    assert ratio["std_error"] == pytest.approx(np.exp(0.5) * 0.2)
    assert ratio["p_value"] == plain["p_value"]
    assert simple([800.0], [[1.0]], ["x"]).tidy(exponentiate=True)["estimate"][0] == np.inf


def test_tidy_and_glance_columns_are_in_the_vocabulary(result):
    full = simple(component=["location", "scale"], outcomes=["y", "y"], df=3)
    tidy = full.tidy()
    assert list(tidy.columns)[:7] == (
        ["term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    )
    assert list(tidy.columns)[7:] == ["component", "outcome", "df"]
    assert list(full.tidy(conf_int=False).columns)[4:6] == ["p_value", "component"]
    frames = [full.tidy(), compare({"a": full})]
    assert all(set(frame.columns) <= set(COLUMNS["tidy"]) for frame in frames)
    assert set(result.glance().columns) <= set(COLUMNS["glance"])
    assert set(COLUMNS["augment"]) == {".fitted", ".resid", ".weight", ".fold", ".se_fit"}


def test_glance(result):
    row = result.glance()
    assert list(row.columns) == (
        ["n_obs", "n_dropped", "n_clusters", "df", "vcov_type", "converged", "n_iter", "r2"]
    )
    assert row.loc[0, "n_dropped"] == 3
    assert row["n_clusters"].isna().all()
    assert simple(n_clusters=4).glance().loc[0, "n_clusters"] == 4
    assert not simple(diagnostics={"converged": np.False_}).glance().loc[0, "converged"]


def test_labels_tell_repeated_terms_apart():
    res = simple(names=["x", "x"], outcomes=["low", "high"])
    assert res.labels == ("low:x", "high:x")
    assert res.wald_test("low:x = high:x").statistic == pytest.approx(0.5)
    assert list(res.tidy()["term"]) == ["x", "x"]
    with pytest.raises(ParameterError, match="names are not unique: x"):
        simple(names=["x", "x"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vcov": np.eye(3)}, ParameterError, r"vcov has shape \(3, 3\), expected \(2, 2\)"),
        ({"vcov": [[1, np.nan], [np.nan, 1]]}, DataError, "vcov has 2 values that are NaN"),
        ({"vcov": [[1, 0.5], [0, 1]]}, DataError, "not symmetric"),
        ({"vcov": [[1, 0], [0, -2]]}, DataError, "'b' the negative variance -2"),
        ({"estimate": [1, np.inf]}, DataError, "estimate has 1 values"),
        ({"names": []}, ParameterError, "names is empty"),
        ({"names": "ab"}, ParameterError, "names needs one text for each of the 2 estimates"),
        ({"component": ["a"]}, ParameterError, "component needs one text"),
        ({"df": 0}, ParameterError, "df must be positive"),
        ({"df": np.nan}, ParameterError, "df must be positive"),
        ({"n_obs": 0}, ParameterError, "n_obs must be at least 1, got 0"),
        ({"n_clusters": 0}, ParameterError, "n_clusters must be at least 1"),
        ({"influence": np.ones((3, 2))}, ParameterError, r"influence has shape \(3, 2\)"),
        ({"diagnostics": {"n_dropped": -1}}, ParameterError, "a non-negative integer"),
        ({"diagnostics": {"n_iter": True}}, ParameterError, "a non-negative integer"),
        ({"diagnostics": {"counts": {"a": "b"}}}, ParameterError, "a dict of non-negative"),
        ({"diagnostics": {"notes": "one"}}, ParameterError, "a list of strings"),
        ({"diagnostics": {"se_note": 1}}, ParameterError, "a string"),
        ({"diagnostics": {"converged": 1}}, ParameterError, "True or False"),
        ({"diagnostics": {"glance": [1]}}, ParameterError, "a dict of glance columns"),
        ({"diagnostics": {"glance": {"rsq": 1}}}, ParameterError, "vocabulary: rsq"),
    ],
)
def test_bad_results_are_refused(change, error, message):
    good = {"estimate": [1.0, 2.0], "vcov": np.eye(2), "names": ["a", "b"], "n_obs": 10}
    with pytest.raises(error, match=message):
        InferenceResult(**(good | change))


def test_singular_jacobian():
    arguments = {"estimate": [0, 0], "meat": np.eye(2), "names": ["a", "b"], "n_obs": 5}
    for J in ([[1, 1], [1, 1]], [[1, 0], [0, 0]]):
        with pytest.raises(CollinearityError, match=r"column 'b' is .*rank 1 of 2"):
            InferenceResult.from_scores(jacobian=J, **arguments)
    # Units of measurement alone are no reason to refuse.
    wide = InferenceResult.from_scores(jacobian=np.diag([1e-12, 1e12]), **arguments)
    np.testing.assert_allclose(wide.std_error, [1e12 / 5**0.5, 1e-12 / 5**0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.tidy(level=95), "level must lie strictly between 0 and 1, got 95"),
        (lambda r: r.confint(kind="joint"), "'pointwise' or 'simultaneous', got 'joint'"),
        (lambda r: r.equivalence_test(1, -1), "low must be below high"),
        (lambda r: r.equivalence_test([1, 2, 3], 4), "one bound for each of 2 terms"),
        (lambda r: r.contrast("a + 1"), "without a constant"),
        (lambda r: r.wald_test("a = 1", r=2), "given twice"),
        (lambda r: r.wald_test("a = 1", r=[2, 3]), "r must be a finite number or 1 of them"),
        (lambda r: r.wald_test("a, a = b, 2*a = b"), "rank 2.*Remove: 2[*]a = b"),
        (lambda r: compare({}), "results is empty"),
        (lambda r: r.from_dict({"format": 1}), "not a dictionary of InferenceResult.to_dict"),
        (lambda r: r.from_dict(r.to_dict() | {"format": 99}), "format 99"),
        (lambda r: simple([1], [[1]], ["(Intercept)"]).wald_test(), "besides the intercept"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call(simple())


def test_cancelling_combination_has_zero_variance_not_rounding():
    w = np.array([0.1, 0.3, 0.7])
    res = simple([0.2, 0.3, 0.4], np.outer(w, w), ["a", "b", "c"])
    contrast = res.contrast({"a": 3.0, "b": -1.0})
    assert contrast.std_error == 0
    assert res.wald_test("3*a = b").p_value == 0
    assert res.contrast({"a": 1.0, "c": 1.0}).std_error == pytest.approx(0.8)


def test_singular_joint_variance():
    res = simple(vcov=np.ones((2, 2)))
    with pytest.raises(IdentificationError, match=r"variance of the 2 tested .* has rank 1"):
        res.wald_test()
    assert res.wald_test("a = 0").statistic == 1


# ---------------------------------------------------------------------- restrictions


@pytest.mark.parametrize(
    ("text", "weights", "constant"),
    [
        ("x-1 = 2", [0, 1, 0, 0], 2),  # a name with an operator is taken whole
        ("x - 1 = 2", [1, 0, 0, 0], 3),
        ("3*`x-1`/2 = 1", [0, 1.5, 0, 0], 1),
        ("C(g, Treatment)[T.b] = 2*10 - 3", [0, 0, 1, 0], 17),
        ("10 = 2", [0, 0, 0, 1], 2),  # the name 10 only in backticks
        ("-(x - 2*2) = 1", [-1, 0, 0, 0], -3),
    ],
)
def test_parser_reads_awkward_names(text, weights, constant):
    labels = ["x", "x-1", "C(g, Treatment)[T.b]", "10"]
    if text.startswith("10"):
        with pytest.raises(ParameterError, match="involves no coefficient"):
            parse_constraints(text, labels)
        text = text.replace("10", "`10`")
    found = parse_constraints(text, labels)
    assert found.matrix.tolist() == [weights]
    assert found.constant.tolist() == [constant]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x10 = 0", "'x10' is not a coefficient. The coefficients are: x1, x2, x1:x2"),
        ("x1:x3", "'x1:x3' is not a coefficient"),
        ("`x3`", "'x3' is not a coefficient"),
        ("x1 ^ 2", r"'\^' is not a coefficient"),
        ("`x1", "Unclosed backtick at position 0"),
        ("x1 * x2", "not linear in the coefficients at position"),
        ("1 / x2", "not linear"),
        ("x1 / 0", "division by zero"),
        ("2 x1", "an operator is missing before 'x1' at position 2"),
        ("(x1 = 2", "a closing parenthesis is missing"),
        ("x1 =", "a coefficient or number is missing before ''"),
        ("", "a coefficient or number is missing"),
        ("x1 = x1", "involves no coefficient"),
    ],
)
def test_parser_errors(text, message):
    with pytest.raises(ParameterError, match=message):
        parse_constraints(text, ["x1", "x2", "x1:x2"])


def test_long_lists_of_names_are_cut():
    with pytest.raises(ParameterError, match=re.escape("v19, ....")):
        parse_constraints("w", [f"v{i}" for i in range(30)])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (np.eye(3), r"shape \(3, 3\); it needs one column for each of the 2"),
        ([], "shape"),
        (np.ones((1, 1, 2)), "shape"),
        ([[1, 0], [0, 0]], "Check row 1"),
        ([np.nan, 1], "Check row 0"),
        ({"c": 1}, "'c' is not a coefficient"),
    ],
)
def test_linear_map_errors(spec, message):
    with pytest.raises(ParameterError, match=message):
        linear_map(spec, ["a", "b"])


def test_describe():
    labels = ["a", "b", "c"]
    assert describe(np.array([-1.0, 0, 0]), 0.0, labels) == "-a = 0"
    assert describe(np.array([1.0, 0.5, -2]), 0.0, labels) == "a + 0.5*b = 2*c"
    assert parse_constraints("a = b = 0", labels).words == ("a = b", "b = 0")


# ---------------------------------------------------------------------------- exports


def test_json_round_trip_is_exact(result):
    twin = InferenceResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(twin.estimate, result.estimate)
    np.testing.assert_array_equal(twin.vcov, result.vcov)
    np.testing.assert_array_equal(twin.influence, result.influence)
    assert twin.diagnostics == result.diagnostics
    assert (twin.names, twin.df, twin.method) == (result.names, result.df, result.method)
    full = simple(component=["p", "q"], outcomes=["y", "y"], n_clusters=3)
    again = InferenceResult.from_dict(full.to_dict())
    assert (again.component, again.outcomes, again.df) == (full.component, full.outcomes, np.inf)


def test_json_keeps_odd_values():
    odd = {
        "nan": float("nan"),
        "inf": [-np.inf, np.float64(2.5)],
        "array": np.array([[1, 2], [3, 4]], dtype=np.int64),
        "empty": np.empty((0, 3)),
        "tuple": (1, None, "x", np.True_),
    }
    back = decode(json.loads(json.dumps(encode(odd, "odd"), allow_nan=False)))
    assert np.isnan(back["nan"])
    assert back["inf"] == [-np.inf, 2.5]
    np.testing.assert_array_equal(back["array"], odd["array"])
    assert back["array"].dtype == np.int64
    assert back["empty"].shape == (0, 3)
    assert back["tuple"] == (1, None, "x", True)
    for bad in ({"m": {1: 2}}, {"m": [object()]}, {"m": np.array(["a"], dtype=object)}):
        with pytest.raises(ParameterError, match=r"diagnostics[.]m.* no JSON form"):
            simple(diagnostics=bad).to_dict()


def test_wald_prints_and_exports():
    test = simple().wald_test("a = 0")
    assert isinstance(test, WaldTest)
    assert str(test) == repr(test) == "Wald test\nH0: a = 0\nchi2(1) = 1, p-value = 0.317"
    values = json.loads(json.dumps(test.to_dict(), allow_nan=False))
    assert decode(values["df_denom"]) == np.inf
    assert decode(values["estimate"]) == [1.0]
    exact = simple([50.0, 0], df=4.0).wald_test("a = 0")
    assert "F(1, 4) = 2500, p-value = 9.57e-07" in exact._repr_html_()
    assert "p-value < 2e-16" in str(simple([50.0, 0]).wald_test("a = 0"))
    assert "a &lt;b" in simple(names=["a <b", "c"]).wald_test("`a <b` = 1")._repr_html_()


def test_compare_stacks_tidy_frames(result):
    normal = simple(result.estimate, result.vcov, NAMES)
    table = compare({"normal": normal, "t": result}, level=0.5)
    assert list(table.columns[:2]) == ["estimator", "term"]
    assert table["df"].tolist() == [np.inf] * 4 + [76] * 4
    np.testing.assert_allclose(table["conf_low"][4:], result.confint(0.5)["conf_low"])
    assert "df" not in compare({"normal": normal})


def test_maketables_protocol(result):
    table = result.__maketables_coef_table__
    assert list(table.columns) == ["b", "se", "t", "p", "ci95l", "ci95u"]
    assert table.index.name == "Coefficient"
    assert result.__maketables_stat__("N") == 80
    assert result.__maketables_stat__("r2") == 0.5
    assert result.__maketables_stat__("n_clusters") is None
    assert result.__maketables_stat__("unheard of") is None
    assert result.__maketables_depvar__ == "y"
    assert result.__maketables_vcov_info__ == {"vcov_type": "HC1", "clustervar": "town"}
    assert result.__maketables_default_stat_keys__ == ["N", "r2", "se_type"]
    assert "n_labeled" in result.__maketables_stat_labels__


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_maketables_etable(result):
    maketables = pytest.importorskip("maketables")
    other = result.contrast(np.eye(4)[:2], names=NAMES[:2])
    latex = maketables.ETable([result, other]).make(type="tex")
    assert "x1" in latex
    assert f"{result.estimate[1]:.3f}".rstrip("0") in latex
    assert "80" in latex


def test_variances_without_covariances():
    res = InferenceResult(estimate=[1.0, 2.0], vcov=[0.25, 1.0], names=["a", "b"], n_obs=9)
    full = InferenceResult(
        estimate=[1.0, 2.0], vcov=np.diag([0.25, 1.0]), names=["a", "b"], n_obs=9
    )
    pd.testing.assert_frame_equal(res.tidy(), full.tidy())
    assert str(res.summary()) == str(full.summary())
    joint = res.confint(kind="simultaneous")
    np.testing.assert_allclose(
        joint["conf_high"] - 1.0 * np.array([1, 2]), res.std_error * 2.24140273
    )
    for ask in (res.wald_test, lambda: res.contrast([1, -1])):
        with pytest.raises(ParameterError, match="Only the variances of these 2 estimates"):
            ask()
    again = InferenceResult.from_dict(json.loads(json.dumps(res.to_dict())))
    np.testing.assert_array_equal(again.vcov, res.vcov)
    with pytest.raises(DataError, match="1 negative variances"):
        InferenceResult(estimate=[1.0, 2.0], vcov=[0.25, -1.0], names=["a", "b"], n_obs=9)


def test_many_names_are_checked_in_linear_time():
    k = 5_000
    names = [f"t{i}" for i in range(k)]
    assert (
        InferenceResult(estimate=np.zeros(k), vcov=np.ones(k), names=names, n_obs=9).labels[-1]
        == "t4999"
    )
    with pytest.raises(ParameterError, match="names are not unique: t0"):
        InferenceResult(estimate=np.zeros(k), vcov=np.ones(k), names=[*names[:-1], "t0"], n_obs=9)
