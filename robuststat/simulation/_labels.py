"""Which rows an expert labels: sampling designs with known probabilities, and argument checks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, BoolArray, IntArray

__all__ = [
    "LabelDesign",
    "Seed",
    "check_fraction",
    "check_integer",
    "check_option",
    "draw_labels",
    "label_rows",
]

LabelDesign: TypeAlias = Literal["srs", "bernoulli", "stratified", "unequal"]
Seed: TypeAlias = int | np.random.SeedSequence | np.random.Generator | None

# Labelling probabilities of the designs "unequal" and "stratified": column at most 0, above 0.
_SHARE_LOW, _SHARE_HIGH = 0.08, 0.2


def draw_labels(
    n: int,
    n_labeled: int | Mapping[Any, int] | None = None,
    *,
    design: LabelDesign = "srs",
    strata: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw the rows that an expert labels, with their known labelling probabilities.

    Parameters
    ----------
    n : int
        Number of rows.
    n_labeled : int, mapping of stratum to int, or None
        Number of labelled rows (``"srs"``, ``"stratified"``) or its expectation (``"bernoulli"``,
        ``"unequal"``). A number is spread over strata in proportion to their sizes, a mapping
        states the count of each stratum. None is allowed for ``"unequal"`` only and takes ``prob``
        as it is.
    design : {"srs", "bernoulli", "stratified", "unequal"}, default "srs"
        Simple random sampling of fixed size; independent draws of equal probability; simple random
        sampling within strata; independent draws with probabilities proportional to ``prob``.
    strata : array-like of shape (n,), optional
        Stratum of each row, for ``"stratified"`` only.
    prob : array-like of shape (n,), optional
        Labelling probability of each row, for ``"unequal"`` only. With a number ``n_labeled`` it is
        rescaled so that its sum is ``n_labeled``.
    random_state : int, SeedSequence, Generator or None, default None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``labeled``, bool array of shape (n,), and ``sample_prob``, array of shape (n,) of
        probabilities in (0, 1].

    Raises
    ------
    ParameterError
        If an argument is missing, does not belong to the design, or is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import draw_labels
    >>> draw = draw_labels(6, 3, design="stratified", strata=list("aaaabb"), random_state=0)
    >>> draw.sample_prob
    array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    >>> int(draw.labeled.sum())
    3
    """
    check_integer("n", n, 1)
    check_option("design", design, LabelDesign)
    for name, value, owner in [("strata", strata, "stratified"), ("prob", prob, "unequal")]:
        if (value is not None) != (design == owner):
            raise ParameterError(
                f"{name} belongs to design={owner!r} and to no other, but design is {design!r} and "
                f"{name} is {'missing' if value is None else 'given'}. "
                f"{'Pass' if value is None else 'Drop'} {name}, or change the design."
            )
    rng = np.random.default_rng(random_state)
    if strata is not None:
        return _draw_stratified(n, n_labeled, np.asarray(strata), rng)
    if prob is not None:
        sample_prob = _scaled_probabilities(n, n_labeled, np.asarray(prob, dtype=float))
        return Bunch(labeled=rng.random(n) < sample_prob, sample_prob=sample_prob)
    size = check_integer("n_labeled", n_labeled, 1, n)
    sample_prob = np.full(n, size / n)
    if design == "bernoulli":
        return Bunch(labeled=rng.random(n) < sample_prob, sample_prob=sample_prob)
    labeled = np.zeros(n, dtype=bool)
    labeled[rng.choice(n, size, replace=False)] = True
    return Bunch(labeled=labeled, sample_prob=sample_prob)


def label_rows(
    by: Array,
    n_labeled: int | None,
    design: LabelDesign,
    clusters: IntArray | None,
    rng: np.random.Generator,
) -> Bunch:
    """Draw labels with probabilities that depend on the sign of one column where they may."""
    n = by.size
    roles = {} if clusters is None else {"clusters": clusters}
    if n_labeled is not None:
        check_integer("n_labeled", n_labeled, 1, n)
    if design == "unequal":
        prob = np.where(by > 0, _SHARE_HIGH, _SHARE_LOW)
        return Bunch(
            **draw_labels(n, n_labeled, design=design, prob=prob, random_state=rng), **roles
        )
    if design == "stratified":
        total = round((_SHARE_LOW + _SHARE_HIGH) / 2 * n) if n_labeled is None else n_labeled
        high = round(total * _SHARE_HIGH / (_SHARE_LOW + _SHARE_HIGH))
        strata = (by > 0).astype(np.int64)
        counts = {0: total - high, 1: high}
        draw = draw_labels(n, counts, design=design, strata=strata, random_state=rng)
        return Bunch(**draw, strata=strata, **roles)
    total = max(1, n // 10) if n_labeled is None else n_labeled
    return Bunch(**draw_labels(n, total, design=design, random_state=rng), **roles)


def _draw_stratified(
    n: int,
    n_labeled: int | Mapping[Any, int] | None,
    strata: NDArray[Any],
    rng: np.random.Generator,
) -> Bunch:
    """Draw a fixed number of rows of each stratum by simple random sampling."""
    if strata.shape != (n,):
        raise ParameterError(
            f"strata has shape {strata.shape}. Pass one stratum for each of n={n}."
        )
    levels, codes = np.unique(strata, return_inverse=True)
    sizes = np.bincount(codes)
    counts = _allocate(n_labeled, levels.tolist(), sizes)
    labeled = np.zeros(n, dtype=bool)
    for code, count in enumerate(counts):
        labeled[rng.choice(np.flatnonzero(codes == code), count, replace=False)] = True
    return Bunch(labeled=labeled, sample_prob=(counts / sizes)[codes])


def _allocate(
    n_labeled: int | Mapping[Any, int] | None, levels: list[Hashable], sizes: IntArray
) -> IntArray:
    """Labels per stratum: as stated, or in proportion to size by largest remainders."""
    if isinstance(n_labeled, Mapping):
        if set(n_labeled) != set(levels):
            raise ParameterError(
                f"n_labeled names the strata {list(n_labeled)}, but strata holds {levels}. "
                "State the number of labels of every stratum."
            )
        stated = [
            check_integer(f"n_labeled[{level!r}]", n_labeled[level], 1, int(size))
            for level, size in zip(levels, sizes, strict=True)
        ]
        return np.array(stated, dtype=np.int64)
    total = check_integer("n_labeled", n_labeled, 1, int(sizes.sum()))
    share = total * sizes / sizes.sum()
    counts: IntArray = np.floor(share).astype(np.int64)
    counts[np.argsort(counts - share, kind="stable")[: total - counts.sum()]] += 1
    if counts.min() < 1:
        raise ParameterError(
            f"n_labeled={total} leaves no label for the stratum {levels[int(counts.argmin())]!r}. "
            "Pass more labels, or a mapping of stratum to number of labels."
        )
    return counts


def _scaled_probabilities(n: int, n_labeled: int | Mapping[Any, int] | None, prob: Array) -> Array:
    """Check the labelling probabilities and scale them to the wanted expected number of labels."""
    if prob.shape != (n,):
        raise ParameterError(
            f"prob has shape {prob.shape}. Pass one probability for each of n={n}."
        )
    _refuse_rows("values that are not positive and finite", prob, ~((prob > 0) & (prob < np.inf)))
    if n_labeled is None:
        _refuse_rows("values above 1", prob, prob > 1)
        return prob
    size = check_integer("n_labeled", n_labeled, 1, n)
    scaled = prob * (size / prob.sum())
    rounding = 1 + 1e-12
    _refuse_rows(f"values above 1 after scaling to n_labeled={size}", scaled, scaled > rounding)
    capped: Array = np.minimum(scaled, 1.0)
    return capped


def _refuse_rows(what: str, prob: Array, wrong: BoolArray) -> None:
    """Raise if a probability is wrong, with the number of such rows and the first of them."""
    if wrong.any():
        row = int(wrong.argmax())
        raise ParameterError(
            f"prob has {wrong.sum()} {what} (first {prob[row]:.4g} at row {row}). "
            "Pass a probability in (0, 1] for every row, or fewer labels."
        )


def check_option(name: str, value: object, options: Any) -> None:
    """Refuse a value that is not one of the strings of a Literal."""
    allowed = get_args(options)
    if value not in allowed:
        raise ParameterError(
            f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}."
        )


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return an integer within bounds, or refuse it."""
    if (
        not isinstance(value, (int, np.integer))
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        upper = "" if high is None else f" and at most {high}"
        raise ParameterError(f"{name} must be an integer of at least {low}{upper}; got {value!r}.")
    return int(value)


def check_fraction(
    name: str, value: float, low: float, high: float, *, closed: bool = True
) -> None:
    """Refuse a number outside an interval."""
    inside = low <= value <= high if closed else low < value < high
    if not inside:
        bounds = f"[{low}, {high}]" if closed else f"({low}, {high})"
        raise ParameterError(f"{name} must lie in {bounds}; got {value!r}.")
