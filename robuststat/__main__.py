"""The tour: one problem a family, the naive answer beside the robust one."""

from __future__ import annotations

import sys
import time

import robuststat
from robuststat._tour import iv, surrogate


def main() -> None:
    """Print the tour on standard output."""
    started = time.perf_counter()
    print(f"robuststat {robuststat.__version__}\n")
    for text in (surrogate.tour(interactive=sys.stderr.isatty()), iv.tour()):
        print(f"{text}\n")
    print(f"({time.perf_counter() - started:.0f} seconds)")


if __name__ == "__main__":
    main()
