"""An append-only file of model runs, so that an interrupted fit resumes without repeating them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array
from robuststat.sampling._law_classes import Law

__all__ = ["Checkpoint", "run_key"]

_FORMAT = 1


def run_key(owner: str, params: Mapping[str, Any], laws: Sequence[Law]) -> str:
    """Hash of what decides which points are drawn: options, seed and laws.

    A law enters through eight draws and their log-densities, because two equal laws need not
    have equal representations. The function is not part of the key: its points are compared.
    """
    digest = hashlib.sha256(f"{owner} {sorted(params.items(), key=lambda kv: kv[0])!r}".encode())
    for law in laws:
        X = law.rvs(8, np.random.default_rng(0)) if law.seeded else np.zeros((1, law.dim))
        digest.update(np.ascontiguousarray(X).tobytes())
        if law.has_density:
            digest.update(np.ascontiguousarray(law.logpdf(X)).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """Blocks of points and outputs in one file: a line of JSON, then arrays in numpy's format.

    Parameters
    ----------
    path : str or Path
        File; it is created, or continued when it belongs to the same run.
    key : str
        From :func:`run_key`.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.path = Path(path)
        self.blocks: dict[int, tuple[Array, Array]] = {}
        if self.path.exists() and self.path.stat().st_size:
            self._read(key)
        else:
            header = json.dumps({"format": _FORMAT, "key": key})
            self.path.write_bytes(header.encode() + b"\n")

    def _read(self, key: str) -> None:
        with self.path.open("r+b") as file:
            try:
                header = json.loads(file.readline())
                found = header["key"]
            except (ValueError, KeyError, TypeError):
                raise ParameterError(
                    f"checkpoint={str(self.path)!r} is not a checkpoint file. Choose another name."
                ) from None
            if found != key or header.get("format") != _FORMAT:
                raise ParameterError(
                    f"checkpoint={str(self.path)!r} belongs to a run with other options, seed or "
                    "laws. Delete it, or choose another name."
                )
            good = file.tell()
            while True:
                try:
                    number, X, Y = (np.load(file, allow_pickle=False) for _ in range(3))
                except (ValueError, EOFError, OSError):
                    break
                self.blocks[int(number)] = (X, Y)
                good = file.tell()
            # A block that was being written when the run died is done again.
            file.truncate(good)

    def find(self, number: int, X: Array) -> Array | None:
        """Find the outputs of a block that was run before, or None.

        Raises
        ------
        DataError
            If the block was run at other points.
        """
        if number not in self.blocks:
            return None
        points, Y = self.blocks[number]
        if points.shape != X.shape or not np.array_equal(points, X):
            raise DataError(
                f"checkpoint={str(self.path)!r} holds other points for block {number}: the "
                "function or the installed version has changed. Delete the file."
            )
        return Y

    def append(self, number: int, X: Array, Y: Array) -> None:
        """Write one finished block."""
        with self.path.open("ab") as file:
            for array in (np.array(number), X, Y):
                np.save(file, array, allow_pickle=False)
