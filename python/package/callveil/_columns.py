"""Which kind of column it is, and how the same kind comes back. None of the libraries is imported unless the caller has."""

from __future__ import annotations

import sys
from typing import Any, Callable, List, Optional, Tuple

#: Maps something of Arrow, or a list: the results, and why rows failed where that is wanted.
Map = Callable[[Any], Tuple[Any, Optional[Any]]]

_WANTED = (
    "a column of texts is wanted: an array of Arrow, a series of pandas or Polars, a NumPy array of objects or texts, "
    "a list, or a text"
)


def apply(column: Any, map_arrow: Map, map_objects: Map) -> Tuple[Any, Optional[Any]]:
    """Maps ``column``, and gives back the same kind."""
    if column is None or isinstance(column, str):
        results, errors = map_objects([column])
        return results[0], None if errors is None else errors[0]
    if isinstance(column, list):
        return map_objects(column)
    if isinstance(column, tuple):
        results, errors = map_objects(list(column))
        return tuple(results), None if errors is None else tuple(errors)
    for library, of_library in (("pandas", _pandas), ("polars", _polars), ("numpy", _numpy), ("pyarrow", _pyarrow)):
        module = sys.modules.get(library)
        if module is not None:
            mapped = of_library(module, column, map_arrow, map_objects)
            if mapped is not None:
                return mapped
    if hasattr(column, "__arrow_c_array__") or hasattr(column, "__arrow_c_stream__"):
        results, errors = map_arrow(column)
        return _like(column, results), None if errors is None else _like(column, errors)
    raise TypeError(f"{_WANTED}; not {type(column).__name__}")


def _like(column: Any, results: Any) -> Any:
    """``results`` as another library of Arrow has them, where it takes them; what has Arrow's interface, otherwise."""
    from_arrow = getattr(type(column), "from_arrow", None)
    return results if from_arrow is None else from_arrow(results)


def _pandas(pandas: Any, column: Any, map_arrow: Map, map_objects: Map) -> Optional[Tuple[Any, Optional[Any]]]:
    if isinstance(column, pandas.Index):
        raise TypeError("an index is not mapped: index.to_series() is")
    if isinstance(column, pandas.api.extensions.ExtensionArray):
        results, errors = _pandas(pandas, pandas.Series(column), map_arrow, map_objects) or (None, None)
        return results.array, None if errors is None else errors.array
    if not isinstance(column, pandas.Series):
        return None

    def series(values: Any, **more: Any) -> Any:
        return pandas.Series(values, index=column.index, name=column.name, **more)

    arrow = getattr(column.array, "__arrow_array__", None)
    is_of_arrow = isinstance(column.dtype, pandas.ArrowDtype) or getattr(column.dtype, "storage", None) == "pyarrow"
    if arrow is None or not is_of_arrow:
        results, errors = map_objects(column.tolist())
        if isinstance(column.dtype, pandas.StringDtype) and not any(isinstance(it, (dict, list)) for it in results):
            return series(results, dtype=column.dtype), None if errors is None else series(errors, dtype=column.dtype)
        return series(results, dtype=object), None if errors is None else series(errors, dtype=object)
    import pyarrow

    texts = arrow()
    results, errors = map_arrow(texts)

    def back(arrow: Any) -> Any:
        chunked = pyarrow.chunked_array(arrow) if hasattr(arrow, "__arrow_c_stream__") else pyarrow.chunked_array([arrow])
        is_text = pyarrow.types.is_string(chunked.type) or pyarrow.types.is_large_string(chunked.type)
        keeps = is_text and isinstance(column.dtype, pandas.StringDtype)
        dtype = column.dtype if keeps else pandas.ArrowDtype(chunked.type)
        return series(dtype.__from_arrow__(chunked))

    return back(results), None if errors is None else back(errors)


def _polars(polars: Any, column: Any, map_arrow: Map, _map_objects: Map) -> Optional[Tuple[Any, Optional[Any]]]:
    if not isinstance(column, polars.Series):
        return None
    texts = column
    if isinstance(column.dtype, (polars.Categorical, polars.Enum)):
        texts = column.cast(polars.String)
    results, errors = map_arrow(texts)

    def back(arrow: Any) -> Any:
        return polars.Series(arrow).rename(column.name)

    return back(results), None if errors is None else back(errors)


def _numpy(numpy: Any, column: Any, _map_arrow: Map, map_objects: Map) -> Optional[Tuple[Any, Optional[Any]]]:
    if not isinstance(column, numpy.ndarray):
        return None
    if column.dtype.kind not in "OUT":
        raise TypeError(f"{_WANTED}; not numbers of NumPy ({column.dtype}), which have lost their leading zeros")

    def back(values: List[Any]) -> Any:
        array = numpy.empty(len(values), dtype=object)
        for at, value in enumerate(values):
            array[at] = value
        return array.reshape(column.shape)

    results, errors = map_objects(column.ravel().tolist())
    return back(results), None if errors is None else back(errors)


def _pyarrow(pyarrow: Any, column: Any, map_arrow: Map, _map_objects: Map) -> Optional[Tuple[Any, Optional[Any]]]:
    if isinstance(column, pyarrow.ChunkedArray):
        back = pyarrow.chunked_array
    elif isinstance(column, pyarrow.Array):
        back = pyarrow.array
    else:
        return None
    results, errors = map_arrow(column)
    return back(results), None if errors is None else back(errors)
