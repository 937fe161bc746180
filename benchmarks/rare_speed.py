"""Seconds of rare-event regressions, beside scikit-learn and statsmodels.

``python benchmarks/rare_speed.py --n 100000 1000000`` prints JSON lines (see README.md) and a
table. One thread, processor time, all calls on the same data in turn. The design is a logistic
regression with 10 standard normal columns and about 0.4 % of events. Fits:

- ``firth, wald``, ``ml, wald`` and ``king_zeng``: coefficients, variance, separation by linear
  programming, summary;
- ``firth, profile``: also a penalised likelihood profile of every coefficient (``--profile-n`` is
  the largest n for which it is run);
- scikit-learn: ``LogisticRegression`` without penalty, by lbfgs at its default tolerance and by
  newton-cholesky; neither gives standard errors;
- statsmodels: ``Logit(...).fit()``, Newton with standard errors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from _timing import emit, gram_seconds, single_thread
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from robuststat import RareEventClassifier


def make_rows(n: int, p: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, (rng.random(n) < expit(X[:, 0] + 0.5 * X[:, 1] - 6.2)).astype(int)


def calls(
    X: np.ndarray, y: np.ndarray, *, profile: bool
) -> dict[tuple[str, str], Callable[[], object]]:
    def ours(method: str, intervals: str | None) -> Callable[[], object]:
        return lambda: RareEventClassifier(method, intervals=intervals).fit(X, y)

    def sklearn(**options: object) -> Callable[[], object]:
        return lambda: LogisticRegression(C=np.inf, **options).fit(X, y)  # type: ignore[arg-type]

    found = {
        ("robuststat", "firth, wald"): ours("firth", "wald"),
        ("robuststat", "ml, wald"): ours("ml", "wald"),
        ("robuststat", "king_zeng"): ours("king_zeng", None),
        ("scikit-learn", "lbfgs"): sklearn(max_iter=1000),
        ("scikit-learn", "newton-cholesky"): sklearn(solver="newton-cholesky", tol=1e-8),
    }
    if profile:
        found["robuststat", "firth, profile"] = ours("firth", None)
    try:
        from statsmodels.discrete.discrete_model import Logit
    except ImportError:
        sys.stderr.write("statsmodels is not installed: its lines are left out\n")
        return found
    exog = np.column_stack([np.ones(len(y)), X])
    found["statsmodels", "Logit"] = lambda: Logit(y, exog).fit(disp=0, maxiter=100).bse
    return found


def cpu_seconds(call: Callable[[], object], repeat: int) -> float:
    call()
    found = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--profile-n", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rows = []
    # Peers warn about options that change their names between versions.
    with single_thread(), warnings.catch_warnings(action="ignore"):
        for n in options.n:
            X, y = make_rows(n)
            gram = gram_seconds(X)
            for (tool, fit), call in calls(X, y, profile=n <= options.profile_n).items():
                seconds = cpu_seconds(call, options.repeat)
                emit(
                    workload="rare_logit",
                    tool=tool,
                    fit=fit,
                    n=n,
                    events=int(y.sum()),
                    cpu_seconds_median=seconds,
                    gram_seconds=gram,
                )
                rows.append(f"{tool:14}{fit:18}{n:9d}{seconds:10.3f}{seconds / gram:9.1f}")
    head = f"{'tool':14}{'fit':18}{'n':>9}{'CPU s':>10}{'/ gram':>9}"
    sys.stderr.write("\n".join([head, *rows]) + "\n")


if __name__ == "__main__":
    main()
