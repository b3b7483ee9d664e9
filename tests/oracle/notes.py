#!/usr/bin/env python3
"""A second, independent implementation of signed notes (C2SP signed-note), by which key rings are signed.

    notes.py verify NOTE [VERIFIER_KEY]...   whether a note is signed by its own ring, and by these keys; says by whom
    notes.py sign NOTE NAME SEED_HEX         the note with one more signature, on stdout
    notes.py key NAME SEED_HEX               the verifier key of that name and seed

It shares no code with callveil: Ed25519 is OpenSSL's (PyPI `cryptography`).
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

RING_NAME = "callveil-ring"


def public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def key_id(name: str, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]


def verifier_key(name: str, key: bytes) -> str:
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(bytes([1]) + key).decode()}"


def read_verifier_key(text: str) -> tuple[str, bytes]:
    name, identity, encoded = text.split("+", 2)
    typed = base64.b64decode(encoded, validate=True)
    assert typed[0] == 1 and len(typed) == 33, "no Ed25519 key"
    assert key_id(name, typed[1:]).hex() == identity, "the key's id is not its own"
    return name, typed[1:]


def line(text: str, name: str, seed: bytes) -> str:
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text.encode())
    return f"\u2014 {name} {base64.b64encode(key_id(name, public(seed)) + signature).decode()}\n"


def signed(text: str, name: str, seed: bytes) -> str:
    assert text.endswith("\n")
    return f"{text}\n{line(text, name, seed)}"


def split(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The text, and each signature as its name, key id and signature."""
    text, lines = note.rsplit("\n\n", 1)
    assert lines.endswith("\n")
    found = []
    for entry in lines.splitlines():
        dash, name, encoded = entry.split(" ")
        assert dash == "\u2014"
        raw = base64.b64decode(encoded, validate=True)
        found.append((name, raw[:4], raw[4:]))
    return text + "\n", found


def is_signed_by(note: str, name: str, key: bytes) -> bool:
    text, lines = split(note)
    for found, identity, signature in lines:
        if found == name and identity == key_id(name, key):
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature, text.encode())
            except InvalidSignature:
                return False
            return True
    return False


def open_ring(note: str) -> dict:
    """The ring in a note, which its own key has signed."""
    ring = json.loads(split(note)[0])
    key = bytes.fromhex(ring["ring"])
    assert public(base64.b64decode(ring["signing_key"], validate=True)) == key, "the signing key is another ring's"
    assert is_signed_by(note, RING_NAME, key), "the ring has not signed itself"
    return ring


def main() -> None:
    match sys.argv[1:]:
        case ["verify", path, *keys]:
            note = Path(path).read_text("utf-8")
            names = [RING_NAME] if open_ring(note) else []
            for name, key in map(read_verifier_key, keys):
                assert is_signed_by(note, name, key), f"{name} has not signed it"
                names.append(name)
            print("signed by", *names)
        case ["sign", path, name, seed]:
            note = Path(path).read_text("utf-8")
            sys.stdout.write(note + line(split(note)[0], name, bytes.fromhex(seed)))
        case ["key", name, seed]:
            print(verifier_key(name, public(bytes.fromhex(seed))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
