"""Use an installed wheel as a stranger would: run outside the checkout, in a clean environment.

    python smoke.py [DATA_FOLDER]

Loads every data set, checks that no file of DATA_FOLDER was lost on the way into the wheel, and
runs ``python -m robuststat`` with warnings as errors.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path


def check_place() -> None:
    """Check that the package comes from this environment, not from a checkout."""
    import robuststat

    place = Path(robuststat.__file__).resolve()
    assert place.is_relative_to(Path(sys.prefix).resolve()), f"imported from {place}"
    assert robuststat.__version__ == version("robuststat")
    assert files("robuststat").joinpath("py.typed").is_file(), "py.typed is missing"


def check_data(folder: Path | None) -> None:
    """Call every loader, and look for every file of the checkout's data folder."""
    from robuststat import datasets

    loaders = [name for name in dir(datasets) if name.startswith("load_")]
    assert loaders, "robuststat.datasets has no load_ function"
    for name in loaders:
        result = getattr(datasets, name)()
        assert result is not None, f"{name}() returned nothing"
        print(f"  {name}: {type(result).__name__}")
    if folder is not None:
        wanted = {path.name for path in folder.iterdir() if path.is_file()}
        lost = wanted - {path.name for path in files("robuststat.data").iterdir()}
        assert not lost, f"not in the wheel: {sorted(lost)}"


def check_command() -> None:
    """Run ``python -m robuststat``: it ends well, says something, and warns about nothing."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "robuststat"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip(), "python -m robuststat printed nothing"
    print(f"  python -m robuststat: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    check_place()
    check_data(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    check_command()
