"""Rings that are refused, that change, and who is recorded to open UIDs."""

import json
import shutil
import subprocess

import pyarrow
import pytest

import callveil
from conftest import run, wait_for_primary

NUMBER = "13988888888"

#: An identity of no other use, encrypted with a passphrase that costs little to try, and its recipient.
PASSPHRASE = "horse battery"
RECIPIENT = "age1lgy3fh5qc9jfn2xag6auxeuy8sdyz5qwt9pkwws7jh4vmt5dxahqgwfaaq"
LOCKED = """\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCAvSTZDUkZ5MklsREk0QUU3
cGxlQjJBIDEwCmRxWmM2eXpiKzB0SGFHM2RKK1RXb1BrV1hIUFladXcvcG9LeEZx
bExxNDgKLS0tIEdwYk1UKzlrWEVuNm9oMGd5b0tDRnRseU43ZnBkNDhHNC9GNGNS
RFdBK00KGfUqBa42mXop/wi+oVw8sgTTZpkXw/6lXwg00Moww6SPRbWz/gTbTt6v
jrR5HVZUqqDhuRz06+/aQltp+xDsIIRHgh7IM6m5Xfg0ihlt+haUL/UCUVRrN8Bh
bl1Xe8yb0pOCDDp0NUHWcmg=
-----END AGE ENCRYPTED FILE-----
"""


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(words, *args, **more):
    with pytest.raises(callveil.RingRefused, match=words) as caught:
        callveil.KeyRing.open(*args, **more)
    assert isinstance(caught.value, callveil.Error)
    return str(caught.value)


@pytest.fixture
def sealed(tmp_path):
    """An encrypted ring, and the identity that opens it."""
    if shutil.which("age-keygen") is None:
        pytest.skip("age-keygen is not installed")
    tmp_path.chmod(0o700)
    recipients = []
    for name in ("ours", "others"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], check=True, capture_output=True)
        shown = subprocess.run(["age-keygen", "-y", tmp_path / name], check=True, capture_output=True, text=True)
        recipients.append(shown.stdout.strip())
    run("keys", "init", "--keyring", tmp_path / "sealed", "--recipient", recipients[0])
    return tmp_path / "sealed", tmp_path / "ours", tmp_path / "others"


def test_an_encrypted_ring_opens_for_its_identity_alone(sealed, path):
    ring, ours, others = sealed
    opened = callveil.KeyRing.open(ring, ours).tokenizer()
    of_the_command_line = run("tokenize", "--keyring", ring, "--identity", ours, "--value", NUMBER).strip()
    assert opened.tokenize(NUMBER) == of_the_command_line
    refused("an identity is wanted", ring)
    refused("none of its recipients", ring, others)
    refused("is not encrypted", path, ours)
    refused("No such file", ring, ours.with_name("nowhere"))
    ours.chmod(0o644)
    refused("open to others", ring, ours)


def test_a_passphrase_opens_an_identity(tmp_path):
    tmp_path.chmod(0o700)
    ring, locked = tmp_path / "sealed", tmp_path / "locked"
    run("keys", "init", "--keyring", ring, "--recipient", RECIPIENT)
    locked.write_text(LOCKED)
    locked.chmod(0o600)
    assert callveil.KeyRing.open(ring, locked, PASSPHRASE).generation == 1
    assert callveil.KeyRing.open(ring, locked, lambda: PASSPHRASE).generation == 1
    assert "donkey" not in refused("passphrase does not open it", ring, locked, "donkey battery")
    refused("protected by a passphrase", ring, locked)


def test_torn_and_altered_rings_are_refused(path):
    whole = path.read_text()
    secret = json.loads(whole.split("\n\n")[0])["keys"][0]["material"]
    for broken in (whole[: len(whole) // 2], whole.replace('"CN"', '"DE"'), "", "{}"):
        path.write_text(broken)
        assert secret[:20] not in refused("key ring", path)
    path.write_text(whole)
    path.chmod(0o644)
    refused("open to others", path)
    assert callveil.KeyRing.open(path, keyring_mode="any").generation == 1
    refused("No such file", path.with_name("nowhere"))


def test_a_ring_is_pinned(path, ring):
    assert callveil.KeyRing.open(path, ring_id=ring.ring_id, min_generation=1).generation == 1
    refused("another one", path, ring_id="0" * 64)
    refused("older", path, min_generation=2)
    with pytest.raises(ValueError):
        callveil.KeyRing.open(path, ring_id="mine")


def test_contexts_are_unlinkable(ring):
    uid = ring.tokenizer("one").tokenize(NUMBER)
    assert uid != ring.tokenizer("two").tokenize(NUMBER)
    assert ring.tokenizer("two").detokenize(uid, errors=True) == (None, "not_authentic")
    with pytest.raises(callveil.NotAuthentic, match="^row 0: not_authentic$"):
        ring.tokenizer("two").detokenize(uid, on_error="raise")
    with pytest.raises(ValueError):
        ring.tokenizer("No Such")


def test_a_ring_that_changes_is_taken_up_by_reload(path, ring, tokenizer):
    first = ring.keys()[0]["id"]
    old = tokenizer.tokenize(NUMBER)
    run("keys", "rotate", "--keyring", path, "--activate-in", "0s")
    assert tokenizer.tokenize(NUMBER) == old, "nothing changes under a job's feet"
    assert ring.reload() and not ring.reload()
    wait_for_primary(ring, ring.keys()[1]["id"])
    new = tokenizer.tokenize(NUMBER)
    assert new != old and tokenizer.rewrap(old) == new
    assert tokenizer.aliases([NUMBER]) == [[new, old]]
    assert tokenizer.inspect([old, new, None]) == [
        {"key": first, "state": "enabled"},
        {"key": ring.keys()[1]["id"], "state": "primary"},
        None,
    ]
    run("keys", "disable", first, "--keyring", path)
    ring.reload()
    assert tokenizer.detokenize([old, new], errors=True) == ([None, "008613988888888"], ["key_disabled", None])
    run("keys", "destroy", first, "--keyring", path, "--yes", "--early")
    ring.reload()
    assert tokenizer.inspect(old) == {"key": first, "state": "destroyed"}
    with pytest.raises(callveil.KeyDestroyed, match="^row 1: key_destroyed$"):
        tokenizer.detokenize([new, old], on_error="raise")
    in_use = path.read_text()
    path.write_text("torn")
    with pytest.raises(callveil.RingRefused):
        ring.reload()
    assert tokenizer.detokenize(new) == "008613988888888", "the ring before stays in use"
    path.write_text(in_use)
    assert not ring.reload()


def test_a_uid_of_another_ring(path, tokenizer):
    other = path.with_name("other.json")
    run("keys", "init", "--keyring", other)
    uid = callveil.KeyRing.open(other).tokenizer().tokenize(NUMBER)
    assert tokenizer.detokenize(uid, errors=True) == (None, "unknown_key")
    assert tokenizer.inspect(uid)["state"] == "unknown"


def test_who_opens_uids_is_recorded(path, ring):
    journal = path.with_name("ring.json.audit")
    before = len(records(journal))
    tokenizer = ring.tokenizer()
    uids = tokenizer.tokenize([NUMBER, None, "8001"])
    tokenizer.inspect(uids), tokenizer.normalize(uids)
    assert len(records(journal)) == before, "nothing was opened"
    tokenizer.detokenize([*uids, "nothing"])
    begins, ends = records(journal)[before:]
    assert (begins["command"], begins["begins"], begins["by"], begins["context"]) == ("detokenize", True, "python", "default")
    assert begins["keys"] == [ring.keys()[0]["id"]] and {"uid", "host", "process", "time"} <= begins.keys()
    assert (ends["ends"], ends["rows"], ends["mapped"], ends["failed"]) == (True, 4, 2, 1)
    with tokenizer:
        for _ in range(3):
            tokenizer.detokenize(pyarrow.array(uids))
        tokenizer.rewrap(uids)
        with pytest.raises(ValueError):
            tokenizer.__enter__()
    lines = records(journal)[before + 2 :]
    assert [(line["command"], line.get("rows")) for line in lines] == [
        ("detokenize", None), ("rewrap", None), ("detokenize", 9), ("rewrap", 3),
    ]
    text = journal.read_text()
    assert not any(secret in text for secret in (NUMBER, uids[0], "8001"))


def test_records_go_where_the_caller_says(path, ring):
    journal = path.with_name("ring.json.audit")
    before = journal.read_text()
    told = []
    tokenizer = ring.tokenizer(audit=told.append)
    uid = tokenizer.tokenize(NUMBER)
    tokenizer.detokenize(uid)
    assert [(record["event"], record["command"]) for record in told] == [("command", "detokenize")] * 2
    assert told[0]["begins"] and told[1]["mapped"] == 1
    ring.tokenizer(audit=path.with_name("mine")).detokenize(uid)
    assert len(records(path.with_name("mine"))) == 2 and journal.read_text() == before

    def refuse(_record):
        raise PermissionError("not today")

    with pytest.raises(PermissionError):
        ring.tokenizer(audit=refuse).detokenize(uid)
    journal.unlink()
    journal.mkdir()
    with pytest.raises(callveil.NotRecorded, match="cannot record this"):
        ring.tokenizer().detokenize(uid)
