#!/usr/bin/env python3
"""A second, independent implementation of the UID (specification, section 3), which makes and checks golden files.

    uids.py                         write ../golden/keyring.json and ../golden/uids.tsv
    uids.py --check                 verify these two
    uids.py --check KEYRING UIDS    verify others, such as files that the real binary made

It shares no code with callveil: AES-SIV is OpenSSL's (PyPI `cryptography`), and --check opens every UID
with Tink too (PyPI `tink`), because the specification promises that an exported key works there.
"""

import argparse
import base64
import hashlib
import itertools
import json
import random
import re
import sys
import unicodedata
from pathlib import Path

import notes
import tink
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from tink import daead, proto_keyset_format, secret_key_access
from tink.proto import aes_siv_pb2, tink_pb2

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
# Everything random comes from this label, so that anybody can see that the ring is not a real one.
LABEL = "callveil golden test ring, not a secret"

KEYS = {"3fa1": "2024-01-01T00:00:00Z", "0b7e": "2025-01-01T00:00:00Z", "c402": "2026-01-01T00:00:00Z"}
CONTEXTS = ["default", "crm-eu.1", ("0longest_context-of.64-characters." * 2)[:64]]
E164_COUNT = 10_000
VERBATIM_COUNT = 1_000
TEXT_BYTES_MAX = 128

# The marks which normalisation strips at both ends, besides white space.
MARKS = {0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


# The UID, section 3.

def plaintext(kind: str, text: str) -> bytes:
    """What AES-SIV encrypts. Raises ValueError for anything that the UID's format cannot hold."""
    if kind == "e164":
        if not re.fullmatch(r"[1-9][0-9]{0,14}", text):
            raise ValueError("not E.164 digits")
        return int(text).to_bytes(7, "big")
    if kind != "verbatim":
        raise ValueError("neither e164 nor verbatim")
    octets = text.encode("utf-8")
    if not 1 <= len(octets) <= TEXT_BYTES_MAX:
        raise ValueError("empty or too long")
    if any(end.isspace() or ord(end) in MARKS for end in (text[0], text[-1])):
        raise ValueError("normalisation would strip this text")
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise ValueError("control character")
    # 7 + 10 n bytes make the whole UID a multiple of 5 bytes, so base32 never pads.
    octets = b"\x80" + octets
    return octets + bytes((7 - len(octets)) % 10)


def associated_data(key_id: str, context: str) -> bytes:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", context):
        raise ValueError("not a context")
    return f"callveil/1/{key_id}/{context}".encode()


def uid(material: bytes, key_id: str, context: str, kind: str, text: str) -> str:
    sealed = AESSIV(material).encrypt(plaintext(kind, text), [associated_data(key_id, context)])
    return base64.b32encode(bytes.fromhex(key_id) + sealed).decode().lower()


# Making the golden files.

def make_keyring() -> str:
    """The ring after its third generation; the two before are made as well, for a true `parent`."""
    entries, text = [], None
    seed = hashlib.sha256(LABEL.encode()).digest()
    for generation, (key_id, time) in enumerate(KEYS.items(), start=1):
        material = hashlib.sha512(f"{LABEL}, key {key_id}".encode()).digest()
        entries.append({
            "id": key_id, "status": "enabled", "created": time, "activates": time,
            "scheme": "aes256-siv", "numbers": "callveil-2/libphonenumber-9.0.42", "region": "CN",
            "check": hashlib.sha256(material).hexdigest()[:16],
            "material": base64.b64encode(material).decode(),
        })
        ring = {"format": "callveil-keyring/2", "ring": notes.public(seed).hex(),
                "signing_key": base64.b64encode(seed).decode(), "generation": generation}
        if text is not None:
            ring["parent"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        text = json.dumps(ring | {"keys": entries}, indent=2) + "\n"
    return notes.signed(text, notes.RING_NAME, seed)


def make_numbers(rng: random.Random):
    """E.164 digits without end: the edges of the 7-byte integer, then mostly Chinese mobiles."""
    edges = [10, 255, 256, 9999, 2**32 - 1, 2**32, 2**48 - 1, 2**48, 10**14 - 1, 10**14, 10**15 - 1]
    for edge in edges:
        yield from [str(edge)] * 9  # once for each key and context
    while True:
        if rng.random() < 0.7:
            yield f"861{rng.randint(3, 9)}{rng.randrange(10**9):09}"
        else:
            length = rng.randint(4, 15)
            yield str(rng.randrange(10 ** (length - 1), 10**length))


def make_texts(rng: random.Random):
    """Verbatim texts without end: known ones, the lengths where padding turns over, then all lengths."""
    for known in ["anonymous", "10086", "8001", "sip:alice@example.com"]:
        yield from [known] * 9
    for length in [6, 7, 16, 17, 126, 127, 128]:
        yield from (make_text(rng, length) for _ in range(9))
    for length in itertools.cycle(range(1, TEXT_BYTES_MAX + 1)):
        yield make_text(rng, length)


def make_text(rng: random.Random, length: int) -> str:
    """A text of exactly `length` bytes of UTF-8."""
    letters = {1: "abcXYZ", 2: "éßΩя", 3: "客服中心分机转", 4: "😀📞🚀𠮷"}
    inner = letters | {1: "abcXYZ0123456789 +-.;:@#*~\"\\"}
    text, left = "", length
    while left > 0:
        size = rng.choice([size for size in letters if size <= left])
        # A letter first, so that no text could be read as a phone number; a letter last, so that none ends in a space.
        at_an_end = text == "" or left == size
        text += rng.choice((letters if at_an_end else inner)[size])
        left -= size
    return text


def make_uids(keys: dict[str, bytes]) -> str:
    rng = random.Random(LABEL)
    lines = ["# Made by tests/oracle/uids.py. Columns: key id, context, kind, plaintext as JSON, uid."]
    for kind, texts, count in [("e164", make_numbers(rng), E164_COUNT), ("verbatim", make_texts(rng), VERBATIM_COUNT)]:
        places = itertools.cycle(itertools.product(keys, CONTEXTS))
        for text, (key_id, context) in zip(itertools.islice(texts, count), places):
            made = uid(keys[key_id], key_id, context, kind, text)
            lines.append("\t".join([key_id, context, kind, json.dumps(text, ensure_ascii=False), made]))
    return "\n".join(lines) + "\n"


# Checking.

def read_keyring(text: str) -> dict[str, bytes]:
    """Key id -> material of every key that still has one."""
    keys = {}
    for entry in notes.open_ring(text)["keys"]:
        if entry["status"] == "destroyed":
            continue
        material = base64.b64decode(entry["material"], validate=True)
        if len(material) != 64 or hashlib.sha256(material).hexdigest()[:16] != entry["check"]:
            raise ValueError(f"key {entry['id']}: material and check do not agree")
        keys[entry["id"]] = material
    return keys


def tink_primitive(material: bytes) -> daead.DeterministicAead:
    key = tink_pb2.KeyData(
        type_url="type.googleapis.com/google.crypto.tink.AesSivKey",
        value=aes_siv_pb2.AesSivKey(version=0, key_value=material).SerializeToString(),
        key_material_type=tink_pb2.KeyData.SYMMETRIC)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[tink_pb2.Keyset.Key(
        key_data=key, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)])
    handle = proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(daead.DeterministicAead)


def check_line(line: str, keys: dict[str, bytes], tinks: dict[str, daead.DeterministicAead]) -> str:
    """Returns the line's kind, or raises."""
    key_id, context, kind, literal, given = line.split("\t")
    text = json.loads(literal)
    if uid(keys[key_id], key_id, context, kind, text) != given:
        raise ValueError("AESSIV encrypts to another UID")
    sealed, data = base64.b32decode(given.upper())[2:], associated_data(key_id, context)
    if AESSIV(keys[key_id]).decrypt(sealed, [data]) != plaintext(kind, text):
        raise ValueError("AESSIV decrypts to another plaintext")
    if tinks[key_id].decrypt_deterministically(sealed, data) != plaintext(kind, text):
        raise ValueError("Tink decrypts to another plaintext")
    return kind


def check(keyring: Path, uids: Path, at_least: int) -> bool:
    daead.register()
    keys = read_keyring(keyring.read_text("utf-8"))
    tinks = {key_id: tink_primitive(material) for key_id, material in keys.items()}
    passed, failed = {"e164": 0, "verbatim": 0}, 0
    # Not splitlines(), which would also split at U+2028 and its kin inside a verbatim text.
    for number, line in enumerate(uids.read_text("utf-8").split("\n"), start=1):
        if line == "" or line.startswith("#"):
            continue
        try:
            passed[check_line(line, keys, tinks)] += 1
        except Exception as error:  # whatever is wrong with a line, the others are still worth checking
            failed += 1
            print(f"{uids}:{number}: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{passed['e164']} e164 and {passed['verbatim']} verbatim passed, {failed} failed")
    # An empty or truncated file must not pass for one that was verified.
    return failed == 0 and sum(passed.values()) >= at_least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="*", type=Path, metavar="FILE", help="verify: KEYRING UIDS, or none for the golden files")
    paths = parser.parse_args().check
    golden = [GOLDEN / "keyring.json", GOLDEN / "uids.tsv"]
    if paths is not None:
        if len(paths) not in (0, 2):
            parser.error("--check takes a key ring and a file of UIDs, or nothing")
        at_least = 1 if paths else E164_COUNT + VERBATIM_COUNT
        return 0 if check(*(paths or golden), at_least) else 1
    ring_file = make_keyring()
    golden[0].write_text(ring_file, "utf-8", newline="\n")
    golden[1].write_text(make_uids(read_keyring(ring_file)), "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
