"""What goes wrong. No message has a number, a UID or a key in it."""

from __future__ import annotations


class Error(Exception):
    """Anything that Callveil refuses to do."""


class RingRefused(Error):
    """The key ring, or the identity that opens it, is not taken: it is torn, altered, open to others, encrypted for
    somebody else, or does not follow the one in use."""


class NotRecorded(Error):
    """It could not be recorded who opens UIDs, and so none was opened (or, at the end of a run, its end is missing)."""


class ItemError(Error, ValueError):
    """A row could not be mapped, with ``on_error="raise"``. The text names the row and the error, never the value."""

    #: The error's name on the wire.
    code: str = ""
    #: Which row it was, from 0.
    row: int = -1


class InvalidNumber(ItemError):
    """Empty, over 128 bytes, or with a control character inside."""

    code = "invalid_number"


class PlainNumber(ItemError):
    """A number stands where a UID is wanted."""

    code = "plain_number"


class MalformedUid(ItemError):
    """Not the text of a UID."""

    code = "malformed_uid"


class UnknownKey(ItemError):
    """A UID of a key that is not in this ring."""

    code = "unknown_key"


class KeyDisabled(ItemError):
    """A UID of a key that is disabled."""

    code = "key_disabled"


class KeyDestroyed(ItemError):
    """A UID of a key whose material is gone for good."""

    code = "key_destroyed"


class NotAuthentic(ItemError):
    """A UID that its key never made in this context: mistyped, forged, or another context's."""

    code = "not_authentic"


ITEM_ERRORS = {
    error.code: error
    for error in (InvalidNumber, PlainNumber, MalformedUid, UnknownKey, KeyDisabled, KeyDestroyed, NotAuthentic)
}
