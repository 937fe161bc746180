"""Effects with instruments that may be invalid."""

from __future__ import annotations

__all__: list[str] = []
