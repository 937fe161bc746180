"""Rows that do not fit in memory: what a streaming sum must offer, and how sources are read.

A statistic that is a sum over rows is an accumulator; two accumulators of disjoint rows merge.
Sources are read chunk by chunk and can be read again, because Newton steps need several passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.table import Table, as_table

CHUNK_ROWS = 100_000


class Accumulator(Protocol):
    """A sum over rows that is filled chunk by chunk.

    ``MeatAccumulator`` is one. ``finish`` may be called once everything has been seen.
    """

    def update(self, *chunk: Any) -> None:
        """Add the rows of a chunk."""
        ...

    def merge(self, other: Self) -> None:
        """Add what another accumulator of the same layout has seen."""
        ...

    def finish(self) -> Any:
        """Return the statistic."""
        ...


A = TypeVar("A", bound=Accumulator)
T = TypeVar("T")
S = TypeVar("S")

# Partitions that a Dask scheduler works on at once: their results are all held.
_BATCH = 32


class RowSums:
    """Sums over rows of arrays of fixed shapes."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def update(self, *chunk: Any) -> None:
        """Add the sums of some rows."""
        if not self.values:
            self.values = [part * 1.0 for part in chunk]
            return
        for total, part in zip(self.values, chunk, strict=True):
            total += part

    def merge(self, other: RowSums) -> None:
        """Add what another accumulator has seen."""
        self.update(*other.values)

    def finish(self) -> list[Any]:
        """Return the sums."""
        return self.values


class ChunkSource:
    """A source of rows that can be read any number of times, in chunks of bounded size.

    Parameters
    ----------
    source : str, Path, pyarrow dataset, Dask frame, iterable of frames, or callable
        Path of a Parquet file or of a folder of them; an open pyarrow dataset or Parquet file; a
        Dask data frame (its partitions are the chunks); a list of frames of any library; or a
        function without arguments that returns a new iterator of frames. A bare iterator is
        refused: it can be read once only.
    columns : sequence of str, optional
        Columns needed; None reads all. Parquet sources read only these.
    chunk_rows : int
        Upper bound of the rows of a chunk read from Parquet.

    Raises
    ------
    DataError
        When the source is of another kind, or a path does not exist.
    """

    def __init__(
        self, source: Any, columns: Sequence[str] | None = None, chunk_rows: int = CHUNK_ROWS
    ) -> None:
        if chunk_rows < 1:
            raise ParameterError(f"chunk_rows must be at least 1; got {chunk_rows}.")
        self._columns = None if columns is None else list(dict.fromkeys(columns))
        self._partitions = None
        if _is_dask(source):
            self._partitions = source if columns is None else source[self._columns]
        self._open = _opener(source, self._columns, chunk_rows)

    def __iter__(self) -> Iterator[Table]:
        """Yield the chunks as tables, in order; chunks without rows are skipped."""
        for number, frame in enumerate(self._open()):
            table = _as_chunk(frame, number, self._columns)
            if table.n_rows:
                yield table

    def map(self, function: Callable[[Table, S], T], states: Iterable[S]) -> Iterator[T]:
        """Yield ``function(chunk, state)`` for every chunk and its state, in order.

        Partitions of a Dask frame are mapped where they are, by the active scheduler; only what
        the function returns travels. Chunks without rows have a state too.

        Parameters
        ----------
        function : callable
            Picklable for a Dask frame.
        states : iterable
            One for each chunk; it may be endless.
        """
        if self._partitions is None:
            for (number, frame), state in zip(enumerate(self._open()), states, strict=False):
                yield function(_as_chunk(frame, number, self._columns), state)
            return
        import dask

        work = dask.delayed(_on_partition)
        parts = self._partitions.to_delayed()
        chosen = list(zip(parts, states, strict=False))
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            yield from dask.compute(
                *(
                    work(part, start + i, self._columns, function, state)
                    for i, (part, state) in enumerate(batch)
                )
            )

    @property
    def distributed(self) -> bool:
        """Whether chunks are worked on elsewhere, so that sums must be merged."""
        return self._partitions is not None


def is_source(X: Any) -> bool:
    """Whether X is a source of chunks rather than rows in memory."""
    if isinstance(X, str | PathLike) or _is_dask(X):
        return True
    if hasattr(X, "scanner") and hasattr(X, "to_batches"):
        return True
    if hasattr(X, "iter_batches") and hasattr(X, "schema_arrow"):
        return True
    if isinstance(X, (list, tuple)):
        return bool(X) and not isinstance(X[0], (list, tuple)) and as_table(X[0]) is not None
    return callable(X) and not hasattr(X, "__array__") and as_table(X) is None


def _is_dask(source: Any) -> bool:
    return hasattr(source, "to_delayed") and hasattr(source, "partitions")


def _on_partition(
    frame: Any, number: int, columns: list[str] | None, function: Callable[..., Any], state: Any
) -> Any:
    return function(_as_chunk(frame, number, columns), state)


def _as_chunk(frame: Any, number: int, columns: list[str] | None) -> Table:
    table = as_table(frame)
    if table is None:
        raise DataError(
            f"Chunk {number} of the source is a {type(frame).__name__}, not a data frame."
        )
    absent = [c for c in columns or () if c not in table]
    if absent:
        raise DataError(
            f"Chunk {number} of the source lacks the columns {', '.join(absent)}. It has "
            f"{table.listed()}."
        )
    return table


def accumulate(chunks: Iterable[T], make: Callable[[], A], add: Callable[[A, T], None]) -> A:
    """Run one accumulator over all chunks.

    Parameters
    ----------
    chunks : iterable
        For instance a ``ChunkSource``.
    make : callable
        Returns an empty accumulator.
    add : callable
        ``add(accumulator, chunk)`` turns a chunk into arguments of ``update``.

    Returns
    -------
    accumulator
        After the last chunk; call ``finish`` on it.
    """
    total = make()
    for chunk in chunks:
        add(total, chunk)
    return total


def _opener(source: Any, columns: list[str] | None, chunk_rows: int) -> Callable[[], Iterable[Any]]:
    if isinstance(source, str | PathLike):
        return _parquet_opener(Path(source), columns, chunk_rows)
    if callable(source):
        return lambda: source()
    if hasattr(source, "scanner") and hasattr(source, "to_batches"):  # a pyarrow dataset
        return lambda: _batches(source, columns, chunk_rows)
    if hasattr(source, "iter_batches") and hasattr(source, "schema_arrow"):  # a ParquetFile
        return lambda: _file_batches(source, columns, chunk_rows)
    if _is_dask(source):
        return lambda: (part.compute() for part in _dask_parts(source, columns))
    if as_table(source) is not None:
        return lambda: [source]
    if isinstance(source, Iterator):
        raise DataError(
            "The source is an iterator, which can be read only once; several passes are needed. "
            "Pass a list of frames, or a function that returns a new iterator."
        )
    if isinstance(source, Iterable):
        return lambda: source
    raise DataError(
        f"A {type(source).__name__} cannot be read in chunks. Pass the path of a Parquet file, a "
        "pyarrow dataset, a Dask frame, a list of frames, or a function returning an iterator."
    )


def _parquet_opener(
    path: Path, columns: list[str] | None, chunk_rows: int
) -> Callable[[], Iterable[Any]]:
    if not path.exists():
        raise DataError(f"The source {str(path)!r} does not exist.")
    try:
        import pyarrow.dataset as dataset
    except ImportError as error:
        raise ImportError('Reading Parquet needs pyarrow: pip install "robuststat[big]"') from error
    opened = dataset.dataset(path, format="parquet")
    return lambda: _batches(opened, columns, chunk_rows)


def _batches(source: Any, columns: list[str] | None, chunk_rows: int) -> Iterator[Any]:
    import pyarrow
    import pyarrow.dataset

    # Reading far ahead holds hundreds of megabytes and saves nothing: the sums take longer.
    options: dict[str, Any] = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
    if getattr(getattr(source, "format", None), "default_extname", "") == "parquet":
        scan = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)
        options["fragment_scan_options"] = scan
    for batch in source.to_batches(columns=columns, batch_size=chunk_rows, **options):
        yield pyarrow.Table.from_batches([batch])


def _file_batches(source: Any, columns: list[str] | None, chunk_rows: int) -> Iterator[Any]:
    import pyarrow

    for batch in source.iter_batches(columns=columns, batch_size=chunk_rows):
        yield pyarrow.Table.from_batches([batch])


def _dask_parts(source: Any, columns: list[str] | None) -> Iterable[Any]:
    chosen = source if columns is None else source[columns]
    return chosen.partitions  # type: ignore[no-any-return]
