#!/usr/bin/env python3
"""`callveil audit verify` on a long log, whole and damaged in each way: what it finds, in how much time and memory.

    cargo build --release
    benches/audit.py                         # 10 million lines: some minutes, and 4 GB of disk
    benches/audit.py --lines 1000000

The log is made here, by the formula of src/audit/chain.rs, as one start would write it. Every damage has one line altered,
deleted, inserted or swapped, or the end cut off, and must be found by exit code 1 and by the number of the line; the whole
log must be clean. Damaged logs go through a pipe, so that the disk has the log once.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

INSTANCE = "0123456789abcdef"
LINE = (
    '{"time":"2026-11-26T%02d:%02d:%02d.%06dZ","event":"request","id":"' + INSTANCE + '%016x","client":"ccc",'
    '"peer":"192.0.2.1","mode":"UIDToPhone","status":200,"items":1,"mapped":1,"microseconds":57,'
    '"keys":{"0b07":1},"chain":"' + INSTANCE + "/%d/"
)
BLOCK = 1 << 20


def write(path, lines):
    """Writes the log, and gives the hash of its last line and where some lines begin."""
    before, begins, at = bytes(16), {}, 0
    wanted = {lines // 2 + step for step in range(4)} | {lines - 2}
    with open(path, "wb", BLOCK) as log:
        for number in range(1, lines + 1):
            second = number // 1000
            line = LINE % (second // 3600 % 24, second // 60 % 60, second % 60, number % 1000 * 1000, number, number)
            if number == lines:
                line = re.sub('"event":"request".*"chain"', '"event":"stop","chain"', line)
            content = line.encode()
            before = hashlib.sha256(content + before).digest()[:16]
            line = content + before.hex().encode() + b'"}\n'
            if number in wanted:
                begins[number] = at
            at += log.write(line)
    return before.hex(), begins


def damages(begins, lines, size):
    """What takes the place of which bytes of the log, and what must be told of it."""
    middle = lines // 2
    one, two, three = (begins[middle + step] for step in range(3))

    def altered(log):
        return log.replace(b'"items":1', b'"items":2')

    yield "altered", (one, two, altered), f"line {middle}"
    yield "deleted", (one, two, lambda log: b""), f"line {middle} of {INSTANCE}: missing"
    yield "inserted", (one, two, lambda log: log + log), f"line {middle} of {INSTANCE}: is there twice"
    yield "swapped", (one, three, lambda log: log[two - one :] + log[: two - one]), f"line {middle} of"
    yield "cut", (begins[lines - 2], size, lambda log: b""), f"lines {lines - 2} to {lines} of {INSTANCE}: missing"


def feed(path, damage, pipe):
    begin, end, change = damage
    with open(path, "rb") as log:
        left = begin
        while left:
            some = log.read(min(left, BLOCK))
            pipe.write(some)
            left -= len(some)
        pipe.write(change(log.read(end - begin)))
        while some := log.read(BLOCK):
            pipe.write(some)
    pipe.close()


def verify(callveil, path, heads, damage=None):
    """Exit code, what was told, seconds, and peak memory in MiB."""
    command = [callveil, "audit", "verify", "--heads", heads, "--"] + ([] if damage else [path])
    began, told = time.monotonic(), tempfile.TemporaryFile()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=subprocess.STDOUT)
    if damage:
        feed(path, damage, process.stdin)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    told.seek(0)
    return process.returncode, told.read().decode(), time.monotonic() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callveil", default="target/release/callveil")
    parser.add_argument("--lines", type=int, default=10_000_000)
    args = parser.parse_args()
    is_right = True
    with tempfile.TemporaryDirectory() as folder:
        path, heads = os.path.join(folder, "audit.log"), os.path.join(folder, "stderr.log")
        last, begins = write(path, args.lines)
        head = {"message": "audit head", "instance": INSTANCE, "lines": args.lines, "hash": last}
        with open(heads, "w") as log:
            log.write(json.dumps({"timestamp": "2026-11-26T08:00:00Z", "level": "INFO", "target": "callveil", **head}) + "\n")
        size = os.path.getsize(path)
        print(f"{args.lines} lines, {size / 1e9:.2f} GB")
        cases = [("whole", None, "nothing is wrong"), *damages(begins, args.lines, size)]
        for name, damage, expected in cases:
            code, told, seconds, memory = verify(args.callveil, path, heads, damage)
            found = code == (1 if damage else 0) and expected in told
            is_right &= found
            print(f"{name:9} {'found' if found else 'WRONG'}  {seconds:6.1f} s  {memory:5.1f} MiB  {told.splitlines()[0]}")
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
