"""Formulas: R's names, no silent row or level, the same design from every frame and in predict."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

from robuststat._core.data import Terms, read_data
from robuststat._core.design import Shares, new_design_matrix
from robuststat._core.errors import DataError, DroppedRowsWarning, ParameterError, RoleError
from robuststat._core.formula import (
    INTERCEPT,
    bind_formula,
    evaluate_outcome,
    parse_formula,
    quoted_sum,
)

# Columns are products, powers and logarithms of the data: one or two roundings.
RTOL = 1e-14
# Spline and orthogonal polynomial bases go through a least squares problem of size three.
RTOL_BASIS = 1e-10

X = np.array([1.0, 2.0, 4.0, 0.5, 3.0, 8.0])
COLUMNS = {
    "y": [1.0, 3.0, 2.0, 5.0, 4.0, 6.0],
    "x": X,
    "n": [1, 2, 3, 1, 2, 3],
    "g": ["a", "b", "c", "b", "a", "c"],
    "f": [True, False, True, True, False, False],
    "my x": X + 1,
    "x-y.z": X - 1,
    "x.1": X + 2,
    "scale": X * 2,
}
FRAME = pd.DataFrame(COLUMNS)


def read(formula, frame=FRAME, **options):
    options.setdefault("roles", {})
    return read_data(BaseEstimator(), frame, terms=Terms(formula), **options)


def is_(value):
    return np.array([v == value for v in COLUMNS["g"]], dtype=float)


b, c, one = is_("b"), is_("c"), np.ones(6)

DESIGNS = {
    "y ~ 1": {INTERCEPT: one},
    "~ 1": {INTERCEPT: one},
    "y ~ x": {INTERCEPT: one, "x": X},
    "y ~ x - 1": {"x": X},
    "y ~ 0 + x": {"x": X},
    "y ~ g": {INTERCEPT: one, "g[T.b]": b, "g[T.c]": c},
    "y ~ g - 1": {"g[a]": 1 - b - c, "g[b]": b, "g[c]": c},
    "y ~ x + C(n)": {
        INTERCEPT: one,
        "C(n)[T.2]": (np.array(COLUMNS["n"]) == 2) * 1.0,
        "C(n)[T.3]": (np.array(COLUMNS["n"]) == 3) * 1.0,
        "x": X,
    },
    "y ~ C(g, contr.treatment('b'))": {
        INTERCEPT: one,
        "C(g, contr.treatment('b'))[T.a]": 1 - b - c,
        "C(g, contr.treatment('b'))[T.c]": c,
    },
    "y ~ I(x**2) + np.log(x)": {INTERCEPT: one, "I(x ** 2)": X**2, "np.log(x)": np.log(X)},
    "y ~ x:n": {INTERCEPT: one, "x:n": X * COLUMNS["n"]},
    "y ~ x * g": {
        INTERCEPT: one,
        "x": X,
        "g[T.b]": b,
        "g[T.c]": c,
        "x:g[T.b]": X * b,
        "x:g[T.c]": X * c,
    },
    "y ~ f": {INTERCEPT: one, "f": np.array(COLUMNS["f"]) * 1.0},
    "y ~ `my x` + I(`my x`**2) + `x-y.z`": {
        INTERCEPT: one,
        "my x": X + 1,
        "I(`my x` ** 2)": (X + 1) ** 2,
        "x-y.z": X - 1,
    },
    "y ~ {x + 1}": {INTERCEPT: one, "x + 1": X + 1},
    "y ~ center(x)": {INTERCEPT: one, "center(x)": X - X.mean()},
    "y ~ scale(`my x`)": {
        INTERCEPT: one,
        "scale(`my x`)": (X - X.mean()) / X.std(ddof=1),
    },
    "y ~ np.log(center(x) + 9)": {
        INTERCEPT: one,
        "np.log(center(x) + 9)": np.log(X - X.mean() + 9),
    },
    "y ~ x.1 + I(`x.1` * 2)": {INTERCEPT: one, "x.1": X + 2, "I(`x.1` * 2)": 2 * X + 4},
    # A column that is called like a function of formulaic.
    "y ~ scale": {INTERCEPT: one, "scale": X * 2},
}


@pytest.mark.parametrize("formula", DESIGNS)
def test_names_and_values(formula):
    expected = DESIGNS[formula]
    y = COLUMNS["y"] if formula.startswith("~") else None
    data = read(formula, y=y)
    assert set(data.names) == set(expected)
    assert data.names[0] == next(iter(expected))
    for j, name in enumerate(data.names):
        assert_allclose(data.X[:, j], expected[name], rtol=RTOL, atol=1e-15, err_msg=name)
    assert_array_equal(data.y, COLUMNS["y"])
    assert data.X.flags.c_contiguous


EVERYWHERE = [*DESIGNS, "y ~ bs(x, df=4)", "y ~ poly(x, 2) + C(n):x"]


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table])
@pytest.mark.parametrize("formula", EVERYWHERE)
def test_other_frames_give_the_same_design(formula, make):
    y = COLUMNS["y"] if formula.startswith("~") else None
    expected, found = read(formula, y=y), read(formula, make(COLUMNS), y=y)
    assert found.names == expected.names
    assert_array_equal(found.X, expected.X)
    assert_array_equal(found.y, expected.y)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("formula", EVERYWHERE)
def test_prediction_repeats_the_training_design(formula, make):
    data = read(formula, y=COLUMNS["y"] if formula.startswith("~") else None)
    design = pickle.loads(pickle.dumps(data.design))
    assert design.names == data.names
    assert_allclose(
        new_design_matrix(BaseEstimator(), design, make(COLUMNS)), data.X, rtol=RTOL_BASIS
    )
    # One row alone: states and levels are those of the training rows, not of the new ones.
    last = make({name: values[3:4] for name, values in COLUMNS.items()})
    assert_allclose(
        new_design_matrix(BaseEstimator(), design, last), data.X[3:4], rtol=RTOL_BASIS, atol=1e-12
    )


def test_stateful_transforms_remember_the_training_rows():
    data = read("y ~ center(x) + poly(n, 2)")
    new = new_design_matrix(BaseEstimator(), data.design, FRAME.assign(x=FRAME["x"] + 10))
    assert_allclose(new[:, 1], data.X[:, 1] + 10, rtol=RTOL)
    assert_allclose(new[:, 2:], data.X[:, 2:], rtol=RTOL_BASIS, atol=1e-12)
    # An orthonormal basis of the training rows, up to sign.
    assert_allclose(data.X[:, 2:].T @ data.X[:, 2:], np.eye(2), atol=1e-12)


# Levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_unused_levels_get_no_column(ordered):
    kind = pd.CategoricalDtype(["z", "c", "b", "a", "unused"], ordered=ordered)
    frame = FRAME.assign(g=FRAME["g"].astype(kind))
    data = read("y ~ g", frame)
    # "c" is the first level that occurs, hence the reference.
    assert data.names == (INTERCEPT, "g[T.b]", "g[T.a]")
    # The dtype still lists levels that no row has; that must not trouble prediction.
    assert_array_equal(new_design_matrix(BaseEstimator(), data.design, frame), data.X)
    # The levels are matched by name, in whatever way the new frame holds them.
    for g in (
        frame["g"].astype("str"),
        frame["g"].cat.reorder_categories([*list("abcz"), "unused"]),
    ):
        new = new_design_matrix(BaseEstimator(), data.design, frame.assign(g=g))
        assert_array_equal(new, data.X)


def test_levels_lost_with_dropped_rows_get_no_column():
    frame = FRAME.assign(x=FRAME["x"].where(FRAME["g"] != "c"))
    with pytest.warns(DroppedRowsWarning, match=r"2 of 6 rows dropped for missing values: x 2\."):
        data = read("y ~ x + g", frame)
    assert data.names == (INTERCEPT, "x", "g[T.b]")
    assert data.n_dropped_by == {"x": 2}


@pytest.mark.parametrize("formula", ["y ~ g", "y ~ C(g)", "y ~ x:C(g)"])
@pytest.mark.parametrize("kind", ["str", "category"])
def test_unseen_levels_are_refused_by_name(formula, kind):
    design = read(formula).design
    new = FRAME.assign(g=pd.Series(["a", "d", "b", "c", "a", "a"]).astype(kind))
    with pytest.raises(DataError, match=r"Categories not seen when the model was fitted: 'd'\."):
        new_design_matrix(BaseEstimator(), design, new)


def test_unseen_numbers_are_named_without_numpy():
    design = read("y ~ C(n)").design
    with pytest.raises(DataError, match=r"not seen when the model was fitted: 7\."):
        new_design_matrix(BaseEstimator(), design, FRAME.assign(n=[1, 2, 3, 7, 1, 1]))


def test_many_unseen_levels_are_not_all_listed():
    frame = pd.DataFrame({"y": np.arange(9.0), "g": list("abcabcabc")})
    design = read("y ~ g", frame).design
    with pytest.raises(DataError, match=r"fitted: ('[d-l]', ){5}\.\.\.\. Remove these rows"):
        new_design_matrix(BaseEstimator(), design, frame.assign(g=list("defghijkl")))


def test_one_level_is_no_information():
    assert read("y ~ x + g", FRAME.assign(g="a")).names == (INTERCEPT, "x")


# Missing values -----------------------------------------------------------------------------


def test_missing_rows_are_counted_over_all_columns():
    frame = FRAME.assign(
        x=[np.nan, 2, 4, 0.5, 3, 8], g=["a", None, "c", "b", "a", None], y=[1, 2, 3, np.nan, 5, 6]
    )
    words = r"4 of 6 rows dropped for missing values: y 1, g 2, x 1\."
    with pytest.warns(DroppedRowsWarning, match=words):
        data = read("y ~ x + g", frame)
    assert_array_equal(data.kept, [False, False, True, False, True, False])
    assert data.names == (INTERCEPT, "x", "g[T.c]")
    assert_array_equal(data.y, [3, 5])
    # Columns that the formula does not name may have gaps.
    assert read("y ~ n", frame.assign(y=COLUMNS["y"])).kept.all()


def test_gaps_inside_stateful_transforms_are_seen():
    frame = FRAME.assign(x=[np.nan, 2, 4, 0.5, 3, 8])
    with pytest.warns(DroppedRowsWarning, match=r"values: x 1\."):
        data = read("y ~ scale(x)", frame)
    kept = X[1:]
    assert_allclose(data.X[:, 1], (kept - kept.mean()) / kept.std(ddof=1), rtol=1e-13)


def test_prediction_needs_complete_rows():
    design = read("y ~ x + g").design
    with pytest.raises(DataError, match=r"Column 'g' has 1 missing values \(NaN\), first at row 2"):
        new_design_matrix(BaseEstimator(), design, FRAME.assign(g=["a", "b", None, "b", "a", "c"]))
    with pytest.raises(DataError, match="X lacks the columns g, x that the model needs"):
        new_design_matrix(BaseEstimator(), design, FRAME[["y", "n"]])
    with pytest.raises(DataError, match="fitted on a frame with named columns"):
        new_design_matrix(BaseEstimator(), design, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("formula", "term", "row"),
    [
        ("y ~ np.log(x - 0.5)", "np.log(x - 0.5)", 3),
        ("y ~ g + np.sqrt(x - 1)", "np.sqrt(x - 1)", 3),
        ("y ~ I(1 / (x - 4))", "I(1 / (x - 4))", 2),
        ("y ~ np.exp(x * 1000)", "np.exp(x * 1000)", 0),
        ("y ~ x + I(x - 0.5):np.log(x - 0.5)", "I(x - 0.5):np.log(x - 0.5)", 3),
    ],
)
def test_terms_that_are_not_finite_are_named(formula, term, row):
    with pytest.raises(DataError) as caught:
        read(formula)
    assert f"The term {term!r} has" in str(caught.value)
    assert f"(first at used row {row})" in str(caught.value)


def test_infinite_columns_are_named():
    with pytest.raises(DataError, match=r"The term 'x' has 1 values that are not finite"):
        read("y ~ x", FRAME.assign(x=[1, np.inf, 2, 3, 4, 5]))


# Left-hand side -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lhs", "name", "values"),
    [
        ("y", "y", COLUMNS["y"]),
        ("np.log(y)", "np.log(y)", np.log(COLUMNS["y"])),
        ("I(y > 2)", "I(y > 2)", np.array(COLUMNS["y"]) > 2),
        ("{y + x}", "y + x", X + COLUMNS["y"]),
        ("y:x", "y:x", X * COLUMNS["y"]),
        ("center(y)", "center(y)", np.array(COLUMNS["y"]) - 3.5),
        ("`my x`", "my x", X + 1),
        ("np.log(`my x`)", "np.log(`my x`)", np.log(X + 1)),
        ("`x-y.z`", "x-y.z", X - 1),
        ("scale", "scale", X * 2),
        ("f", "f", COLUMNS["f"]),
    ],
)
def test_left_hand_sides(lhs, name, values):
    data = read(f"{lhs} ~ n")
    assert data.outcome == name
    assert_allclose(data.y, np.asarray(values, float), rtol=RTOL)
    assert data.y.dtype == np.float64
    assert data.names == (INTERCEPT, "n")


def test_missing_values_of_a_transformed_outcome():
    frame = FRAME.assign(y=[1, np.nan, 2, 5, 4, 6])
    with pytest.warns(DroppedRowsWarning, match=r"values: np\.log\(y\) 1\."):
        assert_allclose(read("np.log(y) ~ x", frame).y, np.log([1, 2, 5, 4, 6]), rtol=RTOL)
    kept = read("np.log(y) ~ x", frame, outcome_may_miss=True)
    assert_array_equal(np.isnan(kept.y), [False, True, False, False, False, False])


@pytest.mark.parametrize("bad", [0.0, -1.0])
@pytest.mark.parametrize("outcome_may_miss", [False, True])
def test_outcomes_that_are_not_finite(bad, outcome_may_miss):
    # The logarithm of a negative vote is no missing label.
    frame = FRAME.assign(y=[1, np.nan, bad, 5, 4, 6])
    words = r"'np\.log\(y\)' is not finite in 1 rows whose columns are known \(first at row 2\)"
    with pytest.raises(DataError, match=words):
        read("np.log(y) ~ x", frame, outcome_may_miss=outcome_may_miss)


@pytest.mark.parametrize(
    ("formula", "n_columns"),
    [("y + x ~ n", 2), ("C(g) ~ n", 3), ("np.log(x) + y ~ n", 2), ("0 ~ x", 0)],
)
def test_several_outcomes_are_refused(formula, n_columns):
    with pytest.raises(ParameterError, match=f"has {n_columns} columns. Use one numeric outcome"):
        read(formula)


def test_text_outcome():
    with pytest.raises(DataError, match=r"y \(g\) must be numeric, but row 0 holds 'a'"):
        read("g ~ x")
    assert read("g ~ x", outcome_kind="labels").y.tolist() == COLUMNS["g"]


def test_outcome_given_twice_or_never():
    with pytest.raises(RoleError, match=r"given twice: by y and by the formula \('y'\)"):
        read("y ~ x", y=COLUMNS["y"])
    for formula in ("~ x", "x + n", ""):
        with pytest.raises(DataError, match="requires y to be passed"):
            read(formula)
    data = read("~ x", y="y")
    assert (data.outcome, data.names) == ("y", (INTERCEPT, "x"))


# Formulas that cannot be used ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ age", r"names columns that are not in the frame: age\. The frame has y, x, n, g"),
        ("age ~ x", "not in the frame: age"),
        ("y ~ scale(age) + np.log(size)", "not in the frame: age, size"),
        ("y ~ `my y`", "not in the frame: my y"),
        ("y ~ scale(`my y`)", "not in the frame: my y"),
        ("y ~ foo(x)", "not in the frame: foo"),
        # Built-in functions are not available: a formula is no program.
        ("y ~ open('secret')", "not in the frame: open"),
        ("y ~ scale(__import__('os').getpid())", "not in the frame: __import__"),
        ("y ~ x +", r"formula 'y ~ x \+' cannot be read: Operator"),
        ("y ~ (x", "cannot be read"),
        ("y ~ x ~ n", "cannot be read"),
        ("y ~ np.log(x", "cannot be read"),
        ("y ~ np.log(x y)", "cannot be read"),
        ("y ~ x | n", r"it has 2 parts separated by '\|'\. Write it as 'y ~ x1 \+ x2"),
        ("y | n ~ x", "it has 2 parts"),
        ("y ~ .", "cannot be read"),
        (3, "formula 3 cannot be read"),
        ("y ~ 0", "leaves no term"),
        ("y ~ x - x - 1", "leaves no term"),
    ],
)
def test_formulas_that_cannot_be_read(formula, words):
    with pytest.raises(ParameterError, match=words) as caught:
        read(formula)
    # No terminal colours or formulaic's brackets in the text.
    assert str(caught.value).isprintable()
    assert not set("\u29da\u29db") & set(str(caught.value))


def test_unknown_column_among_many():
    frame = pd.DataFrame(np.ones((2, 25)), columns=[f"c{j}" for j in range(25)])
    with pytest.raises(ParameterError, match=r"The frame has c0, .*, c19, \.\.\.\.$"):
        read("c0 ~ age", frame)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ np.foo(x)", "module 'numpy' has no attribute 'foo'"),
        ("y ~ np.log(g)", r"np\.log\(g\)"),
        ("np.log(g) ~ x", r"np\.log\(g\)"),
        ("y ~ x.foo()", "foo"),
        ("y ~ Q('my x')", "my x"),
        ("y ~ when", r"when \(datetime64\[[un]s\]\): .*Convert them to numbers"),
    ],
)
def test_terms_that_cannot_be_computed(formula, words):
    frame = FRAME.assign(when=pd.date_range("2020", periods=6))
    with pytest.raises(
        DataError, match="The formula cannot be computed from the columns"
    ) as caught:
        read(formula, frame)
    assert re.search(words, str(caught.value))


def test_options_that_contradict_a_formula():
    with pytest.raises(ParameterError, match="fit_intercept=False has no effect with a formula"):
        read_data(BaseEstimator(), FRAME, roles={}, terms=Terms("y ~ x", fit_intercept=False))
    for X in (np.eye(3), [[1.0]], pd.DataFrame([[1.0]])):
        with pytest.raises(DataError, match="formula= needs a data frame with named columns"):
            read("y ~ x", X)


# Predicted covariates -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    ["y ~ x", "y ~ x * g + I(x**2)", "y ~ np.log(x) + x:n - 1", "y ~ n + `my x`:x + center(n)"],
)
def test_rebuild_equals_the_design_of_the_replaced_frame(formula):
    gold = FRAME.assign(x=FRAME["x"].where([True, False, True, True, False, True]))
    data = read(formula, gold, predicted=("x",))
    guess = X + np.array([0.1, -0.2, 0.3, 0.4, -0.5, 0.6])
    before = data.X.copy()
    expected = read(formula, FRAME.assign(x=guess)).X
    assert_allclose(data.rebuild({"x": guess}), expected, rtol=RTOL)
    assert_array_equal(data.X, before)
    # Only cells that depend on x are unknown, and only where it is.
    affected = data.design.affected("x")
    unknown = np.isnan(data.X)
    assert_array_equal(unknown[:, affected].all(axis=1), gold["x"].isna())
    assert not np.delete(unknown, affected, axis=1).any()


def test_affected_columns():
    design = read("y ~ np.log(x) + x:g + I(`my x` + n) + n").design
    assert [design.names[j] for j in design.affected("x")] == [
        "np.log(x)",
        "x:g[a]",
        "x:g[b]",
        "x:g[c]",
    ]
    assert [design.names[j] for j in design.affected("my x")] == ["I(`my x` + n)"]
    assert {design.names[j] for j in design.affected("n")} == {"I(`my x` + n)", "n"}
    assert design.affected("y") == []


@pytest.mark.parametrize(
    ("formula", "column", "found"),
    [
        ("y ~ scale(x) + n", "x", True),
        ("y ~ np.log(center(x) + 9)", "x", True),
        ("y ~ poly(`my x`, 2)", "my x", True),
        ("y ~ scale(x) + n", "n", False),
        ("y ~ center(n) + `my x`", "my x", False),
        ("y ~ I(x**2) + np.log(x)", "x", False),
    ],
)
def test_stateful_transforms_of_predicted_covariates_are_refused(formula, column, found):
    frame = FRAME.assign(**{column: FRAME[column].astype(float)})
    frame.loc[2, column] = np.nan
    if found:
        with pytest.raises(ParameterError, match="estimates a transformation from") as caught:
            read(formula, frame, predicted=(column,))
        assert repr(column) in str(caught.value)
    else:
        assert np.isnan(read(formula, frame, predicted=(column,)).X[2]).any()


# The parts ----------------------------------------------------------------------------------


def test_parsed_parts():
    parsed = parse_formula("np.log(y) ~ x + C(g) + bs(n, df=4)", tuple(COLUMNS))
    assert parsed.outcome == "np.log(y)"
    assert not parsed.outcome_is_column
    assert parsed.outcome_columns == ("y",)
    assert parsed.columns == ("g", "n", "x")
    assert_allclose(evaluate_outcome(parsed, FRAME), np.log(COLUMNS["y"]), rtol=RTOL)
    one_sided = parse_formula("~ x", tuple(COLUMNS))
    assert (one_sided.outcome, one_sided.outcome_is_column, one_sided.lhs) == (None, False, None)
    assert one_sided.outcome_columns == ()


def test_binding_keeps_incomplete_rows():
    parsed = parse_formula("~ x", ("x",))
    design, matrix = bind_formula(parsed, pd.DataFrame({"x": [1.0, np.nan]}))
    assert_array_equal(matrix, [[1, 1], [1, np.nan]])
    assert design.names == (INTERCEPT, "x")


@pytest.mark.parametrize(
    ("intercept", "names"), [(True, (INTERCEPT, "my x", "C")), (False, ("my x", "C"))]
)
def test_main_effects_of_any_names(intercept, names):
    frame = pd.DataFrame({"my x": [1.0, 2.0], "C": [3.0, 5.0]})
    parsed = parse_formula(quoted_sum(("my x", "C"), intercept), ("my x", "C"))
    design, matrix = bind_formula(parsed, frame)
    assert design.names == names
    assert_array_equal(matrix[:, -2:], frame)


def test_fitted_design_keeps_no_rows():
    big = pd.DataFrame(
        {"y": np.arange(20_000.0), "x": np.arange(20_000.0) ** 0.5, "g": ["a", "b"] * 10_000}
    )
    design = read("y ~ scale(x) * g", big).design
    assert len(pickle.dumps(design)) < 20_000


def test_rebuild_with_shares_averages_the_designs_of_the_levels():
    known = [True, False, True, True, False, True]
    gold = FRAME.assign(g=FRAME["g"].where(known, None))
    levels = tuple(sorted(FRAME["g"].unique()))
    shares = np.random.default_rng(0).dirichlet(np.ones(len(levels)), size=len(FRAME))
    for formula in ("y ~ g", "y ~ x * g + n", "y ~ C(g):x - 1"):
        data = read(formula, gold, predicted=("g",))
        # The rows of the frame follow, so that every level is there.
        designs = [read(formula, pd.concat([FRAME.assign(g=v), FRAME])).X[:6] for v in levels]
        expected = sum(shares[:, [c]] * design for c, design in enumerate(designs))
        assert_allclose(data.rebuild({"g": Shares(levels, shares)}), expected, rtol=1e-12)
        hard = np.eye(len(levels))[[levels.index(v) for v in FRAME["g"]]]
        full = read(formula, FRAME).X
        assert_allclose(data.rebuild({"g": Shares(levels, hard)}), full, rtol=RTOL)


def test_rebuild_with_shares_and_numbers():
    known = np.array([True, True, True, True, False, True])
    gold = FRAME.assign(g=FRAME["g"].where(known, None), x=FRAME["x"].where(known))
    data = read("y ~ x * g", gold, predicted=("x", "g"))
    guess = X + 0.5
    hard = np.eye(3)[["abc".index(v) for v in FRAME["g"]]]
    expected = read("y ~ x * g", FRAME.assign(x=guess)).X
    found = data.rebuild({"x": guess, "g": Shares(("a", "b", "c"), hard)})
    assert_allclose(found, expected, rtol=RTOL)
