#!/usr/bin/env python3
"""The test vectors of docs/specification.md, made and checked by a second implementation of it.

    vectors.py            write docs/vectors
    vectors.py --check    read them, and compute each once more

It shares no code with callveil: AES-SIV and Ed25519 are OpenSSL's (PyPI `cryptography`). What texts mean as numbers comes
from tests/golden, which `reading.py` made with the Python port of libphonenumber.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import unicodedata
from pathlib import Path

import notes
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

ROOT = Path(__file__).resolve().parents[2]
GOLDEN, VECTORS = ROOT / "tests" / "golden", ROOT / "docs" / "vectors"
# Every secret here comes from this label, so that anybody can see that none is real.
LABEL = "callveil test vectors, not a secret"
NUMBERS = "callveil-2/libphonenumber-9.0.42"
CONTEXTS = ["default", "crm-eu.1", ("0longest_context-of.64-characters." * 2)[:64]]
MARKS = {0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


def secret(what):
    return hashlib.sha512(f"{LABEL}: {what}".encode()).digest()


def material(key):
    return secret(f"key {key}")


# Section 3: the UID.

def plaintext(kind, number):
    if kind == "e164":
        return int(number).to_bytes(7, "big")
    octets = b"\x80" + number.encode()
    return octets + bytes((7 - len(octets)) % 10)


def sealed_uid(key, context, octets):
    made = AESSIV(material(key)).encrypt(octets, [f"callveil/1/{key}/{context}".encode()])
    return base64.b32encode(bytes.fromhex(key) + made).decode().lower()


def uid(key, context, kind, number):
    return sealed_uid(key, context, plaintext(kind, number))


def is_text(text):
    """Whether step 1 of section 2 leaves this text as it is."""
    ends_plainly = not any(c.isspace() or ord(c) in MARKS for c in (text[:1], text[-1:]) if c)
    return 1 <= len(text.encode()) <= 128 and ends_plainly and not any(unicodedata.category(c) == "Cc" for c in text)


def read_plaintext(octets):
    """The kind and the number that a plaintext stands for; None where encoding does not write it."""
    if len(octets) == 7 and octets[0] != 0x80:
        number = int.from_bytes(octets, "big")
        return ("e164", str(number)) if 1 <= number < 10**15 else None
    try:
        text = octets[1:].rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    is_written = octets[:1] == b"\x80" and is_text(text) and plaintext("verbatim", text) == octets
    return ("verbatim", text) if is_written else None


def opened(text, context, statuses):
    """The kind and the number in a UID, or the error."""
    text = text.strip()
    if not re.fullmatch(r"[a-zA-Z2-7]+", text, re.ASCII) or len(text) not in range(40, 249, 16):
        return "malformed_uid"
    octets = base64.b32decode(text.upper())
    key = octets[:2].hex()
    if key == "0000":
        return "malformed_uid"
    if statuses.get(key) != "enabled":
        return {None: "unknown_key", "disabled": "key_disabled", "destroyed": "key_destroyed"}[statuses.get(key)]
    try:
        octets = AESSIV(material(key)).decrypt(octets[2:], [f"callveil/1/{key}/{context}".encode()])
    except InvalidTag:
        return "not_authentic"
    return read_plaintext(octets) or "malformed_uid"


def make_uids():
    numbers = ["1", "8613988888888", "8675586013388", "16502530000", "999999999999999"]
    texts = ["8001", "10086", "anonymous", "sip:alice@example.com", "客服分机", "😀"]
    texts += [("x" * 128)[:length] for length in [1, 6, 7, 16, 17, 26, 27, 126, 127, 128]]
    everywhere = [(key, context) for key in ["3fa1", "0b7e"] for context in CONTEXTS]
    valid = [{"key": key, "context": context, "kind": kind, "number": number, "plaintext": plaintext(kind, number).hex(),
              "uid": uid(key, context, kind, number)}
             for kind, number in [*(("e164", number) for number in numbers), *(("verbatim", text) for text in texts)]
             for key, context in (everywhere if number in numbers[:2] else everywhere[:1])]
    mobile = ("e164", "8613988888888")
    good = uid("3fa1", "default", *mobile)
    mark = len(good) - 1
    spellings = [{"context": "default", "uid": text, "kind": mobile[0], "number": mobile[1]}
                 for text in [good.upper(), f" {good}\n", f"\u3000{good}\t"]]

    def forms():
        yield "empty", ""
        yield "one character short", good[:-1]
        yield "one character long", good + "a"
        yield "a length between two", good + "aaaaaaaa"
        yield "longer than any", "a" * 264
        yield "a digit that base32 lacks", good[:mark] + "1"
        yield "padding of base32", good[:mark] + "="
        yield "a space inside", good[:20] + " " + good[21:]
        yield "a full-width letter", good[:-3] + "ａ"
        yield "key id 0000", base64.b32encode(bytes(2) + base64.b32decode(good.upper())[2:]).decode().lower()
        for why, octets in [
            ("the number 0", bytes(7)), ("a number of 16 digits", (10**15).to_bytes(7, "big")),
            ("a first byte of 0x81", b"\x81" + bytes(6)), ("an empty text", b"\x80" + bytes(6)),
            ("more padding than needed", b"\x80x" + bytes(15)), ("padding that is not zero", b"\x80x\0\0\0\0y"),
            ("a number with padding", plaintext("e164", "1") + bytes(10)), ("a text of 129 bytes", b"\x80" + b"x" * 129 + bytes(7)),
            ("not UTF-8", b"\x80\xff" + bytes(5)), ("white space at an end", b"\x80 x" + bytes(4)),
            ("a mark at an end", b"\x80\xe2\x80\x8ex" + bytes(2)), ("a control character", b"\x80x\ny" + bytes(3)),
        ]:
            yield f"authentic, but holds {why}", sealed_uid("3fa1", "default", octets)

    refused = [{"why": why, "context": "default", "uid": text, "error": "malformed_uid"} for why, text in forms()]
    flipped = good[:-1] + ("a" if good[-1] != "a" else "b")
    other = base64.b32encode(bytes.fromhex("0b7e") + base64.b32decode(good.upper())[2:]).decode().lower()
    refused += [
        {"why": why, "context": context, "uid": text, "error": error} for why, context, text, error in [
            ("mistyped", "default", flipped, "not_authentic"),
            ("of another context", "crm-eu.1", good, "not_authentic"),
            ("under the id of another key", "default", other, "not_authentic"),
            ("of a key that the ring lacks", "default", uid("ffff", "default", *mobile), "unknown_key"),
            ("of a disabled key", "default", uid("5d0e", "default", *mobile), "key_disabled"),
            ("of a destroyed key", "default", uid("c402", "default", *mobile), "key_destroyed"),
        ]]
    return {"valid": valid, "spellings": spellings, "refused": refused}


def check_uids(vectors, statuses):
    for row in vectors["valid"]:
        assert plaintext(row["kind"], row["number"]).hex() == row["plaintext"], row
        assert uid(row["key"], row["context"], row["kind"], row["number"]) == row["uid"], row
    for row in vectors["valid"] + vectors["spellings"]:
        assert opened(row["uid"], row["context"], statuses) == (row["kind"], row["number"]), row
    for row in vectors["refused"]:
        assert opened(row["uid"], row["context"], statuses) == row["error"], row


# Section 2: numbers.

def golden(name, columns, wanted):
    rows = [line for line in (GOLDEN / name).read_text("utf-8").split("\n") if line and not line.startswith("#")]
    rows = [dict(zip(columns, map(json.loads, row.split("\t")))) for row in rows]
    return [row for at, row in enumerate(rows) if wanted(at, row)]


def make_numbers():
    rows = [{"region": "CN"} | row for row in golden("china.tsv", ["text", "canonical", "dialled"], lambda at, _: at % 3 == 0)]
    regions = ["BR", "DE", "GB", "HK", "IN", "IT", "JP", "US"]
    columns = ["region", "canonical", "dialled", "text"]
    for region in regions:
        rows += golden("spellings.tsv", columns, lambda _, row: row["region"] == region)[::17][:8]
    columns = ["region", "text", "canonical", "dialled"]
    rows += golden("fuzz_numbers.tsv", columns, lambda at, row: at % 11 == 0 and row["region"] in [*regions, "CN"])[:64]
    return [number_row(row) for row in rows]


def number_row(row):
    """A row of a golden table; with a UID where its region is that of the ring's primary key."""
    region, text, canonical, dialled = (row[name] for name in ["region", "text", "canonical", "dialled"])
    if canonical == "invalid_number":
        return {"region": region, "text": text, "error": "invalid_number"}
    is_e164 = re.fullmatch(r"\+[0-9]+", canonical, re.ASCII) and dialled != canonical
    kind = "e164" if is_e164 else "verbatim" if dialled == canonical else "hotline"
    number = canonical[1:] if is_e164 else canonical
    made = {"region": region, "text": text, "kind": kind, "number": number, "dialled": dialled}
    return made | ({"uid": uid("0b7e", "default", kind, number)} if region == "CN" else {})


def check_numbers(rows):
    expected = {(row["region"], row["text"]): row for row in make_numbers()}
    for row in rows:
        assert expected[row["region"], row["text"]] == row, row
        assert "error" in row or is_text(row["number"]), row


# Section 4: the ring.

SEED, OTHER_SEED = secret("ring")[:32], secret("another ring")[:32]
APPROVERS = {name: secret(f"approver {name}")[:32] for name in ["alice", "bob"]}
TIMES = {"3fa1": "2024-01-01T00:00:00Z", "0b7e": "2025-01-01T00:00:00Z",
         "5d0e": "2023-06-01T00:00:00Z", "c402": "2023-01-01T00:00:00Z"}
STATUSES = {"3fa1": "enabled", "0b7e": "enabled", "5d0e": "disabled", "c402": "destroyed"}


def ring_key(key, status="enabled", time=None, **changes):
    time = time or TIMES[key]
    entry = {"id": key, "status": status, "created": time, "activates": time, "scheme": "aes256-siv", "numbers": NUMBERS,
             "region": "CN", "check": hashlib.sha256(material(key)).hexdigest()[:16]}
    if status != "destroyed":
        entry["material"] = base64.b64encode(material(key)).decode()
    return entry | changes


def ring_text(generation=4, keys=None, **changes):
    keys = keys if keys is not None else [ring_key(key, status) for key, status in STATUSES.items()]
    ring = {"format": "callveil-keyring/2", "ring": notes.public(SEED).hex(),
            "signing_key": base64.b64encode(SEED).decode(), "generation": generation}
    return json.dumps(ring | changes | {"keys": keys}, indent=2) + "\n"


def signed(text):
    return notes.signed(text, notes.RING_NAME, SEED)


def make_ring():
    text, pending = ring_text(), "2030-01-01T00:00:00Z"
    plain = signed(text)
    alice, bob = (notes.line(text, name, seed) for name, seed in APPROVERS.items())
    stranger = notes.line(text, "alice", OTHER_SEED)
    ring_line = notes.line(text, notes.RING_NAME, SEED)
    forged = base64.b64encode(notes.key_id("alice", notes.public(APPROVERS["alice"])) + bytes(64)).decode()
    enabled = ring_key("3fa1")
    of = lambda *keys, **changes: signed(ring_text(keys=list(keys), **changes))  # noqa: E731
    read = [
        ("signed by its own key", plain, []), ("and by alice", plain + alice, ["alice"]),
        ("and by both", plain + bob + alice, ["alice", "bob"]),
        ("and by another key of alice's name", plain + stranger, []),
        ("alice's key, another signature", plain + f"\u2014 alice {forged}\n", None),
        ("alice twice", plain + alice + alice, None),
        ("altered after it was signed", plain.replace('"generation": 4', '"generation": 5'), None),
        ("signed by an approver alone", f"{text}\n{alice}", None), ("not signed", text, None),
        ("its own line twice", plain + ring_line, None),
        ("another key under its name", plain + notes.line(text, notes.RING_NAME, OTHER_SEED), None),
        ("no line end behind the last line", plain[:-1], None), ("CRLF", plain.replace("\n", "\r\n"), None),
        ("a hyphen for the dash", plain.replace("\u2014", "-"), None),
        ("an unknown member", signed(ring_text(comment="hello")), None),
        ("another format", signed(ring_text(format="callveil-keyring/1")), None),
        ("the seed of another ring", signed(ring_text(signing_key=base64.b64encode(OTHER_SEED).decode())), None),
        ("generation 0", signed(ring_text(generation=0)), None), ("generation 2^53", signed(ring_text(generation=2**53)), None),
        ("no enabled key", of(ring_key("5d0e", "disabled")), None), ("an id twice", of(enabled, enabled), None),
        ("key id 0000", of(enabled, ring_key("0b7e", id="0000")), None),
        ("another scheme", of(ring_key("3fa1", scheme="aes128-siv")), None),
        ("numbers that nobody knows", of(ring_key("3fa1", numbers="callveil-9/libphonenumber-99.0.0")), None),
        ("a region that nobody knows", of(ring_key("3fa1", region="XX")), None),
        ("a check of other material", of(ring_key("3fa1", check="0123456789abcdef")), None),
        ("material of a destroyed key", of(enabled, ring_key("c402") | {"status": "destroyed"}), None),
        ("an enabled key without material", of({k: v for k, v in enabled.items() if k != "material"}), None),
        ("optional members", of(ring_key("3fa1", exportable=True), ring_key("5d0e", "disabled", disabled="2026-01-01T00:00:00Z"),
                                parent="0123456789abcdef"), []),
    ]
    ahead = of(enabled, ring_key("0b7e", time=pending))
    tie = of(ring_key("3fa1", time=pending), ring_key("0b7e", time=pending))
    primary = [("2023-01-01T00:00:00Z", plain, "3fa1"), ("2024-12-31T23:59:59Z", plain, "3fa1"),
               ("2025-01-01T00:00:00Z", plain, "0b7e"), ("2029-12-31T23:59:59Z", ahead, "3fa1"),
               (pending, ahead, "0b7e"), ("2029-12-31T23:59:59Z", tie, "3fa1"), (pending, tie, "3fa1")]
    base = [ring_key("3fa1"), ring_key("5d0e", "disabled"), ring_key("0b7e", time=pending)]
    after = lambda place, **changes: [key | changes if at == place else key for at, key in enumerate(base)]  # noqa: E731
    gone = {k: v for k, v in base[0].items() if k != "material"} | {"status": "destroyed"}
    back = lambda generation, keys: signed(ring_text(generation=generation, keys=keys))  # noqa: E731
    other_ring = notes.signed(ring_text(generation=5, keys=base, ring=notes.public(OTHER_SEED).hex(),
                                        signing_key=base64.b64encode(OTHER_SEED).decode()), notes.RING_NAME, OTHER_SEED)
    dead = [gone, *base[1:]]
    follows = [
        ("nothing changed", back(4, base), back(4, base), True), ("a key came in", back(4, base[:2]), back(5, base), True),
        ("generations were left out", back(4, base[:2]), back(9, base), True),
        ("another ring", back(4, base), other_ring, False), ("an older one", back(4, base), back(3, base), False),
        ("the same generation, other keys", back(4, base[:2]), back(4, base), False),
        ("a key vanished", back(4, base), back(5, base[:2]), False),
        ("disabled", back(4, base), back(5, after(0, status="disabled")), True),
        ("enabled again", back(4, base), back(5, after(1, status="enabled")), True),
        ("destroyed", back(4, base), back(5, dead), True), ("destroyed, and back", back(4, dead), back(5, base), False),
        ("another region", back(4, base), back(5, after(0, region="US")), False),
        ("exportable all at once", back(4, base), back(5, after(0, exportable=True)), False),
        ("an activation ahead was moved", back(4, base), back(5, after(2, activates="2031-01-01T00:00:00Z")), True),
        ("an activation of the past was moved", back(4, base), back(5, after(0, activates="2024-01-02T00:00:00Z")), False),
        ("a disabled key's activation was moved", back(4, base), back(5, after(1, activates="2031-01-01T00:00:00Z")), True),
        ("a time of disabling was forgotten", back(4, after(1, disabled="2026-01-01T00:00:00Z")), back(5, base), False),
    ]
    keys = [notes.verifier_key(name, notes.public(seed)) for name, seed in APPROVERS.items()]
    return {
        "approvers": keys,
        "read": [{"why": why, "note": note, "taken": by is not None} | ({"approvals": by} if by is not None else {})
                 for why, note, by in read],
        "primary": [{"at": at, "note": note, "key": key} for at, note, key in primary],
        "successors": [{"why": why, "at": "2026-11-26T00:00:00Z", "in_use": old, "next": new, "taken": taken}
                       for why, old, new, taken in follows],
    }


MEMBERS = {"format", "ring", "signing_key", "generation", "parent", "recipients", "keys"}
KEY_MEMBERS = {"id", "status", "created", "activates", "scheme", "numbers", "region", "check", "disabled", "exportable", "material"}


def read_ring(note, approvers):
    """The ring, and who of the approvers have signed it. Raises where it is refused."""
    text, lines = notes.split(note)
    assert len({line[:2] for line in lines}) == len(lines) and "\r" not in note
    ring = notes.open_ring(note)
    assert [name for name, _, _ in lines].count(notes.RING_NAME) == 1
    assert set(ring) <= MEMBERS and ring["format"] == "callveil-keyring/2" and 1 <= ring["generation"] < 2**53
    for key in ring["keys"]:
        assert set(key) <= KEY_MEMBERS and re.fullmatch("[0-9a-f]{4}", key["id"]) and key["id"] != "0000"
        assert (key["scheme"], key["numbers"]) == ("aes256-siv", NUMBERS) and key["region"] in {"CN", "US"}
        assert ("material" in key) == (key["status"] in {"enabled", "disabled"})
        octets = base64.b64decode(key.get("material", ""), validate=True)
        assert key["status"] == "destroyed" or len(octets) == 64 and hashlib.sha256(octets).hexdigest()[:16] == key["check"]
    ids = [key["id"] for key in ring["keys"]]
    assert len(set(ids)) == len(ids) and any(key["status"] == "enabled" for key in ring["keys"])
    by = []
    for name, public in map(notes.read_verifier_key, approvers):
        if any((found, identity) == (name, notes.key_id(name, public)) for found, identity, _ in lines):
            assert notes.is_signed_by(note, name, public)
            by.append(name)
    return ring, text, by


def primary_of(ring, at):
    enabled = sorted((key["activates"], key["id"]) for key in ring["keys"] if key["status"] == "enabled")
    active = [entry for entry in enabled if entry[0] <= at] or [entry for entry in enabled if entry[0] == enabled[0][0]]
    return active[-1][1]


def may_follow(old, old_text, new, new_text, at):
    if new["ring"] != old["ring"] or new["generation"] < old["generation"]:
        return False
    if new["generation"] == old["generation"] and new_text != old_text:
        return False
    later = {key["id"]: key for key in new["keys"]}
    for key in old["keys"]:
        now = later.get(key["id"])
        fixed = ["created", "numbers", "region", "check"]
        if now is None or any(now[name] != key[name] for name in fixed):
            return False
        if now.get("exportable", False) != key.get("exportable", False):
            return False
        if key["status"] == "destroyed" != now["status"] or now.get("disabled", "") < key.get("disabled", ""):
            return False
        if now["activates"] != key["activates"] and key["activates"] <= at and key["status"] != "disabled":
            return False
    return True


def check_ring(vectors):
    for row in vectors["read"]:
        try:
            approvals = read_ring(row["note"], vectors["approvers"])[2]
        except Exception:  # whatever is wrong with it, it is refused
            approvals = None
        assert (approvals is not None, approvals) == (row["taken"], row.get("approvals")), row["why"]
    for row in vectors["primary"]:
        assert primary_of(read_ring(row["note"], [])[0], row["at"]) == row["key"], row["at"]
    for row in vectors["successors"]:
        (old, old_text, _), (new, new_text, _) = (read_ring(row[name], []) for name in ["in_use", "next"])
        assert may_follow(old, old_text, new, new_text, row["at"]) == row["taken"], row["why"]


# Section 8: the audit log.

INSTANCE, HMAC_KEY = "0123456789abcdef", secret("hmac")[:32]


def link(line, number, before, instance=INSTANCE):
    """A line of a log, and its hash."""
    content = line[:-1] + f',"chain":"{instance}/{number}/'
    digest = hashlib.sha256(content.encode() + before).digest()[:16]
    return f'{content}{digest.hex()}"}}', digest


def chain(lines, instance=INSTANCE):
    made, before = [], bytes(16)
    for number, line in enumerate(lines, start=1):
        line, before = link(line, number, before, instance)
        made.append(line)
    return made, before


def item_hash(*parts):
    return hmac.digest(HMAC_KEY, b"".join(part.encode() for part in parts), "sha256")[:16].hex()


def make_audit():
    at = "2026-11-26T08:00:0{}.000000Z".format
    request = ('{{"time":"{}","event":"request","id":"{}{:016x}","client":"ccc","peer":"192.0.2.1","mode":"PhoneToUID",'
               '"status":200,"code":0,"items":1,"mapped":1,"passed":0,"microseconds":37,"errors":{{}},"keys":{{"0b7e":1}}}}').format
    lines = [f'{{"time":"{at(0)}","event":"start","version":"0.2.0","instance":"{INSTANCE}","generation":4}}']
    lines += [request(at(second), INSTANCE, second - 1) for second in range(1, 5)]
    lines += [f'{{"time":"{at(5)}","event":"stop"}}']
    whole, last = chain(lines)
    remade, _ = chain([line.replace('"items":1', '"items":2') for line in lines])
    head = [{"instance": INSTANCE, "lines": 6, "hash": last.hex()}]
    altered = [*whole[:2], whole[2].replace('"mapped":1', '"mapped":0'), *whole[3:]]
    fault = lambda wrong, first, to=None: {"wrong": wrong, "first": first, "last": to or first}  # noqa: E731
    cases = [
        ("whole", whole, [], []), ("whole, and as its head says", whole, head, []),
        ("a line was altered", altered, [], [fault("altered", 3)]),
        ("a hash was altered", [*whole[:3], whole[3][:-3] + ("0" if whole[3][-3] != "0" else "1") + '"}', *whole[4:]], [],
         [fault("altered", 4)]),
        ("the first line was altered", [whole[0].replace("0.2.0", "0.2.1"), *whole[1:]], [], [fault("altered", 1)]),
        ("lines were taken out", whole[:2] + whole[4:], [], [fault("missing", 3, 4)]),
        ("the beginning was taken out", whole[2:], [], [fault("missing", 1, 2)]),
        ("a line was put in twice", whole[:3] + whole[2:], [], [fault("repeated", 3)]),
        ("the end was cut off, which nobody sees", whole[:4], [], []),
        ("the end was cut off, and the head is known", whole[:4], head, [fault("cut", 5, 6)]),
        ("all is made anew, which nobody sees", remade, [], []),
        ("all is made anew, and the head is known", remade, head, [fault("remade", 6)]),
    ]
    uids = [(context, uid("0b7e", context, "e164", "8613988888888")) for context in CONTEXTS]
    hashes = [{"context": context, "uid": text, "hash": item_hash("uid/", context, "/", text)} for context, text in uids]
    hashes += [{"number": number, "hash": item_hash("number/", number)} for number in ["+8613988888888", "10086", "anonymous"]]
    return {
        "hmac": {"key": HMAC_KEY.hex(), "id": item_hash("id")[:16], "hashes": hashes},
        "chains": [{"why": why, "lines": lines, "heads": heads, "faults": faults} for why, lines, heads, faults in cases],
    }


def faults_of(lines, heads):
    """What is wrong with the lines of one chain, in one file and in their order."""
    found, last, hashes, said = [], 0, {bytes(16)}, {}
    for line in lines:
        content, instance, number, claimed = re.fullmatch(
            r'(\{.*,"chain":"([0-9a-f]{16})/([1-9][0-9]*)/)([0-9a-f]{32})"\}', line).groups()
        number, claimed = int(number), bytes.fromhex(claimed)
        if number <= last:
            found.append(("repeated", number, number))
            continue
        if number > last + 1:
            found.append(("missing", last + 1, number - 1))
            hashes = None
        fits = {hashlib.sha256(content.encode() + before).digest()[:16] for before in hashes or {}}
        if hashes and claimed not in fits:
            found.append(("altered", number, number))
        hashes, last, said[number] = {claimed} | fits, number, claimed
    for head in heads:
        if head["lines"] > last:
            found.append(("cut", last + 1, head["lines"]))
        elif said.get(head["lines"]) != bytes.fromhex(head["hash"]):
            found.append(("remade", head["lines"], head["lines"]))
    return found


def check_audit(vectors):
    for row in vectors["chains"]:
        expected = [(fault["wrong"], fault["first"], fault["last"]) for fault in row["faults"]]
        assert faults_of(row["lines"], row["heads"]) == expected, row["why"]
    assert vectors["hmac"]["key"] == HMAC_KEY.hex() and vectors["hmac"]["id"] == item_hash("id")[:16]
    for row in vectors["hmac"]["hashes"]:
        parts = ["uid/", row["context"], "/", row["uid"]] if "uid" in row else ["number/", row["number"]]
        assert item_hash(*parts) == row["hash"], row


# The files.

def dumped(value, depth=0):
    """JSON with a row a line."""
    indent = "  " * (depth + 1)
    if isinstance(value, dict) and depth < 2 and any(isinstance(member, list) for member in value.values()):
        rows = [f"{indent}{json.dumps(name)}: {dumped(member, depth + 1)}" for name, member in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + indent[2:] + "}"
    if isinstance(value, list) and any(isinstance(row, dict) for row in value):
        return "[\n" + ",\n".join(f"{indent}{json.dumps(row)}" for row in value) + "\n" + indent[2:] + "]"
    return json.dumps(value)


def main():
    makers = {"uids": make_uids, "numbers": make_numbers, "ring": make_ring, "audit": make_audit}
    if sys.argv[1:] == []:
        VECTORS.mkdir(exist_ok=True)
        (VECTORS / "keyring.json").write_text(signed(ring_text()), "utf-8", newline="\n")
        for name, make in makers.items():
            (VECTORS / f"{name}.json").write_text(dumped(make()) + "\n", "utf-8", newline="\n")
    elif sys.argv[1:] == ["--check"]:
        vectors = {name: json.loads((VECTORS / f"{name}.json").read_text("utf-8")) for name in makers}
        ring = read_ring((VECTORS / "keyring.json").read_text("utf-8"), [])[0]
        for key in ring["keys"]:
            assert key["status"] == "destroyed" or base64.b64decode(key["material"]) == material(key["id"]), key["id"]
        check_uids(vectors["uids"], {key["id"]: key["status"] for key in ring["keys"]})
        check_numbers(vectors["numbers"])
        check_ring(vectors["ring"])
        check_audit(vectors["audit"])
        rows = {name: sum(map(len, rows.values())) if isinstance(rows, dict) else len(rows) for name, rows in vectors.items()}
        print("as they should be:", ", ".join(f"{count} of {name}.json" for name, count in rows.items()))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
