"""Time, memory and machine, measured the same way by every benchmark script.

Memory is what the kernel saw: the highest resident set size of this process during one extra call
(``VmHWM``, reset through ``/proc/self/clear_refs``), less the size just before. That counts numpy
arrays, BLAS and Arrow buffers alike, and no peak is too short to be seen, as it may be for a
sampling thread. ``malloc_trim`` runs first: memory that an earlier call freed but the C library
kept would hide the same amount of new memory. Elsewhere than on Linux ``tracemalloc`` is used,
which sees numpy arrays and Python objects only. Worker processes are counted by neither.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

PACKAGES = ("robuststat", "numpy", "scipy", "pandas", "scikit-learn", "numba", "statsmodels")
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
MB = 1e6


def measure(func: Callable[[], object], *, repeat: int = 5, warmup: int = 1) -> dict[str, float]:
    """Run ``func`` and report seconds and added memory.

    Parameters
    ----------
    func : callable without arguments
        The work. Its return value is dropped before the next call.
    repeat : int, default 5
        Timed calls.
    warmup : int, default 1
        Calls before these, for compilation and caches. They are not timed: measure a cold start
        in a fresh process.

    Returns
    -------
    dict
        ``seconds_median``, ``seconds_min``, ``seconds_max``, and ``peak_mb``: memory (1e6 bytes)
        that one further call adds to the process at its highest point.
    """
    for _ in range(warmup):
        func()
    seconds = []
    for _ in range(repeat):
        gc.collect()
        start = time.perf_counter()
        func()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "peak_mb": peak_mb(func),
    }


def peak_mb(func: Callable[[], object]) -> float:
    """Memory in MB that one call adds at its highest point (see the top of this file)."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        CLEAR_REFS.write_text("5")
        before = _status_mb("VmRSS")
    except (OSError, AttributeError):
        return _traced_mb(func)
    func()
    return max(0.0, _status_mb("VmHWM") - before)


def _status_mb(field: str) -> float:
    lines = (line.split() for line in STATUS.read_text().splitlines())
    (kilobytes,) = (float(line[1]) for line in lines if line[0] == f"{field}:")
    return kilobytes * 1024 / MB


def _traced_mb(func: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        func()
        return (tracemalloc.get_traced_memory()[1] - before) / MB
    finally:
        tracemalloc.stop()


@contextmanager
def single_thread() -> Iterator[None]:
    """Give BLAS and OpenMP one thread. Enter it after the imports: it limits loaded libraries."""
    with threadpool_limits(limits=1):
        yield


def gram_seconds(X: NDArray[np.float64], *, repeat: int = 7) -> float:
    """Median seconds of ``X.T @ X``: the yardstick that makes two machines comparable."""
    X.T @ X  # the first product also starts the threads of BLAS
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        X.T @ X
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def emit(**fields: Any) -> None:
    """Print one JSON line: the fields, then the machine and the versions."""
    print(
        json.dumps(fields | {"machine": machine(), "versions": versions()}, default=_plain),
        flush=True,
    )


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, threads of BLAS, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "blas_threads": max((info["num_threads"] for info in threadpool_info()), default=1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: tuple[str, ...] = (*PACKAGES, "ppi-python")) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
