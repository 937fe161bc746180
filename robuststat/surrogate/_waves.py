"""Expert labels in waves: each wave is placed where the earlier ones found the machine wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from robuststat._core.errors import ParameterError
from robuststat._core.params import in_range
from robuststat._core.rng import RandomState, check_rng
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.surrogate._allocation import (
    allocation_problem,
    neyman_probabilities,
    second_moments,
)
from robuststat.surrogate._fit import estimate
from robuststat.surrogate._goals import check_value


@dataclass(frozen=True, slots=True)
class Wave:
    """Rows to label now, and the probabilities with which the labels of all waves are used.

    Attributes
    ----------
    rows : ndarray of shape (n_labels,)
        Positions of the rows to label in this wave, ascending; never labelled before.
    labeled : ndarray of bool of shape (n,)
        Rows chosen in this wave or an earlier one.
    prob : ndarray of shape (n,)
        Probability with which this wave chose each row; 0 where it was labelled before.
    sample_prob : ndarray of shape (n,)
        What to pass to ``fit``: one over the weight of a labelled row after all waves so far. For
        other rows, what it would be had this wave chosen them; it does not enter the estimate.
    sizes : tuple of int
        Number of labels of each wave.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DSLMean, draw_wave
    >>> wave = draw_wave(DSLMean(), None, np.full(1000, np.nan), n_labels=50, random_state=0)
    >>> wave.sizes, wave.rows.size, float(wave.sample_prob[0])
    ((50,), 50, 0.05)
    """

    rows: IntArray
    labeled: BoolArray
    prob: Array
    sample_prob: Array
    sizes: tuple[int, ...]


def draw_wave(
    est: Any,
    X: Any,
    y: Any,
    *,
    n_labels: int,
    coef: str | None = None,
    prediction: Any = None,
    earlier: Wave | None = None,
    floor: float = 0.1,
    random_state: RandomState = None,
    **roles: Any,
) -> Wave:
    """Choose the rows to label next, so that one coefficient becomes as precise as possible.

    Without ``earlier`` the rows are drawn with equal probabilities. Later waves use the labels so
    far, see :meth:`LabelPlan.allocation`. Label ``wave.rows``, then draw the next wave, or fit with
    ``design="bernoulli", normalize_prob=False`` and ``sample_prob=wave.sample_prob``.

    Parameters
    ----------
    est : DSLRegressor, DSLClassifier, DSLMean or DSLMoment
        Says which model and learner; need not be fitted, and is not changed.
    X, y, prediction, **roles
        The rows as for ``fit``, labels of earlier waves in ``y`` (missing elsewhere); without
        ``labeled`` and ``sample_prob``, which are those of ``earlier``.
    n_labels : int
        Rows to choose, exactly. Decide the numbers of all waves before the first.
    coef : str, optional
        Term whose variance counts. Needed from the second wave on.
    earlier : Wave, optional
        What the last call returned.
    floor : float, default=0.1
        Share of uniform sampling mixed into a wave.
    random_state : int, SeedSequence, Generator, RandomState or None
        Seed of the draw.

    Returns
    -------
    Wave

    Raises
    ------
    ParameterError
        When too few rows are left (waves can label about half of them), or ``coef`` is no term.
    RoleError
        When labels of the earlier waves are missing.

    See Also
    --------
    combine_waves : The same weights for waves drawn elsewhere.

    Notes
    -----
    Wave t draws from the rows not labelled before, with probabilities pi_t that depend on earlier
    waves only. The weight w_t is 1 where a row was labelled before, 1 / pi_t where it is drawn now,
    0 otherwise: given the past its expectation is 1 for every row, whatever the past taught. The
    waves are averaged with their sizes, W_t = (1 - l) W_{t-1} + l w_t with l = n_t / (n_1 + ... +
    n_t), so E W = 1 and the estimating equations are unbiased. W_t - 1 is a sum of martingale
    differences, so sum (W - 1)^2 delta delta' estimates the labelling noise without bias for
    independent draws and the ordinary robust variance holds; a wave of fixed size makes it, if
    anything, too large. W is passed on as ``sample_prob`` = 1 / W, which is not an inclusion
    probability (that is not known when later waves depend on earlier labels); pi_t <= l keeps it in
    (0, 1]. This is exact for predictions that do not depend on the labels
    (``learner="passthrough"``); a cross-fitted learner sees labels whose places depend on other
    folds, which vanishes in large samples and not in the simulations of
    ``benchmarks/label_waves.py``.

    References
    ----------
    Zrnic, T. and Candes, E. J. (2024). Active Statistical Inference. ICML.

    Des Raj (1956). Some Estimators in Sampling with Varying Probabilities without Replacement.
    Journal of the American Statistical Association 51(274), 269-284.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DSLRegressor, draw_wave
    >>> from robuststat.simulation import make_surrogate_linear
    >>> data = make_surrogate_linear(n=1000, random_state=0)
    >>> y = np.full(1000, np.nan)
    >>> est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
    >>> wave = None
    >>> for seed in range(3):
    ...     wave = draw_wave(
    ...         est,
    ...         data.X,
    ...         y,
    ...         n_labels=80,
    ...         coef="x1",
    ...         prediction=data.prediction,
    ...         earlier=wave,
    ...         random_state=seed,
    ...     )
    ...     y[wave.rows] = data.y_gold[wave.rows]  # the experts at work
    >>> fit = est.fit(data.X, y, prediction=data.prediction, sample_prob=wave.sample_prob)
    >>> fit.n_labeled_, wave.sizes
    (240, (80, 80, 80))
    """
    check_value("floor", floor, in_range(0, 1))
    rng = check_rng(random_state)
    n = _count_rows(X, y) if earlier is None else earlier.labeled.size
    past = np.zeros(n, dtype=bool) if earlier is None else earlier.labeled
    sizes = () if earlier is None else earlier.sizes
    check_value("n_labels", n_labels, in_range(1, np.inf, closed="left", integer=True))
    size, free = int(n_labels), np.flatnonzero(~past)
    share = size / (sum(sizes) + size)
    if size > share * free.size:
        raise ParameterError(
            f"n_labels is {size}, but wave {len(sizes) + 1} can label at most "
            f"{max(free.size - sum(sizes), 0)} of {n} rows. Use fewer labels or fewer waves."
        )
    weight = np.zeros(n)
    if earlier is None:
        chance = np.full(n, size / n)
    else:
        size_of = _sizes(est, X, y, coef, prediction, earlier, roles)[free]
        chance = neyman_probabilities(size_of, float(size), floor, cap=share)
        weight[past] = (1.0 - share) / earlier.sample_prob[past] + share
    prob = np.zeros(n)
    prob[free] = chance
    weight[free] = share / chance
    rows = np.sort(free[_systematic(chance, size, rng)])
    labeled = past.copy()
    labeled[rows] = True
    used = np.minimum(1.0, 1.0 / weight)
    return Wave(rows, labeled, prob, used, (*sizes, size))


def _count_rows(X: Any, y: Any) -> int:
    if X is not None and not isinstance(X, str) and hasattr(X, "__len__"):
        return len(X)
    if y is None or isinstance(y, str) or not hasattr(y, "__len__"):
        raise ParameterError("draw_wave needs the rows: pass X, or y with missing values.")
    return len(y)


def _sizes(
    est: Any, X: Any, y: Any, coef: Any, prediction: Any, earlier: Wave, roles: dict[str, Any]
) -> Array:
    """Root of the expected squared correction of every row, from the labels so far."""
    if isinstance(est, type) or not hasattr(est, "_prepare"):
        raise ParameterError(
            "est must be a DSLRegressor, DSLClassifier, DSLMean or DSLMoment instance."
        )
    taken = [name for name in ("labeled", "sample_prob") if name in roles]
    if taken:
        raise ParameterError(f"{' and '.join(taken)} come from earlier. Leave them out.")
    if coef is None:
        raise ParameterError("coef is needed from the second wave on: the term that counts.")
    options = {"design": "bernoulli", "normalize_prob": False, "variance": "robust"}
    pilot = clone(est).set_params(**options, prob_terms=None)
    problem, settings = allocation_problem(
        pilot,
        X,
        y,
        prediction=prediction,
        labeled=earlier.labeled.astype(np.float64),
        sample_prob=earlier.sample_prob,
        **roles,
    )
    names = problem.labels
    if coef not in names:
        raise ParameterError(f"coef is {coef!r}; the terms are {', '.join(names)}.")
    found = estimate(problem, replace(settings, n_rep=1))
    position = names.index(coef)
    moments = second_moments(problem, settings, found.predictions, found.theta, position)
    return np.asarray(np.sqrt(moments))


def _systematic(prob: Array, size: int, rng: np.random.Generator) -> IntArray:
    """Draw exactly ``size`` rows with the given probabilities: systematic in random order."""
    order = rng.permutation(prob.size)
    steps = np.cumsum(prob[order])
    steps *= size / steps[-1]
    points = rng.random() + np.arange(size)
    found = np.searchsorted(steps, points, side="right")
    return np.asarray(order[np.minimum(found, prob.size - 1)])
