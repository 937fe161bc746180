"""Thresholdout against a holdout set that is simply used again, at full size.

``python benchmarks/private_holdout.py --n 10000 --reps 8`` prints, for no signal and for 20 weak
features, one row a size k of the classifier: accuracy in the training rows, accuracy that the
holdout reports, and accuracy on fresh rows, means over repetitions, for the plain holdout and for
the reusable one. ``--noise laplace`` uses the form with a guarantee; its ``epsilon`` shows that
thousands of questions about n rows cost more than the guarantee can bear.
Needs 3 n**2 doubles of memory (2.4 GB at n = 10,000).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from robuststat.simulation import holdout_reuse, make_holdout_reuse


def study(
    n: int, n_signal: int, method: str, reps: int, seed: int, budget: int | None
) -> pd.DataFrame:
    """Mean over repetitions of the table of one holdout."""
    seeds = np.random.SeedSequence(seed).spawn(reps)
    tables = []
    for child in seeds:
        design, noise = child.spawn(2)
        data = make_holdout_reuse(n, n, n_signal=n_signal, random_state=design)
        tables.append(holdout_reuse(data, method, budget=budget, random_state=noise))
    return pd.concat(tables).groupby("k", as_index=False).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000, help="rows of each set, and features")
    parser.add_argument("--reps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--noise", choices=["gaussian", "laplace"], default="gaussian")
    args = parser.parse_args()
    budget = args.n if args.noise == "laplace" else None
    for n_signal in (0, 20):
        for method in ("standard", args.noise):
            start = time.process_time()
            table = study(args.n, n_signal, method, args.reps, args.seed, budget)
            seconds = time.process_time() - start
            print(f"\nn = {args.n}, {n_signal} features with signal, {method}: {seconds:.0f} CPU s")
            print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
