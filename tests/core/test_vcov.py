"""Variances against statsmodels, against definitions with full n x n matrices, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg as sla
from statsmodels.regression.linear_model import OLS, WLS

from robuststat._core.errors import (
    CollinearityError,
    DataError,
    ParameterError,
    SmallClusterWarning,
)
from robuststat._core.vcov import (
    MeatAccumulator,
    check_clusters,
    cluster_sums,
    cr2_df,
    cr2_scores,
    group_codes,
    hc_scores,
    leverage,
    meat,
    sandwich,
    small_sample,
    survey_meat,
)

# Same formula in another order of operations; condition numbers here are below 100.
RTOL = 1e-12
# Brute force goes through pseudo-inverse roots of n x n matrices.
RTOL_DENSE = 1e-9


def problem(n=300, k=4, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, k - 1))])
    y = X @ np.arange(1.0, k + 1) + rng.normal(size=n) * (1 + X[:, 1] ** 2)
    w = rng.uniform(0.2, 3.0, size=n) if weighted else None
    a, b = rng.integers(0, 25, size=n), rng.integers(0, 18, size=n)
    ones = np.ones(n) if w is None else w
    beta = np.linalg.solve(X.T @ (X * ones[:, None]), X.T @ (ones * y))
    J = -(X.T * ones) @ X / n
    return X, y, w, a, b, y - X @ beta, J


def scores(X, resid, w):
    return X * (resid if w is None else w * resid)[:, None]


def statsmodels_fit(X, y, w, cov_type, **options):
    model = OLS(y, X) if w is None else WLS(y, X, weights=w)
    return model.fit(cov_type=cov_type, cov_kwds=options or None, use_t=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
def test_hc_equals_statsmodels(kind, weighted):
    X, y, w, _, _, resid, J = problem(weighted=weighted)
    psi = hc_scores(X, resid, w, kind=kind)
    correction = small_sample(kind, n_obs=300, n_params=4)
    V = sandwich(J, meat(psi).matrix, 300, correction.factor)
    np.testing.assert_allclose(V, statsmodels_fit(X, y, w, kind).cov_params(), rtol=RTOL)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("correction", [False, True])
def test_one_way_equals_statsmodels(correction, weighted):
    X, y, w, a, _, resid, J = problem(weighted=weighted)
    B = meat(scores(X, resid, w), clusters=a * 3 + 5)
    kind = "CR1" if correction else "CR0"
    factor = small_sample(kind, n_obs=300, n_params=4, n_clusters=B.n_clusters).factor
    peer = statsmodels_fit(X, y, w, "cluster", groups=a, use_correction=correction)
    np.testing.assert_allclose(sandwich(J, B.matrix, 300, factor), peer.cov_params(), rtol=RTOL)
    assert B.n_clusters == 25


@pytest.mark.parametrize("weighted", [False, True])
def test_two_way_equals_statsmodels(weighted):
    X, y, w, a, b, resid, J = problem(weighted=weighted)
    psi, groups = scores(X, resid, w), np.column_stack([a, b])
    B = meat(psi, clusters=(a, b))
    peer = statsmodels_fit(X, y, w, "cluster", groups=groups, use_correction=False)
    np.testing.assert_allclose(sandwich(J, B.matrix, 300), peer.cov_params(), rtol=RTOL)
    assert (B.n_obs, B.n_clusters, B.n_clipped) == (300, 18, 0)
    # With its correction statsmodels scales each of the three parts by its own CR1 factor.
    parts = 0.0
    for codes, sign in ((a, 1), (b, 1), (a * 18 + b, -1)):
        part = meat(psi, clusters=codes)
        one = small_sample("CR1", n_obs=300, n_params=4, n_clusters=part.n_clusters)
        parts = parts + sign * sandwich(J, part.matrix, 300, one.factor)
    peer = statsmodels_fit(X, y, w, "cluster", groups=groups, use_correction=True)
    np.testing.assert_allclose(parts, peer.cov_params(), rtol=RTOL)


def test_two_way_repair_is_counted_and_does_not_depend_on_units():
    # Crossed design, opposite signs along rows and columns: M1 = M2 = 0 < M12.
    a, b = np.repeat([0, 1], 2), np.tile([0, 1], 2)
    psi = np.column_stack([[1.0, -1.0, -1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    B = meat(psi, clusters=(a, b))
    assert B.n_clipped == 1
    raw = meat(psi, clusters=a).matrix + meat(psi, clusters=b).matrix - psi.T @ psi / 4
    assert raw[0, 0] < 0
    np.testing.assert_array_less(-1e-12, np.linalg.eigvalsh(B.matrix))
    np.testing.assert_array_less(-1e-12, np.linalg.eigvalsh(B.matrix - raw))
    scale = np.array([1.0, 1e6])
    scaled = meat(psi * scale, clusters=(a, b)).matrix
    np.testing.assert_allclose(scaled / scale / scale[:, None], B.matrix, rtol=1e-9, atol=1e-12)


def test_huge_codes_do_not_overflow():
    _, _, _, a, b, _, _ = problem()
    psi = np.random.default_rng(0).normal(size=(300, 2))
    far = 2**62 - 1
    np.testing.assert_array_equal(
        meat(psi, clusters=(far - a, far - b)).matrix, meat(psi, clusters=(24 - a, 17 - b)).matrix
    )
    np.testing.assert_array_equal(
        meat(psi, clusters=(24 - a).astype(np.uint8)).matrix, meat(psi, clusters=24 - a).matrix
    )


# CR2 -----------------------------------------------------------------------------------------


def dense_root_pinv(M):
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    inverse = np.where(values > 1e-10, 1 / np.sqrt(np.where(values > 1e-10, values, 1)), 0)
    return vectors @ np.diag(inverse) @ vectors.T


def dense_cr2(X, resid, clusters, w, contrast):
    """CR2 variance and Satterthwaite df from the definition, with n x n matrices."""
    n = len(X)
    w = np.ones(n) if w is None else w
    Xt, et = X * np.sqrt(w)[:, None], resid * np.sqrt(w)
    bread = np.linalg.inv(Xt.T @ Xt)
    residual_maker = np.eye(n) - Xt @ bread @ Xt.T
    V, columns = np.zeros((X.shape[1], X.shape[1])), []
    for g in np.unique(clusters):
        rows = np.flatnonzero(clusters == g)
        A = dense_root_pinv(residual_maker[np.ix_(rows, rows)])
        total = Xt[rows].T @ A @ et[rows]
        V += np.outer(total, total)
        columns.append(residual_maker[:, rows] @ A @ Xt[rows] @ bread @ contrast)
    P = np.column_stack(columns)
    eigenvalues = np.linalg.eigvalsh(P.T @ P)
    return bread @ V @ bread, eigenvalues.sum() ** 2 / (eigenvalues**2).sum()


CONTRASTS = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 1, -1, 0.5]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["unbalanced", "singletons", "tiny", "singular"])
def test_cr2_equals_definition(layout, weighted):
    X, _, w, a, _, _, _ = problem(n=90, seed=2, weighted=weighted)
    rng = np.random.default_rng(5)
    clusters = {
        "unbalanced": np.sort(np.minimum(rng.geometric(0.2, size=90), 9)),
        "singletons": np.arange(90)[::-1],
        "tiny": a % 4,
        "singular": a % 7,
    }[layout]
    if layout == "singular":
        X[:, 3] = clusters == 2  # a dummy of one cluster: I - H_gg has a zero eigenvalue
    y = X @ np.ones(4) + rng.normal(size=90)
    ones = np.ones(90) if w is None else w
    beta = np.linalg.solve(X.T @ (X * ones[:, None]), X.T @ (ones * y))
    resid, J = y - X @ beta, (X.T * ones) @ X / 90
    B = meat(cr2_scores(X, resid, clusters, w), clusters=clusters)
    V, df = sandwich(J, B.matrix, 90), cr2_df(X, clusters, CONTRASTS, w)
    for contrast, value in zip(CONTRASTS, df, strict=True):
        dense, dense_df = dense_cr2(X, resid, clusters, w, contrast)
        np.testing.assert_allclose(V, dense, rtol=RTOL_DENSE, atol=1e-13)
        np.testing.assert_allclose(value, dense_df, rtol=RTOL_DENSE)
    np.testing.assert_allclose(cr2_df(X, clusters, CONTRASTS[0], w), df[:1])


@pytest.mark.parametrize("weighted", [False, True])
def test_cr2_of_single_rows_is_hc2(weighted):
    X, _, w, _, _, resid, _ = problem(weighted=weighted)
    np.testing.assert_allclose(
        cr2_scores(X, resid, np.arange(300), w), hc_scores(X, resid, w, kind="HC2"), rtol=1e-11
    )


def test_cr2_is_unbiased_under_its_working_model():
    # E[V] = sigma^2 (X'X)^-1 exactly: replace e e' by its expectation, the residual maker.
    X, _, _, a, _, _, _ = problem(n=60)
    maker = np.eye(60) - X @ np.linalg.pinv(X)
    B = np.zeros((4, 4))
    for column in sla.sqrtm(maker).real.T:
        B += meat(cr2_scores(X, column, a), clusters=a).matrix
    np.testing.assert_allclose(
        sandwich(X.T @ X / 60, B, 60), np.linalg.inv(X.T @ X), rtol=1e-7, atol=1e-10
    )


def test_df_of_two_sample_comparison_by_hand():
    # Mean of G equal clusters: df = G - 1 exactly.
    clusters = np.repeat(np.arange(8), 5)
    np.testing.assert_allclose(cr2_df(np.ones((40, 1)), clusters, np.ones(1)), [7.0])
    # Welch with equal variances: df of the contrast of two groups of 6 and 3 single rows.
    X = np.column_stack([np.ones(9), np.arange(9) < 6])
    v1, v2 = 1 / 6, 1 / 3
    welch = (v1 + v2) ** 2 / (v1**2 / 5 + v2**2 / 2)
    np.testing.assert_allclose(cr2_df(X, np.arange(9), np.array([0.0, 1.0])), [welch])


def test_cr2_df_errors():
    X, _, _, a, _, _, _ = problem(n=90)
    with pytest.raises(ParameterError, match=r"contrast has shape \(3,\)\. Pass 4 columns"):
        cr2_df(X, a, np.ones(3))
    lone = np.column_stack([np.ones(90), a == 2])
    with pytest.raises(DataError, match=r"contrast row 1 is estimated from one cluster alone"):
        cr2_df(lone, a, np.array([[1.0, 0.0], [1.0, 1.0]]))


def test_leverage_one_is_left_out_with_a_warning():
    X, _, _, _, _, _, _ = problem(n=50)
    X[:, 3] = np.arange(50) == 7
    resid = np.linalg.qr(X, mode="complete")[0][:, 4]
    with pytest.warns(UserWarning, match=r"1 rows have leverage 1 \(first: row 7\).*Use HC1"):
        psi = hc_scores(X, resid, kind="HC3")
    np.testing.assert_array_equal(psi[7], 0.0)
    other = np.arange(50) != 7
    plain = X * (resid / (1 - np.where(other, leverage(X), 0)))[:, None]
    np.testing.assert_allclose(psi[other], plain[other], rtol=1e-11)


def test_hc_scores_refuses_unknown_kind():
    with pytest.raises(ParameterError, match=r"kind must be one of HC0, HC1, HC2, HC3, got 'HC4'"):
        hc_scores(np.ones((3, 1)), np.ones(3), kind="HC4")


# accumulators ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 60),
    k=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    clustered=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_and_merges_equal_one_pass(n, k, cuts, clustered, seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=(n, k))
    codes = np.append([0, 9], rng.integers(0, 10, size=n - 2))
    blocks = np.split(np.arange(n), sorted(min(cut, n) for cut in cuts))
    parts = []
    for rows in blocks:
        part = MeatAccumulator(k, n_clusters=12 if clustered else None)
        part.update(psi[rows], codes[rows] if clustered else None)
        parts.append(part)
    for part in parts[1:]:
        parts[0].merge(part)
    expected = meat(psi, clusters=codes if clustered else None)
    np.testing.assert_allclose(parts[0].finish(), expected.matrix, rtol=1e-9, atol=1e-12)
    assert parts[0].n_obs == n
    assert parts[0].n_clusters == expected.n_clusters


def test_many_blocks_cross_to_the_kernel_without_a_seam():
    rng = np.random.default_rng(0)
    psi, codes = rng.normal(size=(90_000, 3)), rng.integers(0, 2_000, size=90_000)
    stream = MeatAccumulator(3, n_clusters=2_000)
    for start in range(0, 90_000, 8192):
        stream.update(psi[start : start + 8192], codes[start : start + 8192])
    totals = np.zeros((2_000, 3))
    np.add.at(totals, codes, psi)
    np.testing.assert_allclose(stream.finish(), totals.T @ totals / 90_000, rtol=1e-11)
    np.testing.assert_allclose(stream.finish(10), totals.T @ totals / 10, rtol=1e-11)


def test_non_contiguous_integer_and_single_column_scores():
    wide = np.arange(24).reshape(6, 4)
    np.testing.assert_allclose(meat(wide[::2, ::3]).matrix, wide[::2, ::3].T @ wide[::2, ::3] / 3)
    np.testing.assert_allclose(meat(np.array([[1.0], [3.0]])).matrix, [[5.0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clustered", [False, True])
def test_non_finite_scores_are_counted_and_located(bad, clustered):
    psi = np.ones((6, 2))
    psi[4], psi[5, 0] = bad, -bad
    codes = np.arange(6) % 2
    message = r"psi has 3 non-finite values \(first at row {}\)\. Check the data"
    with pytest.raises(DataError, match=message.format(4)):
        meat(psi, clusters=codes if clustered else None)
    with pytest.raises(DataError, match=message.format(4)):
        survey_meat(psi)
    part = MeatAccumulator(2, n_clusters=2 if clustered else None)
    part.update(np.ones((10, 2)), np.arange(10) % 2 if clustered else None)
    with pytest.raises(DataError, match=message.format(14)):
        part.update(psi, codes if clustered else None)


@pytest.mark.parametrize("value", [1e200, 1e308])
@pytest.mark.parametrize("clusters", [None, np.array([0, 0, 1, 1])])
def test_overflow_of_finite_scores(value, clusters):
    with pytest.raises(DataError, match=r"Products of scores overflow\. Rescale the columns"):
        meat(np.full((4, 1), value), clusters=clusters)


def test_accumulator_misuse():
    plain, grouped = MeatAccumulator(2), MeatAccumulator(2, n_clusters=3)
    with pytest.raises(DataError, match=r"psi has shape \(4, 3\)\. Pass 2 columns"):
        plain.update(np.ones((4, 3)))
    with pytest.raises(DataError, match=r"psi has shape \(4,\)"):
        plain.update(np.ones(4))
    with pytest.raises(ParameterError, match=r"n_clusters is missing\. Pass n_clusters and codes"):
        plain.update(np.ones((1, 2)), np.zeros(1, np.int64))
    with pytest.raises(ParameterError, match=r"codes is missing\. Pass n_clusters and codes"):
        grouped.update(np.ones((1, 2)))
    for other in (grouped, MeatAccumulator(3), MeatAccumulator(2, n_clusters=2)):
        with pytest.raises(ParameterError, match=r"different layout cannot be merged"):
            plain.merge(other)
    with pytest.raises(DataError, match=r"at least one row of scores, got 0"):
        plain.finish()
    grouped.update(np.ones((3, 2)), np.full(3, 1))
    with pytest.raises(DataError, match=r"clusters has 1 distinct values.*use vcov='HC1'"):
        grouped.finish()


def test_cluster_code_errors():
    psi = np.ones((4, 1))
    cases = [
        (np.array([0, 1, 2]), r"clusters has shape \(3,\) for 4 rows\. Pass one code per row"),
        (np.array([0.0, 1, 2, 3]), r"clusters must hold integer codes, got dtype float64"),
        (np.array([0, -1, 2, -1]), r"clusters has 2 negative codes.*first at row 1\)\. Drop"),
        (np.zeros(4, np.int64), r"clusters has 1 distinct values, so variation"),
        ((np.arange(4), -np.arange(4)), r"clusters\[1\] has 3 negative codes"),
        ((np.arange(4), np.zeros(4, np.int64)), r"clusters has 1 distinct values"),
    ]
    for clusters, message in cases:
        with pytest.raises(DataError, match=message):
            meat(psi, clusters=clusters)
    with pytest.raises(ParameterError, match=r"clusters holds 3 arrays\. Pass one array or a pair"):
        meat(psi, clusters=(np.arange(4),) * 3)
    for function in (cr2_scores, cr2_df):
        with pytest.raises(DataError, match=r"clusters has 1 distinct values"):
            function(
                np.ones((4, 1)),
                *([np.ones(4)] if function is cr2_scores else []),
                np.zeros(4, np.int64),
                *([np.ones(1)] if function is cr2_df else []),
            )


def test_group_codes_of_nothing():
    codes, labels = group_codes(np.zeros(0, np.int64), 0)
    assert codes.shape == labels.shape == (0,)
    assert cluster_sums(np.zeros((0, 2)), codes, 3).tolist() == [[0, 0]] * 3


# survey ----------------------------------------------------------------------------------------


def survey_by_loops(psi, strata, psu, fpc, centre_lonely):
    totals = {}
    for row, h, c in zip(psi, strata, psu, strict=True):
        totals[h, c] = totals.get((h, c), 0.0) + row
    grand, B = np.mean(list(totals.values()), axis=0), 0.0
    for i, h in enumerate(sorted(set(strata.tolist()))):
        z = np.array([total for (stratum, _), total in totals.items() if stratum == h])
        lone = len(z) == 1
        if lone and not centre_lonely:
            continue
        d = z - (grand if lone else z.mean(axis=0))
        B = B + (1 - fpc[i]) * (1 if lone else len(z) / (len(z) - 1)) * d.T @ d
    return B / len(psi)


@pytest.mark.parametrize("with_fpc", [False, True])
def test_survey_equals_definition(with_fpc):
    rng = np.random.default_rng(0)
    strata, psu = rng.integers(0, 5, size=200) * 10, rng.integers(0, 6, size=200)
    psi = rng.normal(size=(200, 3))
    fpc = rng.uniform(0, 0.5, size=5) if with_fpc else None
    got = survey_meat(psi, strata=strata, psu=psu, fpc=fpc)
    expected = survey_by_loops(psi, strata, psu, np.zeros(5) if fpc is None else fpc, False)
    np.testing.assert_allclose(got.matrix, expected, rtol=1e-11)
    assert got.n_strata == 5
    assert got.n_clusters == len(set(zip(strata.tolist(), psu.tolist(), strict=True)))


def test_survey_special_cases():
    psi = np.random.default_rng(0).normal(size=(50, 2))
    psi -= psi.mean(axis=0)
    # Simple random sampling of centred scores is HC with n/(n-1), PSUs are CR with G/(G-1).
    np.testing.assert_allclose(survey_meat(psi).matrix, meat(psi).matrix * 50 / 49, rtol=RTOL)
    psu = np.arange(50) % 7
    np.testing.assert_allclose(
        survey_meat(psi, psu=psu).matrix, meat(psi, clusters=psu).matrix * 7 / 6, rtol=1e-11
    )
    np.testing.assert_array_equal(survey_meat(psi, fpc=np.ones(1)).matrix, 0.0)


def test_lonely_psu():
    rng = np.random.default_rng(0)
    strata, psu, psi = np.repeat([4, 7, 9], [10, 5, 1]), np.arange(16) % 5, rng.normal(size=(16, 2))
    message = r"1 of 3 strata have a single psu \(stratum 9 first\)\. Merge them.*lonely='centre'"
    with pytest.raises(DataError, match=message):
        survey_meat(psi, strata=strata, psu=psu)
    fpc = np.array([0.1, 0.2, 0.3])
    got = survey_meat(psi, strata=strata, psu=psu, fpc=fpc, lonely="centre")
    np.testing.assert_allclose(got.matrix, survey_by_loops(psi, strata, psu, fpc, True), rtol=1e-11)
    certain = np.array([0.1, 0.2, 1.0])
    got = survey_meat(psi, strata=strata, psu=psu, fpc=certain)
    expected = survey_by_loops(psi, strata, psu, certain, False)
    np.testing.assert_allclose(got.matrix, expected, rtol=1e-11)
    with pytest.raises(DataError, match=r"psu has 1 distinct values"):
        survey_meat(psi, psu=np.zeros(16, np.int64), lonely="centre")


@pytest.mark.parametrize("fpc", [np.array([0.1]), np.array([0.1, 1.2]), np.array([0.1, np.nan])])
def test_bad_survey_arguments(fpc):
    psi, strata = np.ones((4, 1)), np.array([0, 0, 1, 1])
    with pytest.raises(ParameterError, match=r"fpc must hold 2 sampling fractions in \[0, 1\]"):
        survey_meat(psi, strata=strata, fpc=fpc)
    with pytest.raises(ParameterError, match=r"lonely must be 'raise' or 'centre', got 'drop'"):
        survey_meat(psi, strata=strata, lonely="drop")
    with pytest.raises(DataError, match=r"strata has shape \(2,\) for 4 rows"):
        survey_meat(psi, strata=np.arange(2))


# small samples, sandwich, few clusters ---------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "clusters", "factor", "df"),
    [
        ("HC0", None, 1.0, math.inf),
        ("HC1", None, 100 / 96, 96.0),
        ("HC2", None, 1.0, 96.0),
        ("HC3", 20, 1.0, 96.0),
        ("CR0", 20, 1.0, math.inf),
        ("CR1", 20, 20 / 19 * 99 / 96, 19.0),
        ("CR1", (20, 11), 11 / 10 * 99 / 96, 10.0),
        ("CR2", 20, 1.0, 19.0),
    ],
)
def test_small_sample(kind, clusters, factor, df):
    got = small_sample(kind, n_obs=100, n_params=4, n_clusters=clusters)
    assert got.factor == pytest.approx(factor, rel=1e-15)
    assert got.df == df


def test_small_sample_errors():
    with pytest.raises(ParameterError, match=r"kind must be one of HC0, .*CR2, got 'hc1'"):
        small_sample("hc1", n_obs=10, n_params=2)
    with pytest.raises(ParameterError, match=r"kind='CR1' needs n_clusters\. Pass clusters"):
        small_sample("CR1", n_obs=10, n_params=2)
    with pytest.raises(DataError, match=r"4 rows cannot estimate the variance of 4 parameters"):
        small_sample("HC1", n_obs=4, n_params=4)
    with pytest.raises(DataError, match=r"clusters has 1 distinct values"):
        small_sample("CR0", n_obs=10, n_params=2, n_clusters=(5, 1))


def test_sandwich_of_asymmetric_jacobian():
    rng = np.random.default_rng(0)
    J, half = rng.normal(size=(3, 3)) + 2 * np.eye(3), rng.normal(size=(3, 3))
    inverse = np.linalg.inv(J)
    V = sandwich(J, half @ half.T, 50, factor=1.5)
    np.testing.assert_allclose(V, 1.5 * inverse @ half @ half.T @ inverse.T / 50, rtol=1e-10)
    np.testing.assert_array_equal(V, V.T)
    D = np.diag([1e-8, 1.0, 1e8])
    scaled = sandwich(D @ J @ D, D @ half @ half.T @ D, 50, factor=1.5)
    np.testing.assert_allclose(D @ scaled @ D, V, rtol=1e-9)


def test_singular_jacobian_names_columns():
    X, _, _, _, _, _, _ = problem()
    X[:, 3] = X[:, 1] * 1e6
    with pytest.raises(CollinearityError, match=r"column 'km' is a linear combination of 'mm'"):
        sandwich(X.T @ X / 300, np.eye(4), 300, names=["one", "mm", "z", "km"])


def test_few_clusters_warn():
    with pytest.warns(SmallClusterWarning, match=r"Only 6 clusters \(fewer than 10\).*'CR2'"):
        check_clusters(6)
    check_clusters(10)
    with pytest.warns(SmallClusterWarning, match=r"Only 10 clusters \(fewer than 20\)"):
        check_clusters(10, minimum=20)
