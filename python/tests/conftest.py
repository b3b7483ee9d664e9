"""Rings for the tests, made by the command line: the binary that `CALLVEIL` names, or the one that was built here."""

import os
import subprocess
import time
from pathlib import Path

import pytest

import callveil

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CALLVEIL", str(ROOT / "target/debug/callveil"))

#: Spellings of one number, another one, a hotline, and texts that are no numbers.
NUMBERS = ["13988888888", "+86 139-8888-8888", None, "0755 86013388", "10086", "anonymous", "sip:x@example.com"]


def run(*args, text="", check=True):
    """What the command line prints."""
    done = subprocess.run([BINARY, *map(str, args)], input=text, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def wait_for_primary(ring, key):
    """Waits for the second to pass in which `keys rotate --activate-in 0s` has a key begin."""
    deadline = time.monotonic() + 30
    while {"id": key, "state": "primary"}.items() - next(it for it in ring.keys() if it["id"] == key).items():
        assert time.monotonic() < deadline, "the key does not become the primary"
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    run("keys", "init", "--keyring", tmp_path / "ring.json")
    return tmp_path / "ring.json"


@pytest.fixture
def ring(path):
    return callveil.KeyRing.open(path)


@pytest.fixture
def tokenizer(ring):
    return ring.tokenizer()
