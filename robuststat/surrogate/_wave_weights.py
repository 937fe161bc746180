"""Labels that were drawn in waves: one probability for the analysis of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat._core.params import is_bool
from robuststat._core.table import plain_values, to_codes, to_float
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._goals import check_value
from robuststat.surrogate._waves import Wave


def combine_waves(
    wave: Any,
    prob: Any = None,
    *,
    strata: Any = None,
    adaptive: bool = True,
    shares: Any = None,
) -> Wave:
    """Combine the labelling probabilities of several waves into the one that ``fit`` takes.

    For waves that were drawn elsewhere, such as fixed numbers in strata, with numbers that may
    depend on earlier labels; :func:`draw_wave` does this by itself. Fit with ``design="bernoulli",
    normalize_prob=False`` and ``sample_prob=combined.sample_prob``.

    Parameters
    ----------
    wave : array-like of shape (n,)
        In which wave a row was labelled: 1, 2, ..., and 0 or missing for never.
    prob : array-like of shape (n, n_waves), optional
        Probability with which each wave chose a row that was not labelled before. By default each
        wave is a simple random sample of the rows left, within strata if given.
    strata : array-like of shape (n,), optional
        Strata with fixed numbers of labels in each wave, instead of ``prob``.
    adaptive : bool, default=True
        Whether later waves may depend on labels of earlier ones. False only if all probabilities
        were fixed, or looked at nothing but columns known for every row.
    shares : array-like of shape (n_waves,), optional
        Weight of each wave for ``adaptive=True``, fixed before the first wave; they sum to one. By
        default the numbers of labels, which then have to be decided beforehand.

    Returns
    -------
    Wave
        ``sample_prob`` for ``fit``; ``rows`` and ``prob`` are those of the last wave. May be passed
        to :func:`draw_wave` as ``earlier``.

    Raises
    ------
    RoleError
        When probabilities are outside [0, 1], zero for rows that were drawn, or, with
        ``adaptive=True``, zero for rows that were still to be had.
    ParameterError
        When ``prob`` and ``strata`` are both given, shares are not positive with sum one, or a row
        would weigh less than 1, which a probability cannot express.
    DataError
        When ``wave`` holds other numbers, or skips one.

    Notes
    -----
    *adaptive=True.* w_t is 1 where a row was labelled before wave t, 1 / pi_t where it is drawn
    now, 0 otherwise. Given the past its expectation is 1 for every row, whatever decided on pi_t.
    W = sum s_t w_t with fixed shares s_t has expectation 1, W - 1 is a sum of martingale
    differences, and 1 / W is passed on. The robust variance holds, and is, if anything, too large
    for fixed numbers, by the more the further predictions are off on average.

    *adaptive=False.* 1 - prod(1 - pi_t), the probability of ever being labelled. With fixed numbers
    in strata this is the share labelled in the stratum, and ``design="stratified"`` with ``strata``
    in ``fit`` is the more precise analysis.

    The product is not valid when waves are adaptive: how often a stratum is revisited then depends
    on the labels that its rows weigh. Where few labels a stratum decide, the share of a rare label
    comes out too small, most without a surrogate and least with a good one. The price of W is
    variance: with surrogates the mean squared error of the product can be as small or smaller.

    References
    ----------
    Des Raj (1956). Some Estimators in Sampling with Varying Probabilities without Replacement.
    Journal of the American Statistical Association 51(274), 269-284.

    Zrnic, T. and Candes, E. J. (2024). Active Statistical Inference. ICML.

    Examples
    --------
    >>> from robuststat import combine_waves
    >>> combined = combine_waves([1, 2, 0, 0, 2, 1, 0, 0], strata=list("aaaabbbb"))
    >>> combined.sizes, combined.sample_prob[:2]
    ((2, 2), array([0.4       , 0.66666667]))
    """
    check_value("adaptive", adaptive, is_bool)
    number = _read_waves(wave)
    n_waves = int(number.max())
    if prob is None:
        chance = _fixed_numbers(number, n_waves, strata)
    else:
        if strata is not None:
            raise ParameterError("Give prob or strata, not both: strata stand for probabilities.")
        chance = _read_probabilities(prob, number, n_waves)
    sizes = np.bincount(number, minlength=n_waves + 1)[1:]
    _check_drawn(chance, number)
    if adaptive:
        used = _averaged(chance, number, _read_shares(shares, sizes))
    else:
        if shares is not None:
            raise ParameterError("shares belongs to adaptive=True. Leave it out.")
        used = 1.0 - np.prod(1.0 - chance, axis=1)
        _refuse(used <= 0.0, "have probability 0 in every wave", "Every row must have a chance")
    last = np.where((number > 0) & (number < n_waves), 0.0, chance[:, -1])
    rows = np.flatnonzero(number == n_waves)
    return Wave(rows, number > 0, last, used, tuple(int(size) for size in sizes))


def _read_waves(wave: Any) -> IntArray:
    values = np.nan_to_num(to_float(plain_values(wave), "wave"), nan=0.0, posinf=-1.0)
    if values.ndim != 1:
        raise DataError(f"wave must be one value a row, shape (n,); got shape {values.shape}.")
    bad = np.flatnonzero((values < 0) | (values != np.floor(values)))
    if bad.size:
        raise DataError(
            f"wave must hold 0, 1, 2, ...; {bad.size} rows do not (first at row {bad[0]}). Number "
            "the waves from 1, and write 0 for rows never labelled."
        )
    number = values.astype(np.int64)
    found = np.unique(number[number > 0])
    if found.size == 0 or found[-1] != found.size:
        seen = ", ".join(str(t) for t in found) or "none"
        raise DataError(f"wave must number the waves 1, 2, ... without gaps; it holds {seen}.")
    return number


def _fixed_numbers(number: IntArray, n_waves: int, strata: Any) -> Array:
    """Probabilities (n, T) of simple random samples of the rows left in each stratum."""
    codes, n_strata = np.zeros(number.size, dtype=np.int64), 1
    if strata is not None:
        read, missing = to_codes(plain_values(strata), "strata")
        if read.codes.shape != number.shape or missing.any():
            raise RoleError(
                f"strata must be known for each of {number.size} rows; it has {read.codes.size} "
                f"values, {missing.sum()} of them missing."
            )
        codes, n_strata = read.codes, len(read.levels)
    chance = np.empty((number.size, n_waves))
    for t in range(1, n_waves + 1):
        left = np.bincount(codes[(number == 0) | (number >= t)], minlength=n_strata)
        drawn = np.bincount(codes[number == t], minlength=n_strata)
        chance[:, t - 1] = (drawn / np.maximum(left, 1))[codes]
    return chance


def _read_probabilities(prob: Any, number: IntArray, n_waves: int) -> Array:
    given: Any = np.asarray(plain_values(prob))
    given = given[:, None] if given.ndim == 1 else given
    chance = to_float(given.ravel(), "prob").reshape(given.shape)
    if chance.shape != (number.size, n_waves):
        raise RoleError(
            f"prob must have one row a row and one column a wave, shape {(number.size, n_waves)}; "
            f"got {chance.shape}."
        )
    bad = ~((chance >= 0) & (chance <= 1))
    _refuse(bad.any(axis=1), "have a value of prob outside [0, 1]", "Pass probabilities")
    return chance


def _check_drawn(chance: Array, number: IntArray) -> None:
    rows = np.flatnonzero(number > 0)
    bad = np.zeros(number.size, dtype=bool)
    bad[rows] = chance[rows, number[rows] - 1] <= 0
    _refuse(bad, "were labelled in a wave that gives them probability 0", "Correct wave or prob")


def _read_shares(shares: Any, sizes: IntArray) -> Array:
    if shares is None:
        return np.asarray(sizes / sizes.sum())
    values = to_float(plain_values(shares), "shares")
    fine = values.shape == sizes.shape and (values > 0).all() and abs(values.sum() - 1.0) < 1e-8
    if not fine:
        raise ParameterError(
            f"shares must be {sizes.size} positive numbers with sum 1, one a wave; got {shares!r}."
        )
    return np.asarray(values / values.sum())


def _averaged(chance: Array, number: IntArray, shares: Array) -> Array:
    """One over W; for rows never labelled what it would be had the last wave chosen them."""
    n_waves = shares.size
    wave = np.where(number == 0, n_waves, number) - 1
    # Waves until its own had to be able to choose a row; in later ones its weight is 1.
    need = np.arange(n_waves) <= wave[:, None]
    _refuse(
        (need & (chance <= 0)).any(axis=1),
        "could not be chosen in a wave before they were labelled",
        "With adaptive=True every wave needs a positive probability for every row left (for "
        "strata: at least one label in each)",
    )
    after = np.append(np.cumsum(shares[::-1])[::-1][1:], 0.0)
    own = np.take_along_axis(chance, wave[:, None], axis=1)[:, 0]
    weight = shares[wave] / own + after[wave]
    light = np.flatnonzero((number > 0) & (weight < 1.0 - 1e-12))
    if light.size:
        t = number[light[0]]
        raise ParameterError(
            f"{light.size} labelled rows would weigh less than 1 (first: row {light[0]}, wave {t}, "
            f"prob {own[light[0]]:.3g} above the share {shares[t - 1]:.3g} of the wave). Give wave "
            f"{t} a larger share if it was planned so, or analyse the other waves alone."
        )
    return np.asarray(1.0 / np.maximum(weight, 1.0))


def _refuse(bad: Any, what: str, then: str) -> None:
    if bad.any():
        raise RoleError(f"{bad.sum()} rows {what} (first at row {int(bad.argmax())}). {then}.")
