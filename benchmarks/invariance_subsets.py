"""Search over all subsets of covariates: seconds by p, n and K, and beside causalicp.

    python benchmarks/invariance_subsets.py            the table of benchmarks/README.md
    python benchmarks/invariance_subsets.py --peer     also causalicp, where it is installed

Each line is JSON: CPU seconds (all threads) of reading the rows into moments, of the search with
p-values, gaps and errors of every set, and of the intervals; the best of three runs, after one
run that compiles. The peer tests every set from the rows; it is timed on a smaller problem and, for
large p, on sampled subsets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robuststat import InvariantSubsets, warmup
from robuststat.invariance._engine import SearchOptions, moment_table, scale_moments
from robuststat.invariance._moments import env_moments

CASES = [
    (12, 10_000, 2),
    (15, 1_000, 5),
    (15, 100_000, 5),
    (15, 1_000_000, 5),
    (18, 100_000, 5),
    (20, 100_000, 5),
]
PEER = [(8, 1_000, 5), (12, 10_000, 5), (15, 100_000, 5)]


def rows(p: int, n: int, K: int, *, accept_all: bool = False) -> tuple[Any, Any, Any]:
    """First p // 3 columns cause y, the others are its effects; environments stretch all.

    With ``accept_all`` the environments are alike ("note": "alike"), so that most sets are
    accepted: the worst case for intervals.
    """
    rng = np.random.default_rng(0)
    env = np.arange(n) % K
    stretch = np.ones((n, 1)) if accept_all else 1 + 0.2 * env[:, None]
    x = rng.normal(size=(n, p)) * stretch
    causes = max(p // 3, 1)
    y = x[:, :causes].sum(axis=1) + rng.normal(size=n)
    x[:, 2 * causes :] += 0.5 * y[:, None]
    return x, y, env


def cpu(work: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    """Smallest CPU seconds over some runs, and the last answer."""
    best, answer = float("inf"), None
    for _ in range(repeat):
        start = time.process_time()
        answer = work()
        best = min(best, time.process_time() - start)
    return best, answer


def ours(p: int, n: int, K: int, *, accept_all: bool) -> dict[str, Any]:
    """Seconds of the three parts of a search."""
    x, y, env = rows(p, n, K, accept_all=accept_all)
    names = [f"x{j}" for j in range(p)]
    options = SearchOptions("normal", p, float(K - 1), False, 0.05, 0.05, 0.05, False)
    moments_s, moments = cpu(lambda: env_moments(x, y, env, range(K), names))
    scaled = scale_moments(moments)
    search_s, _ = cpu(lambda: moment_table(scaled, options, None))
    total_s, fit = cpu(lambda: InvariantSubsets().fit(x, y, env=env))
    interval_s, _ = cpu(fit.confint)
    return {
        "package": "robuststat",
        "p": p,
        "n": n,
        "K": K,
        "sets": 2**p,
        "accepted": len(fit._accepted(0.05)),
        "moments_cpu_s": round(moments_s, 4),
        "search_cpu_s": round(search_s, 4),
        "intervals_cpu_s": round(interval_s, 4),
        "fit_cpu_s": round(total_s, 4),
        "fit_and_intervals_cpu_s": round(total_s + interval_s, 4),
    }


def peer(p: int, n: int, K: int) -> dict[str, Any]:
    """Seconds of causalicp on all sets, or on 64 sampled ones."""
    import causalicp

    x, y, env = rows(p, n, K)
    data = [np.column_stack([x[env == e], y[env == e]]) for e in range(K)]
    sets = [set(s) for k in range(p + 1) for s in itertools.combinations(range(p), k)]
    sampled = sets if p <= 8 else random.Random(0).sample(sets[1:-1], 64)
    seconds, _ = cpu(lambda: causalicp.fit(data, p, alpha=0.05, sets=sampled), 1)
    return {
        "package": "causalicp",
        "p": p,
        "n": n,
        "K": K,
        "sets": len(sampled),
        "cpu_s": round(seconds, 3),
        "cpu_s_all_sets": round(seconds * 2**p / len(sampled), 2),
    }


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="time causalicp too")
    wanted = parser.parse_args()
    warmup()
    for case in CASES:
        print(json.dumps(ours(*case, accept_all=False)), flush=True)
    print(json.dumps({"note": "alike"} | ours(20, 100_000, 5, accept_all=True)), flush=True)
    if wanted.peer:
        for case in PEER:
            print(json.dumps(ours(*case, accept_all=False)), flush=True)
            try:
                print(json.dumps(peer(*case)), flush=True)
            except ImportError as error:
                print(f"causalicp is left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
