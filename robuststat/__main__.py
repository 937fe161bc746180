"""The tour: one problem a family, the naive answer beside the robust one."""

from __future__ import annotations

import sys
import time

import robuststat
from robuststat._tour import invariance, iv, ordinal, private, sampling, surrogate


def main() -> None:
    """Print the tour on standard output."""
    started = time.perf_counter()
    print(f"robuststat {robuststat.__version__}\n")
    print(surrogate.tour(1, interactive=sys.stderr.isatty()), end="\n\n")
    for number, station in enumerate((iv, ordinal, private, sampling, invariance), start=2):
        print(station.tour(number), end="\n\n")
    print(f"({time.perf_counter() - started:.0f} seconds)")


if __name__ == "__main__":
    main()
