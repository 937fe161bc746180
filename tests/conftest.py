"""What every test may rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# No test opens a window; set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with the stored inputs and outputs of other packages."""
    return Path(__file__).parent / "reference"
