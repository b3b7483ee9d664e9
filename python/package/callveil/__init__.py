"""Callveil's UIDs in Python: whole columns of phone numbers to UIDs and back, on all cores.

>>> import callveil
>>> ring = callveil.KeyRing.open("keys/keyring.json")  # doctest: +SKIP
>>> uids = ring.tokenizer().tokenize(["13988888888"])  # doctest: +SKIP
"""

from ._api import KeyRing, Tokenizer
from ._errors import (
    Error,
    InvalidNumber,
    ItemError,
    KeyDestroyed,
    KeyDisabled,
    MalformedUid,
    NotAuthentic,
    NotRecorded,
    PlainNumber,
    RingRefused,
    UnknownKey,
)
from ._native import __version__

__all__ = [
    "Error",
    "InvalidNumber",
    "ItemError",
    "KeyDestroyed",
    "KeyDisabled",
    "KeyRing",
    "MalformedUid",
    "NotAuthentic",
    "NotRecorded",
    "PlainNumber",
    "RingRefused",
    "Tokenizer",
    "UnknownKey",
    "__version__",
]
