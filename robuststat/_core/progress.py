"""A progress bar for long loops: tqdm where it is installed, one line of text otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, label: str, *, enabled: bool) -> Iterator[T]:
    """Yield ``items`` and draw on standard error how many of ``total`` are done."""
    if not enabled:
        yield from items
        return
    try:
        from tqdm import tqdm
    except ImportError:
        for done, item in enumerate(items, start=1):
            yield item
            filled = 30 * done // total
            bar = "#" * filled + "." * (30 - filled)
            sys.stderr.write(f"\r{label} [{bar}] {done}/{total}")
            sys.stderr.flush()
        sys.stderr.write("\n")
        return
    yield from tqdm(items, total=total, desc=label, leave=False)
