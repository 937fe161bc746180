"""Repeat a design, apply estimators to the same draws, and compare with the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError, warn
from robuststat._core.types import Array
from robuststat.simulation._labels import Seed, check_fraction, check_integer, check_option
from robuststat.simulation._performance import Answer, Repetition, list_failures, summarise

__all__ = ["MonteCarloResult", "monte_carlo"]

Design: TypeAlias = Callable[..., Mapping[str, Any]]
Estimator: TypeAlias = Callable[[Any], Any]
Errors: TypeAlias = Literal["raise", "count"]
Truth: TypeAlias = "Mapping[str, float] | pd.Series[float] | ArrayLike"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MonteCarloResult:
    """Performance of estimators over repeated draws.

    Attributes
    ----------
    table : DataFrame
        One row per estimator and term with the columns

        - ``estimator``, ``term``
        - ``truth`` (mean over repetitions, if it varies)
        - ``bias``, mean of estimate minus truth
        - ``sd``, standard deviation of estimate minus truth (divisor R - 1)
        - ``mean_se``, mean standard error
        - ``se_ratio``, ``mean_se`` divided by ``sd``: 1 when standard errors are right
        - ``rmse``, root mean squared error
        - ``coverage``, share of intervals that hold the truth
        - ``n_failed``, number of repetitions without an answer, left out of the row
        - ``bias_mcse, sd_mcse, mean_se_mcse, se_ratio_mcse, rmse_mcse, coverage_mcse``, Monte Carlo
          standard errors of the columns above.
    estimates, std_errors : dict of str to ndarray of shape (n_rep, n_terms)
        By estimator; terms in the order of ``table``, NaN in repetitions that failed.
    failures : DataFrame
        Columns ``estimator``, ``repetition`` and ``error``, one row per failure.
    n_rep : int
        Number of repetitions.
    level : float
        Nominal coverage of the intervals.

    Examples
    --------
    >>> from robuststat.simulation import make_surrogate_prevalence, monte_carlo
    >>> result = monte_carlo(
    ...     make_surrogate_prevalence, lambda draw: (draw.prediction.mean(), 0.02), 5
    ... )
    >>> result
    MonteCarloResult(n_rep=5, estimators=['estimator'])
    >>> result.estimates["estimator"].shape
    (5, 1)
    """

    table: pd.DataFrame
    estimates: dict[str, Array]
    std_errors: dict[str, Array]
    failures: pd.DataFrame
    n_rep: int
    level: float

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.estimates))
        return f"MonteCarloResult(n_rep={self.n_rep}, estimators=[{names}])"

    def __str__(self) -> str:
        shown = [name for name in self.table if not str(name).endswith("_mcse")]
        table = self.table[shown].to_string(index=False, float_format="{:.4f}".format)
        measures = ["bias", "se_ratio", "coverage"]
        lines = [
            f"Monte Carlo: {self.n_rep} repetitions, intervals at level {self.level:g}",
            table,
            "Largest Monte Carlo standard error: "
            + ", ".join(f"{name} {self.table[f'{name}_mcse'].max():.4f}" for name in measures),
        ]
        if len(self.failures):
            first = self.failures.iloc[0]
            lines.append(
                f"{len(self.failures)} failures left out; first: {first['estimator']}, "
                f"repetition {first['repetition']}: {first['error']}"
            )
        return "\n".join(lines)


def monte_carlo(
    design: Design,
    estimator: Estimator | Mapping[str, Estimator],
    n_rep: int,
    *,
    truth: Truth | None = None,
    level: float = 0.95,
    errors: Errors = "raise",
    random_state: Seed = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> MonteCarloResult:
    """Compare estimates, standard errors and intervals with the truth over repeated draws.

    Parameters
    ----------
    design : callable
        ``design(random_state=generator)`` returns a mapping (such as a Bunch) with the data and,
        unless ``truth`` is given, the key ``truth``. The functions ``make_*`` of this module are
        designs; fix their options with :func:`functools.partial`.
    estimator : callable, or mapping of name to callable
        Takes the draw and returns one of

        - a fitted estimator (its ``result_`` is read) or a result with ``estimate``, ``std_error``,
          ``names`` and ``confint(level=...)``,
        - a tuple (estimate, std_error) or (estimate, std_error, conf_low, conf_high),
        - a mapping with the keys estimate, std_error and optionally conf_low, conf_high, names.

        Where no interval comes with the estimate it is the normal one. All callables of a mapping
        see the same draws. The draw has a key ``random_state`` (an int of its own per repetition,
        unless the design sets it) for estimators that need random numbers.
    n_rep : int
        Number of repetitions, at least 2.
    truth : Series, mapping, or array-like of shape (n_terms,), optional
        Value to estimate. Named values are matched to the names of the estimates; values or
        estimates without names are matched by position, and so is a single value. The default is
        ``truth`` of each draw, which may differ between draws.
    level : float, default 0.95
        Nominal coverage of the intervals.
    errors : {"raise", "count"}, default "raise"
        What to do when an estimator raises, or returns an estimate or standard error that is not
        finite: stop, or leave the repetition out for this estimator, count it in ``n_failed``, list
        it in ``failures`` and warn once. Errors of the design always stop.
    random_state : int, SeedSequence, Generator or None, default None
        Every repetition gets its own seed from it, so that the result does not depend on
        ``n_jobs``. A Generator is advanced; an int or a SeedSequence gives the same draws again.
    n_jobs : int or None, default None
        Number of parallel workers, as in joblib; None is 1 unless a joblib context says otherwise.
    progress : bool, default False
        Show a progress bar (needs the extra ``progress``).

    Returns
    -------
    MonteCarloResult
        Frozen; ``.table`` holds the measures, ``str()`` prints them.

    Raises
    ------
    ParameterError
        If an argument is outside its range, an estimator returns something else, there is no truth,
        or the terms of the truth and of the estimates do not match.
    ArithmeticError
        If an estimate or standard error is not finite and ``errors="raise"``, or if an estimator
        failed in every repetition.
    ImportError
        If ``progress=True`` and tqdm is not installed.

    Notes
    -----
    With R repetitions, errors e_r and standard errors s_r, the Monte Carlo standard errors are
    sd / sqrt(R) for the bias, sd / sqrt(2 (R - 1)) for sd, sd(s) / sqrt(R) for ``mean_se``,
    ratio * sqrt(var(s) / (R mean(s)^2) + 1 / (2 (R - 1))) for ``se_ratio``,
    sd(e^2) / (2 rmse sqrt(R)) for ``rmse`` and sqrt(c (1 - c) / R) for the coverage c. Those of sd
    and ``se_ratio`` take estimates for normal.

    References
    ----------
    Morris, White and Crowther (2019). Using simulation studies to evaluate statistical methods.
    Statistics in Medicine 38, 2074-2102.

    Examples
    --------
    >>> import numpy as np
    >>> from functools import partial
    >>> from robuststat.simulation import make_surrogate_prevalence, monte_carlo
    >>> def share(values):
    ...     p = np.nanmean(values)
    ...     return p, np.sqrt(p * (1 - p) / np.sum(~np.isnan(values)))
    >>> result = monte_carlo(
    ...     partial(make_surrogate_prevalence, n=500, n_labeled=100),
    ...     {
    ...         "surrogate only": lambda draw: share(draw.prediction),
    ...         "gold only": lambda draw: share(draw.y),
    ...     },
    ...     n_rep=200,
    ...     random_state=0,
    ... )
    >>> result.table[["estimator", "term", "truth", "bias", "coverage"]].round(2)
            estimator        term  truth  bias  coverage
    0  surrogate only  prevalence    0.5  0.09      0.02
    1       gold only  prevalence    0.5  0.01      0.94
    """
    check_integer("n_rep", n_rep, 2)
    check_fraction("level", level, 0.0, 1.0, closed=False)
    check_option("errors", errors, Errors)
    estimators = _named_estimators(estimator)
    tasks = (
        delayed(_repeat)(index, seed, design, estimators, truth, level, errors)
        for index, seed in enumerate(_spawn(random_state, n_rep))
    )
    answers = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    repetitions = list(_with_progress(answers, n_rep) if progress else answers)
    failures = list_failures(repetitions)
    parts, estimates, std_errors = [], {}, {}
    for name in estimators:
        rows, estimates[name], std_errors[name] = summarise(name, repetitions)
        parts.append(rows)
    if len(failures):
        counts = failures["estimator"].value_counts().to_dict()
        warn(
            f"Repetitions without an answer, out of {n_rep}: {counts}. They are left out of the "
            "table; see .failures, or use errors='raise' to stop at the first."
        )
    return MonteCarloResult(
        table=pd.concat(parts, ignore_index=True),
        estimates=estimates,
        std_errors=std_errors,
        failures=failures,
        n_rep=n_rep,
        level=level,
    )


def _named_estimators(estimator: Estimator | Mapping[str, Estimator]) -> dict[str, Estimator]:
    """Give a single estimator a name."""
    named = dict(estimator) if isinstance(estimator, Mapping) else {"estimator": estimator}
    if not named or not all(callable(function) for function in named.values()):
        raise ParameterError(
            f"estimator must be a callable or a mapping of names to callables; got {estimator!r}. "
            "Wrap an estimator: lambda draw: est.fit(draw.X, draw.y)."
        )
    return named


def _spawn(random_state: Seed, n_rep: int) -> list[np.random.SeedSequence]:
    """One seed per repetition; a SeedSequence of the user is left as it was."""
    if isinstance(random_state, np.random.Generator):
        random_state = np.random.SeedSequence(random_state.integers(2**32, size=4).tolist())
    elif isinstance(random_state, np.random.SeedSequence):
        random_state = np.random.SeedSequence(
            random_state.entropy,
            spawn_key=random_state.spawn_key,
            pool_size=random_state.pool_size,
        )
    else:
        random_state = np.random.SeedSequence(random_state)
    return random_state.spawn(n_rep)


def _with_progress(answers: Iterable[Repetition], n_rep: int) -> Iterable[Repetition]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            'progress=True needs tqdm: pip install "robuststat[progress]", or use progress=False.'
        ) from error
    bar: Iterable[Repetition] = tqdm(answers, total=n_rep, desc="monte_carlo")
    return bar


def _repeat(
    index: int,
    seed: np.random.SeedSequence,
    design: Design,
    estimators: Mapping[str, Estimator],
    truth: Truth | None,
    level: float,
    errors: Errors,
) -> Repetition:
    """One repetition; runs in a worker."""
    data_seed, fit_seed = seed.spawn(2)
    draw = design(random_state=np.random.default_rng(data_seed))
    if not isinstance(draw, Mapping):
        raise ParameterError(
            f"design must return a mapping such as a Bunch; got {type(draw).__name__}. "
            "Put the data and the truth under names."
        )
    if truth is None and "truth" not in draw:
        raise ParameterError(
            f"There is no truth: design returned the keys {list(draw)}. Add the key 'truth' to "
            "them, or pass truth=."
        )
    values, terms = _named_values(draw["truth"] if truth is None else truth)
    own_seed = int(fit_seed.generate_state(1)[0])
    bunch = Bunch(**{"random_state": own_seed, **draw})
    answers = {
        name: _answer(name, index, function, bunch, level, errors)
        for name, function in estimators.items()
    }
    return Repetition(values, terms, answers)


def _named_values(truth: Truth) -> tuple[Array, list[str] | None]:
    """Split the truth into values and names; None where it has no names."""
    if isinstance(truth, Mapping):
        truth = pd.Series(dict(truth), dtype=float)
    values = np.atleast_1d(np.asarray(truth, dtype=float))
    return values, [str(t) for t in truth.index] if isinstance(truth, pd.Series) else None


def _answer(
    name: str, index: int, function: Estimator, draw: Any, level: float, errors: Errors
) -> Answer:
    """Ask one estimator and turn a failure into an error or a record of it."""
    try:
        output = function(draw)
        answer = _read(output, level)
    except Exception as error:
        if errors == "raise":
            error.add_note(f"raised by estimator {name!r} in repetition {index} of monte_carlo")
            raise
        return Answer(error=f"{type(error).__name__}: {error}")
    shapes = {np.shape(part) for part in answer[1:5]} if answer is not None else set()
    if answer is None or len(shapes) != 1 or answer.estimate.ndim != 1:
        raise ParameterError(
            f"estimator {name!r} returned {type(output).__name__}"
            f"{f' with parts of shapes {sorted(shapes)}' if shapes else ''}. Return a fitted "
            "estimator or its result, a tuple (estimate, std_error[, conf_low, conf_high]) of "
            "equally long vectors, or a mapping with these names."
        )
    if answer.names is not None and len(answer.names) != answer.estimate.size:
        raise ParameterError(
            f"estimator {name!r} returned {len(answer.names)} names for {answer.estimate.size} "
            "estimates. Return one name for each."
        )
    numbers = np.concatenate([answer.estimate, answer.std_error])
    if np.isfinite(numbers).all() and not np.isnan([answer.low, answer.high]).any():
        return answer
    message = "an estimate, standard error or interval is not finite"
    if errors == "raise":
        raise ArithmeticError(
            f"{message}: estimator {name!r}, repetition {index}. "
            "Mend the estimator, or use errors='count' to leave such repetitions out."
        )
    return Answer(error=message)


def _read(output: Any, level: float) -> Answer | None:
    """Numbers in what an estimator returned; None where there are none to be found."""
    output = getattr(output, "result_", output)
    names: Iterable[Any] | None = None
    if isinstance(output, Mapping):
        parts = [output.get(key) for key in ("estimate", "std_error", "conf_low", "conf_high")]
        names = output.get("names")
    elif isinstance(output, tuple) and len(output) in (2, 4):
        parts = [*output, None, None][:4]
    elif all(hasattr(output, key) for key in ("estimate", "std_error", "names", "confint")):
        interval = output.confint(level=level)
        parts = [output.estimate, output.std_error, interval["conf_low"], interval["conf_high"]]
        names = getattr(output, "labels", output.names)
    else:
        return None
    if parts[0] is None or parts[1] is None or (parts[2] is None) != (parts[3] is None):
        return None
    estimate, std_error, *interval = [
        np.atleast_1d(np.asarray(part, dtype=float)) for part in parts if part is not None
    ]
    if not interval:
        margin = ndtri((1 + level) / 2) * std_error
        interval = [estimate - margin, estimate + margin]
    labels = None if names is None else [str(name) for name in names]
    return Answer(labels, estimate, std_error, *interval)
