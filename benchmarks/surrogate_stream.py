"""Memory and seconds of a logit that reads a Parquet file chunk by chunk, as the file grows.

``python benchmarks/surrogate_stream.py --n 1000000 3000000 10000000`` prints JSON lines (see
README.md) and a table. Every file is written in chunks into a temporary folder: five covariates, a
0/1 outcome, of which 5 % are labelled (a simple random sample, drawn chunk by chunk), and a
machine's label, all float64. A fresh process with one thread then runs

    DSLClassifier(learner="passthrough").fit_stream(path, "y", prediction="s")

once. Memory is its highest resident set size less that after the imports (robuststat, pyarrow):
what the fit needs besides the libraries. Then the same process fits again, untimed, from a function
that opens the file and counts the rows read: passes are these rows over n.

``--in-memory`` also reads each file into a data frame and fits that, in a process of its own, and
prints the largest distance between the two answers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset  # loaded before memory is measured
import pyarrow.parquet as pq
from _timing import emit, peak_mb, single_thread
from numpy.typing import NDArray
from surrogate_speed import COEF, COVARIATES, SHARE_LABELED

from robuststat import DSLClassifier

WRITTEN_ROWS = 250_000
NAMES = [f"x{j + 1}" for j in range(COVARIATES)]
MODES = ("stream", "in memory")


def make_rows(n: int, labeled: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Draw the logit workload of ``surrogate_speed.py`` with a given number of labels."""
    X = rng.standard_normal((n, COVARIATES))
    gold = (rng.random(n) < 1 / (1 + np.exp(-COEF[0] - X @ COEF[1:]))).astype(float)
    wrong = rng.random(n) < np.where(X[:, 0] > 0, 0.18, 0.02)
    y = np.full(n, np.nan)
    rows = rng.choice(n, labeled, replace=False)
    y[rows] = gold[rows]
    columns = dict(zip(NAMES, X.T, strict=True))
    return columns | {"y": y, "s": np.where(wrong, 1 - gold, gold)}


def write_file(path: Path, n: int, seed: int) -> None:
    """Write n rows with no more than one chunk in memory."""
    rng = np.random.default_rng([seed, n])
    labels = round(SHARE_LABELED * n)
    schema = pa.schema([(name, pa.float64()) for name in [*NAMES, "y", "s"]])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, WRITTEN_ROWS):
            size = min(WRITTEN_ROWS, n - start)
            # How many of the labels that are left fall among the rows of this chunk.
            here = int(rng.hypergeometric(labels, n - start - labels, size))
            labels -= here
            writer.write_table(pa.table(make_rows(size, here, rng), schema=schema))


class CountedFile:
    """Batches of a Parquet file as data frames; counts the rows that were read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0

    def __call__(self) -> Iterator[pd.DataFrame]:
        """Open the file anew."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(100_000):
                self.rows += batch.num_rows
                yield batch.to_pandas()


def child(path: Path, mode: str) -> None:
    """Fit once, in the process whose memory is measured, and print what came out."""
    est = DSLClassifier(learner="passthrough")

    def fit() -> None:
        if mode == "stream":
            est.fit_stream(path, "y", prediction="s")
        else:
            est.fit(pd.read_parquet(path), "y", prediction="s")

    n = pq.read_metadata(path).num_rows
    with single_thread():
        start = time.perf_counter()
        # Memory is measured during the only fit: reading its counters takes no time.
        mb = peak_mb(fit)
        seconds = time.perf_counter() - start
    result = est.result_
    found = {"seconds": seconds, "peak_mb": mb, "rows_per_second": n / seconds}
    found |= {"estimate": list(result.estimate), "std_error": list(result.std_error)}
    if mode == "stream":
        counted = CountedFile(path)
        est.fit_stream(counted, "y", prediction="s")
        found["passes"] = counted.rows / n
    print(json.dumps(found))


def in_fresh_process(path: Path, mode: str) -> dict[str, Any]:
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path), mode],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_size(n: int, seed: int, in_memory: bool) -> list[dict[str, Any]]:
    """Return the lines of one file, which is deleted at the end."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        start = time.perf_counter()
        write_mb = peak_mb(lambda: write_file(path, n, seed))
        written = {"n": n, "k": COVARIATES, "labeled": SHARE_LABELED, "write_mb": write_mb}
        written |= {"write_seconds": time.perf_counter() - start}
        written |= {
            "file_mb": path.stat().st_size / 1e6,
            "input_mb": n * (COVARIATES + 2) * 8 / 1e6,
        }
        for mode in MODES if in_memory else MODES[:1]:
            line = {"workload": "dsl_logit_file", "tool": "robuststat", "variant": mode}
            lines.append(line | written | in_fresh_process(path, mode))
    if in_memory:
        gap = np.abs(np.subtract(lines[0]["estimate"], lines[1]["estimate"])).max()
        error_gap = np.abs(np.subtract(lines[0]["std_error"], lines[1]["std_error"])).max()
        lines[0] |= {"estimate_gap": gap, "std_error_gap": error_gap}
    for line in lines:
        emit(**line)
    return lines


def print_table(lines: list[dict[str, Any]]) -> None:
    columns = ("variant", "n", "file MB", "seconds", "rows/s", "passes", "MB", "MB/input")
    print("\n" + "".join(f"{name:>11}" for name in columns))
    for line in lines:
        passes = f"{line['passes']:.2f}" if "passes" in line else ""
        print(
            f"{line['variant']:>11}{line['n']:>11}{line['file_mb']:>11.0f}{line['seconds']:>11.2f}"
            f"{line['rows_per_second']:>11.2e}{passes:>11}{line['peak_mb']:>11.1f}"
            f"{line['peak_mb'] / line['input_mb']:>11.3f}"
        )
    print("\nMB: added to the process by the fit; input: the rows as float64 in memory.")
    streamed = sorted((line["n"], line["peak_mb"]) for line in lines if line["variant"] == "stream")
    if len(streamed) > 1:
        (n0, mb0), (n1, mb1) = streamed[0], streamed[-1]
        print(f"{n1 / n0:.0f} times the rows take {mb1 / mb0:.2f} times the memory.")
    for line in lines:
        if "estimate_gap" in line:
            print(
                f"n = {line['n']}: distance to the fit in memory {line['estimate_gap']:.0e} in the "
                f"estimates, {line['std_error_gap']:.0e} in the standard errors"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-memory", action="store_true", help="also fit the file as a frame")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1])
        return
    lines = [line for n in options.n for line in run_size(n, options.seed, options.in_memory)]
    print_table(lines)


if __name__ == "__main__":
    main()
