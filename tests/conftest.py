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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no process is left with them, and count no lines in them.

    Fast tests must reach the lines; counting them costs time.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker("no_cover")
