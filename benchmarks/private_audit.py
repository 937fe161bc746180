"""Worst exact privacy loss of every estimator of one column, over neighbouring data sets.

``python benchmarks/private_audit.py --pairs 10000`` prints one JSON line and one row of a table an
estimator: the largest ``abs(log p(t) - log p'(t))`` over all outputs t and all pairs, what is
claimed, and the pair that attains it. Nothing is estimated: every loss is computed from the
distributions of the two releases. Exit code 1 when one is above its claim.

Pairs: 1 to 30 records on 17 or 65 grid points; all tied, half at each bound, few values, clusters,
spread; one record goes to a bound, another value, a neighbour, or one point further. Under
"add_remove" a record is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np
from _timing import emit
from numpy.typing import NDArray

from robuststat import (
    DPLocation,
    DPQuantiles,
    DPScale,
    InverseSensitivity,
    exact_privacy_loss,
)
from robuststat.private import LayerTable
from robuststat.private._counting import GridSample
from robuststat.private._inverse import neighbouring_pairs
from robuststat.private._setup import distribution

Array = NDArray[np.float64]
BOUNDS = {"bounds": (0.0, 8.0), "rho": 0.5}
FINE = {"bounds": (0.0, 8.0), "rho": 0.125}
SIZES = (1, 2, 3, 4, 5, 7, 10, 15, 30)


def padded_median(x: Any, k_max: int) -> tuple[Any, Any]:
    """Envelope of a user: the upper median of values in 0..8."""
    k = np.arange(k_max + 1)
    padded = np.concatenate([np.zeros(k_max), x, np.full(k_max, 8.0)])
    return padded[k_max + len(x) // 2 - k], padded[k_max + len(x) // 2 + k]


def estimators() -> dict[str, Any]:
    """Every estimator, and the options that change what it draws from."""
    locations = ("median", "quantile", "trimmed", "winsorized", "huber", "mean")
    found: dict[str, Any] = {}
    for name in locations:
        options = {"scale": 1.0, "quantile": 0.2, "trim": 0.2}
        found[name] = DPLocation(name, epsilon=2.0, **options, **BOUNDS)
        found[f"{name}, ramp"] = DPLocation(name, epsilon=1.0, kind="ramp", **options, **BOUNDS)
    for name in ("iqr", "mad", "shorth", "std"):
        found[name] = DPScale(name, epsilon=2.0, **BOUNDS)
    found["iqr, relaxed"] = DPScale("iqr", score="relaxed", epsilon=2.0, **BOUNDS)
    found["median, rho=0"] = DPLocation(epsilon=0.5, bounds=(0.0, 8.0), rho=0, grid=0.5)
    found["median, fine grid"] = DPLocation(epsilon=0.5, **FINE)
    found["median, rank interval"] = DPLocation(epsilon=2.0, ci="rank", **BOUNDS)
    cauchy = {"base": "cauchy", "base_params": (2.0, 1.0), "rho": 0.5}
    found["trimmed, Cauchy base"] = DPLocation("trimmed", epsilon=2.0, trim=0.2, **cauchy)
    found["quantiles, independent"] = DPQuantiles(
        (0.2, 0.5, 0.9), method="independent", epsilon=2.0, **BOUNDS
    )
    found["user's median"] = InverseSensitivity(padded_median, epsilon=2.0, **BOUNDS)
    for q in (0.5, 0.2):
        found[f"quantile {q}, add_remove"] = DPLocation(
            "quantile", quantile=q, adjacency="add_remove", epsilon=2.0, **BOUNDS
        )
    return found


def pairs_for(est: Any, number: int) -> Iterator[tuple[Array, Array]]:
    """Neighbouring data sets, as many of every size."""
    add_remove = getattr(est, "adjacency", "replace") == "add_remove"
    step, last = (0.125, 64) if est.rho == 0.125 else (0.5, 16)
    each = -(-number // len(SIZES))
    for n in SIZES:
        for i, (x, other) in enumerate(neighbouring_pairs(n + add_remove, last, each)):
            if add_remove:
                other = np.delete(x, i % (n + 1))
            yield x * step, other * step


class Prepared:
    """An estimator whose public parameters were read once: the distributions of ``est._layers``."""

    def __init__(self, est: Any) -> None:
        self.epsilon = est.epsilon
        self._setup = est._make_setup()
        self._shares = cache(partial(self._parts, est))

    def _parts(self, est: Any, n: int) -> list[tuple[Any, float]]:
        epsilon = Fraction(float(est.epsilon))
        if isinstance(est, DPQuantiles):
            each = float(epsilon) / len(est.quantiles)
            return [(est._target(q, n), each) for q in est.quantiles]
        return [(p.target, float(p.epsilon)) for p in est._parts(n, self._setup, epsilon)]

    def _layers(self, x: Array) -> list[LayerTable]:
        sample = GridSample([x], self._setup.grid)
        return [distribution(self._setup, sample, *share) for share in self._shares(len(x))]


def audit(name: str, est: Any, number: int) -> dict[str, Any]:
    """One line: the worst pair."""
    start, worst, pair, count = time.process_time(), (-np.inf, ()), (), 0
    prepared = Prepared(est)
    for x, other in pairs_for(est, number):
        loss = exact_privacy_loss(prepared, x, other)
        if count % 1000 == 0:
            assert loss == exact_privacy_loss(est, x, other)
        count += 1
        if loss.epsilon > worst[0]:
            worst, pair = (loss.epsilon, loss.at), (x.tolist(), other.tolist())
    line = {
        "workload": "private_audit",
        "estimator": name,
        "pairs": count,
        "claimed": float(est.epsilon),
        "worst": worst[0],
        "at": list(worst[1]),
        "pair": pair,
        "cpu_seconds": time.process_time() - start,
    }
    emit(**line)
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=None, help="names of estimators")
    args = parser.parse_args()
    found = {k: v for k, v in estimators().items() if args.only is None or k in args.only}
    lines = [audit(name, est, args.pairs) for name, est in found.items()]
    print(f"{'estimator':28}{'pairs':>8}{'claimed':>9}{'worst':>9}")
    for line in lines:
        print(f"{line['estimator']:28}{line['pairs']:8,}{line['claimed']:9.3g}{line['worst']:9.4f}")
    return int(any(line["worst"] > line["claimed"] * (1 + 1e-9) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
