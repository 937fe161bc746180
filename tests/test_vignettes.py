"""Every vignette runs from top to bottom as a plain script, without a single warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Without vignettes the list is empty and pytest reports one skipped test.
VIGNETTES = sorted((Path(__file__).parents[1] / "vignettes").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", VIGNETTES, ids=lambda path: path.stem)
def test_vignette_runs(script: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{script.name} failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
