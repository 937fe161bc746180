"""Seconds of instrumental-variable estimators, beside linearmodels and a Gram matrix.

``python benchmarks/iv_classical.py --n 10000 100000`` prints JSON lines (see README.md) and a
table. One thread. Workloads:

- ``tsls``: 10 instruments, 5 covariates, heteroscedasticity-robust; linearmodels' IV2SLS likewise.
  Ours adds first stage, over-identification and exogeneity tests, and the Anderson-Rubin set.
- ``ciiv``: 30 instruments of which 12 are invalid; "iid" uses second moments only.
- ``tsht``, ``sisvive``: the same data.
- ``genius``: 10 instruments, all invalid.

The yardstick ``gram`` is one ``W.T @ W`` of instruments, covariates, treatment and outcome. Without
linearmodels its lines are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _timing import emit, gram_seconds, measure, single_thread
from sklearn.utils import Bunch

from robuststat import CIIV, GENIUS, TSHT, SisVIVE, TwoStageLeastSquares
from robuststat.simulation import make_genius, make_many_iv


def ours(est: Any, data: Bunch) -> Callable[[], object]:
    roles = {"treatment": data.treatment, "instruments": data.instruments.to_numpy()}
    X = None if data.get("X") is None else data.X.to_numpy()
    return partial(est.fit, X, data.y, **roles)


def linearmodels_tsls(data: Bunch) -> Callable[[], object] | None:
    try:
        from linearmodels.iv import IV2SLS
    except ImportError:
        sys.stderr.write("linearmodels is not installed: its lines are left out\n")
        return None
    exog = np.column_stack([np.ones(len(data.y)), data.X])
    Z = data.instruments.to_numpy()

    def run() -> object:
        result = IV2SLS(data.y, exog, data.treatment, Z).fit(cov_type="robust")
        return result.params, result.std_errors

    return run


def five_covariates(data: Bunch, rng: np.random.Generator) -> Bunch:
    extra = rng.normal(size=(len(data.y), 3))
    X = data.X.assign(x3=extra[:, 0], x4=extra[:, 1], x5=extra[:, 2])
    return Bunch(**{**data, "X": X})


def workloads(n: int) -> dict[str, tuple[Bunch, dict[str, Callable[[], object] | None]]]:
    rng = np.random.default_rng(0)
    valid = five_covariates(make_many_iv(n, 10, 0, random_state=rng), rng)
    some = make_many_iv(n, 30, 12, strength=0.15, random_state=rng)
    invalid = make_genius(n, 10, random_state=rng)
    return {
        "tsls": (
            valid,
            {
                "robuststat": ours(TwoStageLeastSquares(), valid),
                "linearmodels": linearmodels_tsls(valid),
            },
        ),
        "ciiv": (
            some,
            {
                "robuststat iid": ours(CIIV(vcov="iid"), some),
                "robuststat HC0": ours(CIIV(), some),
            },
        ),
        "tsht": (some, {"robuststat": ours(TSHT(), some)}),
        "sisvive": (some, {"robuststat": ours(SisVIVE(random_state=0), some)}),
        "genius": (invalid, {"robuststat": ours(GENIUS(), invalid)}),
    }


def all_columns(data: Bunch) -> np.ndarray:
    parts = [data.instruments, data.treatment[:, None], data.y[:, None]]
    return np.column_stack(parts if data.get("X") is None else [*parts, data.X])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rows = []
    with single_thread():
        for n in options.n:
            for workload, (data, tools) in workloads(n).items():
                gram = gram_seconds(all_columns(data))
                for tool, call in tools.items():
                    if call is None:
                        continue
                    found = measure(call, repeat=options.repeat)
                    emit(workload=workload, tool=tool, n=n, gram_seconds=gram, **found)
                    rows.append((workload, tool, n, found["seconds_median"], gram))
    head = f"{'workload':10}{'tool':16}{'n':>9}{'seconds':>10}{'/ gram':>9}"
    lines = [f"{w:10}{t:16}{n:9d}{s:10.4f}{s / g:9.1f}" for w, t, n, s, g in rows]
    sys.stderr.write("\n".join([head, *lines]) + "\n")


if __name__ == "__main__":
    main()
