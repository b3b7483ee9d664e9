"""Key rings and tokenizers."""

from __future__ import annotations

import os
import socket
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple, Union

from . import _columns, _native

_Path = Union[str, "os.PathLike[str]"]


class KeyRing:
    """A key ring file, opened with :meth:`KeyRing.open`. It holds the keys in locked memory, and is not pickled."""

    __slots__ = ("_ring",)

    def __init__(self) -> None:
        raise TypeError("a key ring is opened from its file: callveil.KeyRing.open(path)")

    @classmethod
    def open(
        cls,
        path: _Path,
        identity: Optional[_Path] = None,
        passphrase: Union[str, Callable[[], str], None] = None,
        *,
        keyring_mode: Optional[str] = None,
        ring_id: Optional[str] = None,
        min_generation: int = 0,
        trunk_zero_regions: Sequence[str] = ("CN",),
    ) -> "KeyRing":
        """Opens the ring at ``path``.

        ``identity`` is the file of the age identity that opens an encrypted ring; with one, a plain ring is refused.
        ``passphrase`` opens an identity that is encrypted itself: a text, or something to call for it
        (``getpass.getpass``). ``keyring_mode="any"`` takes a plain ring that others on the system can read.
        ``ring_id`` and ``min_generation`` are the only ring to take, and the oldest.
        ``trunk_zero_regions`` are the regions whose numbers are dialled with their trunk 0, as in the server's
        configuration.

        Raises :class:`callveil.RingRefused` where the file or the identity is not taken, and :class:`ValueError` where
        an argument has no such value.
        """
        if identity is not None and callable(passphrase):
            passphrase = passphrase()
        ring = object.__new__(cls)
        ring._ring = _native.Ring.open(
            path, (identity, passphrase), keyring_mode, (ring_id, min_generation), list(trunk_zero_regions)
        )
        return ring

    def reload(self) -> bool:
        """Takes up the file as it is now, also for tokenizers of this ring, from their next call on.

        Gives whether it is another. Raises :class:`callveil.RingRefused` where it is not taken: the ring before stays.
        """
        return self._ring.reload()

    def tokenizer(
        self,
        context: str = "default",
        *,
        audit: Union[_Path, Callable[[Dict[str, Any]], object], None] = None,
    ) -> "Tokenizer":
        """The tokenizer of ``context``, the space of UIDs.

        Who opens UIDs is recorded in ``<ring>.audit``, unless ``audit`` is another file, or something to call with each
        record (a ``dict``). Raises :class:`ValueError` where ``context`` cannot name one.
        """
        tokenizer = object.__new__(Tokenizer)
        tokenizer._tokenizer = _native.Tokenizer(self._ring, context, audit, socket.gethostname())
        return tokenizer

    def keys(self) -> List[Dict[str, str]]:
        """The keys: ``id``, ``state`` (``primary``, ``pending``, ``enabled``, ``disabled`` or ``destroyed``),
        ``created``, ``activates``, ``region`` and ``numbers``. Never what they are made of."""
        return self._ring.keys()

    @property
    def path(self) -> str:
        """The path, as it was given."""
        return str(self._ring.path)

    @property
    def ring_id(self) -> str:
        """The name of the ring, which never changes."""
        return self._ring.ring_id

    @property
    def generation(self) -> int:
        """How often the ring was written."""
        return self._ring.generation

    def __repr__(self) -> str:
        return f"<callveil.KeyRing {self.path!r} generation {self.generation}, {len(self.keys())} keys>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a key ring is not pickled, or its keys would travel: have each worker open the file with KeyRing.open"
        )


class Tokenizer:
    """Maps columns to UIDs and back, for one context. Made by :meth:`KeyRing.tokenizer`.

    A column is an array or a chunked array of Arrow (anything with ``__arrow_c_array__`` or ``__arrow_c_stream__``), a
    series of pandas or Polars, a NumPy array of objects or texts, a list, a tuple, or one text. The same kind comes back,
    with as many rows. NULL (``None``, ``NaN``, ``pandas.NA``) stays NULL.

    Of each method:

    - ``on_error``: what becomes of a row that cannot be mapped: ``"null"``; ``"raise"`` a
      :class:`callveil.ItemError`, and give nothing back; or ``"keep"`` it as it is.
    - ``errors=True`` gives a pair: the results, and a column that has the name of the error of each row that failed.
    - ``threads``: how many to use, instead of all cores.

    The results of each call are of one ring and one time. All methods may be called from several threads, and other
    threads of Python run meanwhile. Raises :class:`TypeError` for what is no column of texts.

    As a context manager, all calls that open UIDs within are one run in the audit record, and not a run each.
    """

    __slots__ = ("_tokenizer",)

    def __init__(self) -> None:
        raise TypeError("a tokenizer is made by a ring: ring.tokenizer(context)")

    def tokenize(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """Numbers to their UIDs under the primary key. A UID of this context stays as it is.

        Errors: ``invalid_number``.

        >>> tokenizer.tokenize(["139 8888 8888", None])  # doctest: +SKIP
        ['h6q2...', None]
        """
        return self._map("tokenize", column, on_error, errors, threads)

    def detokenize(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """UIDs to their numbers as they are dialled (``008613988888888``); recorded before and after.

        Errors: ``plain_number``, ``malformed_uid``, ``unknown_key``, ``key_disabled``, ``key_destroyed``,
        ``not_authentic``. Raises :class:`callveil.NotRecorded` where it cannot be recorded.
        """
        return self._map("detokenize", column, on_error, errors, threads)

    def rewrap(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """UIDs under any enabled key to UIDs under the primary key; recorded before and after.

        Errors: those of :meth:`detokenize`.
        """
        return self._map("rewrap", column, on_error, errors, threads)

    def aliases(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """Numbers to lists of their UIDs under every enabled key: the primary's first, then the newest.

        Where rows are not objects, they are Arrow's ``list<string>``. ``on_error`` is ``"null"`` or ``"raise"``.
        Errors: ``invalid_number``.
        """
        return self._map("aliases", column, on_error, errors, threads)

    def inspect(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """What UIDs tell without being opened: ``key``, the id of the key that they name, and its ``state``, which is
        ``unknown`` where the ring has no such key. Whether that key made it only opening tells.

        Rows are a ``dict`` each, or Arrow's ``struct<key: string, state: string>``. ``on_error`` is ``"null"`` or
        ``"raise"``. Errors: ``malformed_uid``.
        """
        return self._map("inspect", column, on_error, errors, threads)

    def normalize(
        self, column: Any, on_error: str = "null", errors: bool = False, threads: Optional[int] = None
    ) -> Any:
        """Numbers as the primary key reads them: ``+8613988888888``, a hotline's digits, or the text if it is no number.
        What has the same normal form has the same UID. Errors: ``invalid_number``.
        """
        return self._map("normalize", column, on_error, errors, threads)

    def _map(self, operation: str, column: Any, on_error: str, errors: bool, threads: Optional[int]) -> Any:
        def of(map_column: Callable[..., Tuple[Any, Optional[Any]]]) -> _columns.Map:
            return lambda column: map_column(column, operation, on_error, errors, threads)

        mapped = _columns.apply(column, of(self._tokenizer.map_arrow), of(self._tokenizer.map_objects))
        return mapped if errors else mapped[0]

    @property
    def context(self) -> str:
        """The space of the UIDs."""
        return self._tokenizer.context

    def __enter__(self) -> "Tokenizer":
        self._tokenizer.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._tokenizer.leave()

    def __repr__(self) -> str:
        return f"<callveil.Tokenizer of context {self.context!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a tokenizer is not pickled, or its keys would travel: have each worker open the ring with KeyRing.open"
        )
