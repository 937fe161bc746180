"""Folds and out-of-fold predictions: balance, groups, seeds, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDRegressor
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robuststat._core.crossfit import NuisanceTask, cross_fit, make_folds
from robuststat._core.errors import DataError, ParameterError, SmallClusterWarning

# The same least squares on the same rows.
RTOL = 1e-9


def rng(seed=0):
    return np.random.default_rng(seed)


def sizes(pairs):
    return [len(test) for _, test in pairs]


def assert_partition(pairs, n):
    assert_array_equal(np.sort(np.concatenate([test for _, test in pairs])), np.arange(n))
    for train, test in pairs:
        assert np.intersect1d(train, test).size == 0
        assert train.dtype == test.dtype == np.int64


# Folds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "cv"), [(10, 2), (11, 2), (100, 7), (23, 23), (5, 10), (3, 2)])
def test_fold_sizes_differ_by_at_most_one(n, cv):
    splits, seeds = make_folds(n, cv, 3, rng())
    assert len(splits) == len(seeds) == 3
    for pairs in splits:
        assert len(pairs) == min(cv, n)
        assert_partition(pairs, n)
        assert max(sizes(pairs)) - min(sizes(pairs)) <= 1
        assert all(len(train) + len(test) == n for train, test in pairs)


def test_strata_are_spread_evenly():
    strata = rng(1).permutation(np.repeat([0, 1, 2], [61, 29, 10]))
    (pairs,), _ = make_folds(100, 5, 1, rng(), strata=strata)
    counts = np.array([np.bincount(strata[test], minlength=3) for _, test in pairs])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    assert set(sizes(pairs)) == {20}


def test_groups_are_never_split():
    groups = rng(2).integers(0, 30, size=200)
    splits, _ = make_folds(200, 5, 4, rng(), groups=groups)
    for pairs in splits:
        assert_partition(pairs, 200)
        assert [len(np.unique(groups[test])) for _, test in pairs] == [6] * 5
        for train, test in pairs:
            assert np.intersect1d(groups[train], groups[test]).size == 0


def test_groups_with_a_rare_stratum_are_spread():
    # Five of twenty clusters hold a labelled row: one in each fold.
    groups = np.repeat(np.arange(20), 4)
    strata = np.zeros(80, dtype=np.int64)
    strata[[1, 5, 9, 13, 17]] = 1
    (pairs,), _ = make_folds(80, 5, 1, rng(), groups=groups, strata=strata)
    assert [strata[test].sum() for _, test in pairs] == [1] * 5


@pytest.mark.parametrize(("n_groups", "n_folds"), [(9, 4), (5, 2), (3, 2), (2, 2)])
def test_few_groups_reduce_the_folds(n_groups, n_folds):
    groups = np.arange(40) % n_groups
    words = f"{n_groups} clusters are few for cv=5: {n_folds} folds are used instead"
    with pytest.warns(SmallClusterWarning, match=words):
        (pairs,), _ = make_folds(40, 5, 1, rng(), groups=groups)
    assert len(pairs) == n_folds
    assert_partition(pairs, 40)


@pytest.mark.parametrize(("n_groups", "cv"), [(10, 5), (3, 2), (2, 2)])
def test_enough_groups_do_not_warn(n_groups, cv):
    (pairs,), _ = make_folds(40, cv, 1, rng(), groups=np.arange(40) % n_groups)
    assert len(pairs) == cv


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match="at least 2 clusters to keep them apart; got 1"):
        make_folds(10, 2, 1, rng(), groups=np.zeros(10, dtype=np.int64))


def test_folds_are_reproducible_and_differ_between_repetitions():
    first, seeds = make_folds(50, 5, 2, rng(7))
    again, same_seeds = make_folds(50, 5, 2, rng(7))
    other, _ = make_folds(50, 5, 2, rng(8))
    assert_array_equal(seeds, same_seeds)
    assert_array_equal(first[0][0][1], again[0][0][1])
    assert not np.array_equal(first[0][0][1], first[1][0][1])
    assert not np.array_equal(first[0][0][1], other[0][0][1])
    # Fewer repetitions are a beginning of more.
    assert_array_equal(make_folds(50, 5, 1, rng(7))[0][0][0][1], first[0][0][1])


PAIRS = [([0, 1, 2], [3, 4]), ([2, 3, 4], [0, 1]), ([0, 1, 3, 4], [2])]


def masks():
    return [(np.isin(np.arange(5), train), np.isin(np.arange(5), test)) for train, test in PAIRS]


@pytest.mark.parametrize(
    "cv",
    [
        PAIRS,
        tuple(PAIRS),
        [PAIRS],
        [(np.array(train), np.array(test)) for train, test in PAIRS],
        masks(),
        [masks()],
        [(m.tolist(), t.tolist()) for m, t in masks()],
    ],
)
def test_user_partitions(cv):
    (pairs,), _ = make_folds(5, cv, 1, rng())
    assert_partition(pairs, 5)
    for (train, test), (expected_train, expected_test) in zip(pairs, PAIRS, strict=True):
        assert_array_equal(train, expected_train)
        assert_array_equal(test, expected_test)


def test_pairs_of_two_rows_are_not_a_nested_list():
    (pairs,), _ = make_folds(4, [([0, 1], [2, 3]), ([2, 3], [0, 1])], 1, rng())
    assert_array_equal(pairs[0][0], [0, 1])
    assert_partition(pairs, 4)


def test_one_partition_for_each_repetition():
    other = [([0, 1], [2, 3, 4]), ([2, 3, 4], [0, 1])]
    splits, seeds = make_folds(5, [PAIRS, other], 2, rng())
    assert [len(pairs) for pairs in splits] == [3, 2]
    assert seeds.shape == (2,)


BAD = {
    "holes": ([([0, 1], [2, 3])], "every row exactly once; row 0 is in 0 of them"),
    "overlap": (
        [([3, 4], [0, 1, 2]), ([0, 1], [2, 3, 4])],
        "every row exactly once; row 2 is in 2 of them",
    ),
    "twice in one part": (
        [([3, 4], [0, 1, 2, 2]), ([0, 1, 2], [3, 4])],
        "every row exactly once; row 2 is in 2 of them",
    ),
    "test beyond": ([([0, 1, 2], [3, 5])], "cv names row 5, but there are 5 rows"),
    "test negative": ([([0, 1, 2], [3, -1])], "cv names row -1, but there are 5 rows"),
    "train beyond": ([([0, 9], [1, 2, 3, 4])], "cv names row 9, but there are 5 rows"),
    "train negative": ([([0, -2], [1, 2, 3, 4])], "cv names row -2, but there are 5 rows"),
    "leak": ([([0, 1, 2], [2, 3, 4])], "tests on rows it trains on"),
    "empty": ([], "row 0 is in 0 of them"),
    "no pairs": ([3, 4], r"cv must be a list of \(train, test\) pairs; it holds 3"),
    "three parts": ([([0], [1], [2])], "cv must be a list of"),
    "floats": (
        [([0.0, 1.0], [2, 3, 4])],
        r"positions \(integers\) or masks of 5 rows; got an array of shape \(2,\) and type float",
    ),
    "short mask": ([([True, False], [2, 3, 4])], "masks of 5 rows; got .* type bool"),
    "two-dimensional": ([(np.eye(2, dtype=int), [2, 3, 4])], r"shape \(2, 2\)"),
    "too few partitions": ([PAIRS], r"cv holds 1 partitions but n_rep=2\. Pass one list"),
    "not nested": (PAIRS, "cv holds 1 partitions but n_rep=2"),
    "shuffle split": (ShuffleSplit(3, random_state=0), "must hold every row exactly once"),
    "repeated": (RepeatedKFold(n_splits=2, n_repeats=2), "row 0 is in 2 of them"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_partitions(case):
    cv, words = BAD[case]
    n_rep = 2 if "n_rep" in words else 1
    with pytest.raises(ParameterError, match=words):
        make_folds(5, cv, n_rep, rng())


def test_partition_that_splits_a_cluster():
    groups = np.array([0, 0, 1, 1, 2, 2])
    good = [([2, 3, 4, 5], [0, 1]), ([0, 1], [2, 3, 4, 5])]
    make_folds(6, good, 1, rng(), groups=groups)
    with pytest.raises(ParameterError, match=r"rows of one cluster\. Keep clusters together"):
        make_folds(6, list(KFold(4).split(groups)), 1, rng(), groups=groups)


def test_splitters():
    (first, second), _ = make_folds(30, KFold(3, shuffle=True), 2, rng(1))
    assert_partition(first, 30)
    assert not np.array_equal(first[0][1], second[0][1])
    again = make_folds(30, KFold(3, shuffle=True), 2, rng(1))[0]
    assert_array_equal(first[0][1], again[0][0][1])
    # Without shuffling there is nothing to seed: repeating would only repeat.
    with pytest.warns(UserWarning, match="same partition every time: one repetition .* of 2"):
        (first,), seeds = make_folds(30, KFold(3), 2, rng(1))
    assert_array_equal(first[0][1], np.arange(10))
    assert seeds.size == 1
    # A seed that the user chose stays, and the user's object is not touched.
    fixed = KFold(3, shuffle=True, random_state=5)
    (first,), _ = make_folds(30, fixed, 1, rng(1))
    assert_array_equal(first[0][1], next(iter(fixed.split(np.zeros(30))))[1])
    free = KFold(3, shuffle=True)
    make_folds(30, free, 1, rng(1))
    assert free.random_state is None


def test_splitters_receive_groups_and_strata():
    groups = np.arange(40) // 4
    (pairs,), _ = make_folds(40, GroupKFold(5), 1, rng(), groups=groups)
    assert all(np.intersect1d(groups[train], groups[test]).size == 0 for train, test in pairs)
    strata = np.arange(40) % 2
    (pairs,), _ = make_folds(40, StratifiedKFold(5), 1, rng(), strata=strata)
    assert [strata[test].sum() for _, test in pairs] == [4] * 5


# Predictions --------------------------------------------------------------------------------


def task(learner, n=60, name="outcome", seed=0, binary=False, weights=None, usable=None):
    random = rng(seed)
    features = random.normal(size=(n, 2))
    target = features @ [1.0, -2.0] + random.normal(size=n)
    target = (target > 0) * 1.0 if binary else target
    usable = random.random(n) < 0.7 if usable is None else usable
    target[~usable] = np.nan
    return NuisanceTask(name, learner, features, target, usable, weights)


def run(tasks, cv=3, n_rep=1, seed=0, **options):
    generator = rng(seed)
    splits, seeds = make_folds(len(tasks[0].target), cv, n_rep, generator)
    return splits, cross_fit(tasks, splits, seeds, generator, **options)


@pytest.mark.parametrize("kind", ["regressor", "classifier", "weighted"])
def test_predictions_and_losses_are_direct_computations(kind):
    weights = rng(9).uniform(0.1, 5.0, size=60) if kind == "weighted" else None
    binary = kind == "classifier"
    learner = LogisticRegression() if binary else LinearRegression()
    one = task(learner, binary=binary, weights=weights)
    splits, fit = run([one], n_rep=2)
    assert fit.predictions["outcome"].shape == fit.fold_id.shape == (2, 60)
    assert fit.losses["outcome"].shape == (2, 3)
    for r, pairs in enumerate(splits):
        for k, (train, test) in enumerate(pairs):
            rows = train[one.usable[train]]
            model = type(learner)()
            sample_weight = None if weights is None else weights[rows]
            model.fit(one.features[rows], one.target[rows], sample_weight=sample_weight)
            if binary:
                expected = model.predict_proba(one.features[test])[:, 1]
            else:
                expected = model.predict(one.features[test])
            assert_allclose(fit.predictions["outcome"][r, test], expected, rtol=RTOL)
            seen = one.usable[test]
            loss = np.mean((one.target[test] - expected)[seen] ** 2)
            assert_allclose(fit.losses["outcome"][r, k], loss, rtol=RTOL)
            assert (fit.fold_id[r, test] == k).all()
    assert not hasattr(learner, "coef_")


def test_no_row_is_predicted_by_a_model_that_saw_it():
    # The nearest neighbour repeats the target of a row it was trained on.
    one = task(KNeighborsRegressor(1), usable=np.ones(60, dtype=bool))
    _, fit = run([one], cv=6)
    assert not np.isclose(fit.predictions["outcome"][0], one.target).any()


def test_fold_without_usable_rows_has_no_loss():
    usable = np.arange(60) < 30
    one = task(LinearRegression(), usable=usable)
    cv = [(np.arange(45), np.arange(45, 60)), (np.arange(45, 60), np.arange(45))]
    cv[1] = (np.r_[0:10, 45:60], np.arange(10, 45))
    cv.append((np.arange(10, 60), np.arange(10)))
    _, fit = run([one], cv=cv)
    assert_array_equal(np.isnan(fit.losses["outcome"][0]), [True, False, False])
    assert np.isfinite(fit.predictions["outcome"]).all()


def test_repetitions_may_have_different_numbers_of_folds():
    cv = [list(KFold(3).split(np.zeros(60))), list(KFold(2).split(np.zeros(60)))]
    _, fit = run([task(LinearRegression())], cv=cv, n_rep=2)
    assert_array_equal(np.isnan(fit.losses["outcome"]), [[False] * 3, [False, False, True]])
    assert np.isfinite(fit.predictions["outcome"]).all()


def test_results_do_not_depend_on_n_jobs():
    tasks = [
        task(RandomForestRegressor(5), name="a"),
        task(make_pipeline(StandardScaler(), SGDRegressor()), name="b", seed=1),
    ]
    _, one = run(tasks, n_rep=2, n_jobs=1)
    _, two = run(tasks, n_rep=2, n_jobs=2)
    for name in ("a", "b"):
        assert_array_equal(one.predictions[name], two.predictions[name])
        assert_array_equal(one.losses[name], two.losses[name])
    assert_array_equal(one.fold_id, two.fold_id)
    assert_array_equal(one.seeds, two.seeds)


def test_predictions_do_not_depend_on_other_tasks_without_randomness():
    a, b = task(LinearRegression(), name="a"), task(LinearRegression(), name="b", seed=1)
    _, forth = run([a, b])
    _, back = run([b, a])
    for name in ("a", "b"):
        assert_array_equal(forth.predictions[name], back.predictions[name])


class Seeded(RegressorMixin, BaseEstimator):
    """Predicts the seed it was given."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.seed_ = self.random_state
        return self

    def predict(self, X):
        return np.full(len(X), float(self.seed_))


def test_open_seeds_are_filled_and_given_ones_respected():
    tasks = [
        task(Seeded(), name="open"),
        task(Seeded(random_state=7), name="given"),
        task(make_pipeline(StandardScaler(), Seeded()), name="nested"),
    ]
    _, fit = run(tasks, n_rep=2)
    assert (fit.predictions["given"] == 7).all()
    for name in ("open", "nested"):
        # One seed a fold and repetition, none used twice.
        found = np.unique(fit.predictions[name])
        assert len(found) == 6
        assert ((found >= 0) & (found < 2**31)).all()
    assert np.intersect1d(fit.predictions["open"], fit.predictions["nested"]).size == 0
    assert tasks[0].learner.random_state is None
    _, again = run(tasks, n_rep=2)
    assert_array_equal(fit.predictions["open"], again.predictions["open"])


def test_weights_go_only_to_learners_that_take_them():
    weights = np.where(np.arange(60) % 2, 1e-9, 1.0)
    usable = np.ones(60, dtype=bool)
    tasks = [
        task(DummyRegressor(), name="takes", weights=weights, usable=usable),
        task(KNeighborsRegressor(30), name="ignores", weights=weights, usable=usable),
    ]
    splits, fit = run(tasks, cv=2)
    train, test = splits[0][0]
    target = tasks[0].target
    even = train[train % 2 == 0]
    # The mean of all 30 neighbours is the mean of the training rows.
    assert_allclose(fit.predictions["takes"][0, test], target[even].mean(), rtol=1e-6)
    assert_allclose(fit.predictions["ignores"][0, test], target[train].mean(), rtol=RTOL)


def test_weights_reach_the_last_step_of_a_pipeline():
    weights = rng(9).uniform(0.1, 5.0, size=60)

    def piped(learner):
        return make_pipeline(StandardScaler(), learner)

    tasks = [
        task(LinearRegression(), name="bare", weights=weights),
        task(piped(LinearRegression()), name="piped", weights=weights),
        task(piped(LinearRegression()), name="unweighted"),
        task(piped(KNeighborsRegressor(3)), name="takes none", weights=weights),
    ]
    _, fit = run(tasks, cv=3)
    found = fit.predictions
    assert_allclose(found["piped"], found["bare"], rtol=RTOL)
    assert np.abs(found["unweighted"] - found["bare"]).max() > 1e-3
    assert np.isfinite(found["takes none"]).all()


def test_classifier_needs_zero_one_targets():
    one = task(LogisticRegression())
    one = NuisanceTask(
        "votes", one.learner, one.features, np.arange(60) % 3 + 0.0, np.ones(60, dtype=bool)
    )
    words = r"is a classifier, but 'votes' is not 0/1 \(it takes values such as 0 and 2\)"
    with pytest.raises(ParameterError, match=words):
        run([one])


def test_one_class_names_fold_and_variable():
    target = np.zeros(60)
    target[:3] = 1.0
    one = NuisanceTask(
        "protest", LogisticRegression(), rng().normal(size=(60, 2)), target, np.ones(60, bool)
    )
    cv = [(np.arange(30, 60), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    words = r"training part of fold 1 of repetition 1, variable 'protest' has one class only \(0\)"
    with pytest.raises(DataError, match=words):
        run([one], cv=cv)


def test_too_few_labels_name_fold_and_count():
    usable = np.zeros(60, dtype=bool)
    usable[:2] = True
    cv = [(np.arange(2, 60), np.arange(2)), (np.arange(2), np.arange(2, 60))]
    words = "fold 1 of repetition 1, variable 'outcome' has 0 labelled rows; at least 2 are needed"
    with pytest.raises(DataError, match=words):
        run([task(LinearRegression(), usable=usable)], cv=cv)


class Broken(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.where(np.arange(len(X)) == 0, np.nan, 1.0)


def test_predictions_that_are_not_finite():
    with pytest.raises(DataError, match=r"Broken\(\) predicts values of 'outcome' that are not"):
        run([task(Broken())])


class Column(RegressorMixin, BaseEstimator):
    """Predicts integers in a column, as some learners do."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.arange(len(X))[:, None]


def test_column_predictions_are_flattened():
    splits, fit = run([task(Column())])
    assert fit.predictions["outcome"].dtype == np.float64
    for _, test in splits[0]:
        assert_array_equal(fit.predictions["outcome"][0, test], np.arange(len(test)))


def test_progress_bar(capsys):
    run([task(LinearRegression())])
    assert capsys.readouterr().err == ""
    run([task(LinearRegression())], verbose=1)
    assert "cross-fitting" in capsys.readouterr().err


# Targets of several columns, kept learners, rows without training ------------------------------


def class_task(learner, n=90, seed=3):
    random = rng(seed)
    features = random.normal(size=(n, 2))
    codes = (features[:, 0] > 0.3).astype(int) + (features[:, 1] + random.normal(size=n) > 0)
    usable = random.random(n) < 0.8
    target = np.full((n, 3), np.nan)
    target[usable] = np.eye(3)[codes[usable]]
    return NuisanceTask("topic", learner, features, target, usable, None), codes


@pytest.mark.parametrize("learner", [LogisticRegression(), LinearRegression()])
def test_targets_of_several_columns(learner):
    """A classifier learns the class once, a regressor one column at a time."""
    one, codes = class_task(learner)
    splits, fit = run([one])
    assert fit.predictions["topic"].shape == (1, 90, 3)
    for k, (train, test) in enumerate(splits[0]):
        rows = train[one.usable[train]]
        if isinstance(learner, LogisticRegression):
            model = LogisticRegression().fit(one.features[rows], codes[rows])
            expected = model.predict_proba(one.features[test])
        else:
            expected = LinearRegression().fit(one.features[rows], one.target[rows])
            expected = expected.predict(one.features[test])
        assert_allclose(fit.predictions["topic"][0, test], expected, rtol=1e-7)
        seen = one.usable[test]
        loss = ((one.target[test] - expected)[seen] ** 2).sum(axis=1).mean()
        assert_allclose(fit.losses["topic"][0, k], loss, rtol=1e-7)
    assert_allclose(fit.predictions["topic"].sum(axis=2), 1.0, rtol=1e-9)


def test_class_that_a_training_part_lacks_has_probability_zero():
    one, codes = class_task(LogisticRegression())
    rare = np.flatnonzero(one.usable & (codes == 2))
    one.target[rare[1:]] = [1.0, 0.0, 0.0]
    splits, fit = run([one])
    test = next(test for _, test in splits[0] if rare[0] in test)
    assert (fit.predictions["topic"][0, test, 2] == 0.0).all()
    others = np.setdiff1d(np.arange(90), test)
    assert (fit.predictions["topic"][0, others, 2] > 0.0).all()


def test_kept_learners_repeat_the_predictions():
    tasks = [class_task(LogisticRegression())[0], task(LinearRegression(), n=90)]
    splits, fit = run(tasks, n_rep=2, keep_learners=True)
    assert not run(tasks, n_rep=2)[1].fitted
    for one in tasks:
        for r, pairs in enumerate(splits):
            for k, (_, test) in enumerate(pairs):
                again = fit.fitted[one.name][r][k].predict(one.features[test])
                assert_allclose(again, fit.predictions[one.name][r, test], rtol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_idle_rows_are_dealt_as_they_come(grouped):
    """Their fold is known without looking at the others of them, whatever the seed."""
    idle = np.ones(100, dtype=bool)
    idle[rng().choice(100, 37, replace=False)] = False
    groups = np.arange(100) // 2 if grouped else None
    splits, _ = make_folds(100, 4, 3, rng(), groups=groups, idle=idle)
    fixed = idle if groups is None else np.repeat(idle.reshape(50, 2).all(axis=1), 2)
    folds = np.zeros((3, 100), dtype=int)
    for r, pairs in enumerate(splits):
        assert_partition(pairs, 100)
        for k, (_, test) in enumerate(pairs):
            folds[r, test] = k
    assert (folds[:, fixed] == folds[0, fixed]).all()
    assert (folds[:, ~fixed] != folds[0, ~fixed]).any()
    units = np.flatnonzero(fixed) if groups is None else np.flatnonzero(fixed)[::2]
    first = (~fixed).sum() // (1 if groups is None else 2)
    assert_array_equal(folds[0, units], (first + np.arange(units.size)) % 4)
