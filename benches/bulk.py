#!/usr/bin/env python3
"""Bulk work, measured: rows a second and peak memory of callveil, and of the obvious Python script beside it.

    cargo build --release
    python3 -m venv /tmp/bulk-venv && /tmp/bulk-venv/bin/pip install phonenumbers cryptography
    /tmp/bulk-venv/bin/python benches/bulk.py                        # 10 million rows; some minutes and 4 GB of disk
    /tmp/bulk-venv/bin/python benches/bulk.py --rows 1000000 --rounds 1
    benches/bulk.py --previous OTHER/target/release/callveil         # beside another build, in turn, without the script

Every file is tokenized and taken back, and must come back as it was, but for how numbers are written; on one thread and
on all the output must be the same. The script maps fewer rows, in one process a CPU. Its UIDs must be callveil's own.
"""

import argparse
import base64
import csv
import io
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

CPUS = len(os.sched_getaffinity(0))

# The formats: how callveil is told, how a row is written, and how the script finds the number.
FORMATS = {
    "lines": [],
    "csv": ["--format", "csv", "--column", "phone"],
    "jsonl": ["--format", "jsonl", "--column", "/phone"],
}
HEADER = "id,name,phone,city,note,amount\r\n"


def row(form, at, number):
    if form == "lines":
        return f"{number}\n"
    if form == "csv":
        name = '"Li, ""Wei"" Na"' if at % 10 == 0 else "Wang Wei"
        return f"{at},{name},{number},Shenzhen,called twice,{at % 1000}.50\r\n"
    return f'{{"id":{at},"name":"Wang Wei","phone":"{number}","city":"Shenzhen","amount":{at % 1000}.5}}\n'


def make(path, form, rows):
    """Numbers as a CRM of a Chinese company has them: nine in ten are mobile ones, the others landlines and foreign."""
    chance = random.Random(7)
    with open(path, "w", newline="") as file:
        file.write(HEADER if form == "csv" else "")
        for at in range(rows):
            digits = chance.randrange(10**8)
            number = f"13{at % 10}{digits:08}"
            if at % 20 == 1:
                number = f"0755-860{digits % 100000:05}"
            elif at % 20 == 2:
                number = f"+44 7700 9{digits % 100000:05}"
            file.write(row(form, at, number))


class Ran:
    """A command that ran: how long, how much memory at its peak, and how much CPU."""

    def __init__(self, command):
        began = time.monotonic()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command} failed")
        self.mib = usage.ru_maxrss / 1024
        self.cpu = usage.ru_utime + usage.ru_stime


def same(one, other):
    if subprocess.run(["cmp", "-s", one, other]).returncode:
        sys.exit(f"{one} and {other} differ")


def dialled(path, form, to):
    """What must come back: numbers as CCC dials them, all else as it was."""
    number = re.compile(r"(?:0755-|\+44 )[0-9 ]{8,12}|13\d{9}")

    def write(found):
        text = found[0]
        if text.startswith("+"):
            return "00" + text[1:].replace(" ", "")
        return "0086" + text.replace("-", "")

    with open(path, newline="") as file, open(to, "w", newline="") as out:
        for line in file:
            out.write(number.sub(write, line))


# The obvious script: phonenumbers and cryptography, a row at a time.


def prepare(ring):
    global cipher, data, key_id
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    key = ring["keys"][0]
    cipher, key_id = AESSIV(base64.b64decode(key["material"])), bytes.fromhex(key["id"])
    data = [f"callveil/1/{key['id']}/default".encode()]


def uid(text):
    import phonenumbers

    if text.startswith("00"):
        text = "+" + text[2:]
    number = phonenumbers.parse(text, "CN")
    if not phonenumbers.is_possible_number(number):
        raise ValueError
    digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    sealed = cipher.encrypt(int(digits).to_bytes(7, "big"), data)
    return base64.b32encode(key_id + sealed).decode().rstrip("=").lower()


def map_rows(form, rows):
    if form == "lines":
        return "".join(uid(line.rstrip()) + "\n" for line in rows)
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out)
        for cells in csv.reader(rows):
            cells[2] = uid(cells[2])
            writer.writerow(cells)
        return out.getvalue()
    lines = []
    for line in rows:
        value = json.loads(line)
        value["phone"] = uid(value["phone"])
        lines.append(json.dumps(value, separators=(",", ":")) + "\n")
    return "".join(lines)


def script(ring, form, source, to):
    """Maps a file in as many processes as there are CPUs."""
    with open(source, newline="") as file, open(to, "w", newline="") as out:
        out.write(file.readline() if form == "csv" else "")
        rows = list(file)
        parts = [(form, rows[at : at + 2000]) for at in range(0, len(rows), 2000)]
        with multiprocessing.Pool(CPUS, prepare, [ring]) as pool:
            for part in pool.starmap(map_rows, parts, chunksize=1):
                out.write(part)


def measure(arguments, folder, form):
    run = [arguments.binary]
    source, small = f"{folder}/{form}", f"{folder}/{form}.small"
    there, back, other = (f"{folder}/{form}.{name}" for name in ("there", "back", "other"))
    make(source, form, arguments.rows)
    make(small, form, arguments.script_rows)

    def callveil(command, source, to, *more):
        ring = ["--keyring", f"{folder}/keyring.json"]
        return Ran([*run, command, source, "--output", to, "-q", *ring, *FORMATS[form], *more])

    results = {"tokenize": [], "detokenize": [], "script": []}
    for _ in range(arguments.rounds):
        results["tokenize"].append(callveil("tokenize", source, there))
        results["detokenize"].append(callveil("detokenize", there, back))
        results["script"].append(Ran([sys.executable, __file__, "--as-script", form, folder, small, other]))
    callveil("tokenize", small, there + ".small")
    same(there + ".small", other)
    callveil("tokenize", source, other, "--threads", "1")
    same(there, other)
    callveil("tokenize", source, other, "--threads", "7")
    same(there, other)
    dialled(source, form, other)
    same(back, other)

    size = {"tokenize": arguments.rows, "detokenize": arguments.rows, "script": arguments.script_rows}
    rates = {name: statistics.median(size[name] / ran.seconds for ran in runs) for name, runs in results.items()}
    for name in ("tokenize", "detokenize"):
        memory = max(ran.mib for ran in results[name])
        cpu = statistics.median(ran.cpu / size[name] for ran in results[name]) * 1e9
        times = rates[name] / rates["script"]
        print(
            f"{form:5}  {name:10}  {rates[name] / 1e6:5.2f} million rows/s  {cpu:4.0f} ns of CPU a row  "
            f"{memory:4.0f} MiB  {times:4.0f} times the script's {rates['script']:.0f} tokenized rows/s",
            flush=True,
        )
    for name in os.listdir(folder):
        if name.startswith(form):
            os.remove(f"{folder}/{name}")


def compare(arguments, folder, form):
    """This build and a previous one, in turn, each with a ring of its own. What both take back must be the same."""
    source = f"{folder}/{form}"
    make(source, form, arguments.rows)
    builds = {"this": arguments.binary, "previous": arguments.previous}
    rings = {name: f"{folder}/{name}.json" for name in builds}
    for name, binary in builds.items():
        if not os.path.exists(rings[name]):
            subprocess.run([binary, "keys", "init", "--keyring", rings[name]], check=True, capture_output=True)
    runs = {(name, command): [] for name in builds for command in ("tokenize", "detokenize")}
    for turn in range(arguments.rounds):
        # Whoever is first in one round is second in the next.
        for name in sorted(builds, reverse=bool(turn % 2)):
            for command, path in (("tokenize", source), ("detokenize", f"{folder}/{form}.{name}.tokenize")):
                to = ["--output", f"{folder}/{form}.{name}.{command}", "-q", "--keyring", rings[name]]
                runs[name, command].append(Ran([builds[name], command, path, *to, *FORMATS[form]]))
    same(*(f"{folder}/{form}.{name}.detokenize" for name in builds))
    for command in ("tokenize", "detokenize"):
        rate = {name: statistics.median(arguments.rows / ran.seconds for ran in runs[name, command]) for name in builds}
        cpu = {name: statistics.median(ran.cpu for ran in runs[name, command]) for name in builds}
        memory = max(ran.mib for ran in runs["this", command])
        print(
            f"{form:5}  {command:10}  {rate['this'] / 1e6:5.2f} million rows/s, previous {rate['previous'] / 1e6:5.2f}  "
            f"times {rate['this'] / rate['previous']:4.2f}  CPU times {cpu['this'] / cpu['previous']:4.2f}  {memory:4.0f} MiB",
            flush=True,
        )
    for name in os.listdir(folder):
        if name.startswith(form):
            os.remove(f"{folder}/{name}")


def hostile(arguments, folder):
    """Memory where each row is as short, or as long, or as bad as can be."""
    rows = {
        "2 bytes a row": (b"8\n" * 100_000, 100),
        "empty rows, all bad": (b"\n" * 100_000, 100),
        "1 MiB a row": (b"8" * (1024 * 1024 - 1) + b"\n", 200),
        "quotes only": (b'"' + b'""' * 500_000 + b'"\n', 100),
    }
    # What this process holds would count as theirs: they are copies of it until they become callveil.
    for name, (part, times) in rows.items():
        path = f"{folder}/hostile"
        with open(path, "wb") as file:
            for _ in range(times):
                file.write(part)
        for form in (FORMATS["lines"], ["--format", "csv", "--column", "1", "--no-header"]):
            command = [arguments.binary, "tokenize", path, "-q", "--keyring", f"{folder}/keyring.json", *form]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, _, usage = os.wait4(process.pid, 0)
            print(f"{name:20}  {form[1] if form else 'lines':5}  {usage.ru_maxrss / 1024:4.0f} MiB", flush=True)


def main():
    if sys.argv[1:2] == ["--as-script"]:
        form, folder, source, to = sys.argv[2:]
        with open(f"{folder}/keyring.json") as file:
            # The ring is a signed note: its signatures follow an empty line.
            return script(json.loads(file.read().split("\n\n")[0]), form, source, to)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/callveil")
    parser.add_argument("--previous", type=os.path.abspath, help="another build, instead of the script")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--script-rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.binary = os.path.abspath(arguments.binary)
    print(f"{CPUS} CPUs; {arguments.rows} rows, the script {arguments.script_rows}; medians of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        init = [arguments.binary, "keys", "init", "--keyring", f"{folder}/keyring.json"]
        subprocess.run(init, check=True, capture_output=True)
        for form in FORMATS:
            (compare if arguments.previous else measure)(arguments, folder, form)
        hostile(arguments, folder)


if __name__ == "__main__":
    main()
