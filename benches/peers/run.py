#!/usr/bin/env python3
"""Callveil beside what people would use instead: requests a second of one core, p99, CPU, memory and disk.

    cargo build --release
    benches/peers/setup.sh target/peers
    benches/peers/run.py target/peers target/release/callveil                  # all, with 10 million numbers stored
    benches/peers/run.py target/peers target/release/callveil --stored 1000    # few
    benches/peers/run.py target/peers target/release/callveil --only tink --seconds 2
    benches/peers/run.py target/peers target/release/callveil --picture docs/peers.svg

All processes of a peer, its database too, share the first CPU; wrk, one thread with 32 connections, has the next one. Each
request is for one number, at random of those stored, so a table only looks up: what a number costs that is new is measured
apart. Nobody's answers are cached, nobody's log is on but callveil's audit log.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from picture import draw

HERE = pathlib.Path(__file__).resolve().parent
CLIENT, PASSWORD = "ccc", "a-password-for-the-benchmark"
AUTHORIZATION = "Basic " + base64.b64encode(f"{CLIENT}:{PASSWORD}".encode()).decode()
BATCH = 1000
FIRST, FIRST_NEW = 13000000000, 13100000000
CPUS = sorted(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 60


class Peers:
    """How each of them is started; all give their processes, and where they listen."""

    def __init__(self, folder, binary, stored):
        self.folder, self.binary, self.stored = folder.resolve(), binary.resolve(), stored
        self.environment = dict(os.environ, CLIENT=CLIENT, PASSWORD=PASSWORD)
        self.running = []

    def start(self, *command, **options):
        command = ["taskset", "-c", str(CPUS[0]), *map(str, command)]
        environment = self.environment | options.pop("environment", {})
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, **(streams | options))
        self.running.append(process)
        return process

    def stop(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running = []

    def callveil(self):
        folder = self.folder / "callveil"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        init = [self.binary, "keys", "init", "--region", "CN", "--keyring", "keyring.json"]
        subprocess.run(init, cwd=folder, check=True, capture_output=True)
        port, digest = free_port(), hashlib.sha256(PASSWORD.encode()).hexdigest()
        (folder / "callveil.toml").write_text(
            f'listen = "127.0.0.1:{port}"\nkeyring = "keyring.json"\nthreads = 1\n[audit]\nto = "audit.log"\n'
            f'[[clients]]\nusername = "{CLIENT}"\npassword_sha256 = ["{digest}"]\n'
            "tokenize_per_minute = 1000000000\ndetokenize_per_minute = 1000000000\n"
        )
        self.start(self.binary, "serve", "--config", "callveil.toml", cwd=folder)
        return port, lambda: (folder / "keyring.json").stat().st_size

    def postgres(self):
        sockets = self.folder / "pg" / "sockets"
        program = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1]
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        options = ["-D", self.folder / "pg" / "data", "-c", "listen_addresses=", "-k", sockets]
        self.start(*user, program, *options)
        database = f"numbers_{self.stored}"
        query = ["psql", "-h", sockets, "-U", "callveil", database, "-tAc"]
        wait_for(lambda: subprocess.run([*query, "SELECT 1"], capture_output=True).returncode == 0)
        size = [*query, "SELECT pg_total_relation_size('mapping')"]
        disk = lambda: int(subprocess.run(size, capture_output=True, check=True).stdout)
        return f"postgresql://callveil@/{database}?host={sockets}", disk

    def redis(self):
        # A copy, which new numbers do not change: Debian's own settings save one now and then.
        folder = self.folder / f"redis-{self.stored}"
        path = folder / "socket"
        self.start("redis-server", "--port", 0, "--unixsocket", path, "--dir", folder, "--save", "")
        ping = ["redis-cli", "-s", path, "ping"]
        wait_for(lambda: subprocess.run(ping, capture_output=True).stdout == b"PONG\n")
        return f"unix://{path}", lambda: (folder / "dump.rdb").stat().st_size

    def python(self, app, environment):
        port = free_port()
        uvicorn = [self.folder / "venv" / "bin" / "uvicorn", app, "--port", port, "--no-access-log"]
        self.start(*uvicorn, cwd=HERE, environment=environment)
        return port

    def node(self, environment):
        port = free_port()
        shutil.copy(HERE / "table.mjs", self.folder / "node")
        environment = environment | {"PORT": str(port), "NODE_ENV": "production"}
        self.start("node", self.folder / "node" / "table.mjs", environment=environment)
        return port

    def fastapi_postgresql(self):
        store, disk = self.postgres()
        return self.python("table:app", {"STORE": store}), disk

    def fastapi_redis(self):
        store, disk = self.redis()
        return self.python("table:app", {"STORE": store}), disk

    def fastify_postgresql(self):
        store, disk = self.postgres()
        # `pg` wants the folder of the socket where others want the host.
        store = re.sub(r"//callveil@/(\w+)\?host=", r"//callveil@localhost/\1?host=", store)
        return self.node({"STORE": store}), disk

    def fastify_redis(self):
        store, disk = self.redis()
        return self.node({"STORE": store}), disk

    def tink(self):
        return self.python("tink_server:app", {}), None

    def alloy(self):
        port = free_port()
        self.start(self.folder / "alloy" / "release" / "alloy-server", port)
        return port, None


PEERS = {
    "callveil": ("callveil", Peers.callveil),
    "fastapi-postgresql": ("FastAPI, PostgreSQL", Peers.fastapi_postgresql),
    "fastify-postgresql": ("Fastify, PostgreSQL", Peers.fastify_postgresql),
    "fastapi-redis": ("FastAPI, Redis", Peers.fastapi_redis),
    "fastify-redis": ("Fastify, Redis", Peers.fastify_redis),
    "tink": ("FastAPI, Tink", Peers.tink),
    "alloy": ("hyper, IronCore Alloy", Peers.alloy),
}
TABLES = [name for name in PEERS if "-" in name]


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition):
    since = time.monotonic()
    while not condition():
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise TimeoutError("does not come up")
        time.sleep(0.05)


def ask(port, number):
    body = json.dumps({"Numbers": [str(number)], "Mode": "PhoneToUID"}).encode()
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["Results"][0]["Value"]


def answers(port):
    try:
        return bool(ask(port, FIRST))
    except OSError:
        return False


def processes(roots):
    """These and all that they started."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
    found, left = [], [root.pid for root in roots]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


def cpu_seconds(roots):
    ticks = 0
    for pid in processes(roots):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_bytes(roots):
    """Shared pages are counted once; what the kernel keeps of files is not counted."""
    text = "".join(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes(roots))
    return sum(int(kib) for kib in re.findall(r"^Pss: +(\d+)", text, re.M)) * 1024


def load(port, seconds, first, count, connections=32, batch=1):
    command = ["taskset", "-c", str(CPUS[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s"]
    command += [HERE / "numbers.lua", f"http://127.0.0.1:{port}", "--", AUTHORIZATION]
    command += [str(first), str(count), str(batch)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = next(line.split() for line in output.splitlines() if line.startswith("DONE"))
    requests, microseconds, p50, p99, errors = map(float, done[1:])
    if errors:
        raise ValueError(f"answers that were not good: {output}")
    return requests, requests / microseconds * 1e6, p50, p99


def measure(peers, name, seconds):
    port, disk = PEERS[name][1](peers)
    wait_for(lambda: answers(port))
    uid = ask(port, FIRST + 7)
    assert uid == ask(port, f"+86{FIRST + 7}") and len(uid) >= 32, f"{name} answers wrong"
    load(port, max(1, seconds // 3), FIRST, peers.stored)
    before = cpu_seconds(peers.running)
    requests, rate, p50, p99 = load(port, seconds, FIRST, peers.stored)
    used = cpu_seconds(peers.running) - before
    memory, stored = memory_bytes(peers.running), disk() if disk else 0
    _, _, alone50, alone99 = load(port, max(1, seconds // 3), FIRST, peers.stored, connections=1)
    before = cpu_seconds(peers.running)
    sent, batches, _, _ = load(port, max(1, seconds // 2), FIRST, peers.stored, connections=8, batch=BATCH)
    batch_cpu = (cpu_seconds(peers.running) - before) / (sent * BATCH) * 1e6
    # Others each time, or they would not be new.
    first = FIRST_NEW + time.time_ns() // 10**6 % 10**5 * 1000
    new = load(port, max(1, seconds // 3), first, 0)[1] if name in [*TABLES, "callveil"] else None
    return {
        "name": PEERS[name][0], "rate": rate, "busy": used / seconds, "cpu": used / requests * 1e6, "p50": p50, "p99": p99,
        "alone50": alone50, "alone99": alone99, "memory": memory, "disk": stored, "new": new,
        "batches": batches * BATCH, "batch_cpu": batch_cpu,
    }  # fmt: skip


def table(results, stored):
    ours = results["callveil"]
    names = [
        "what", "requests/s of a core", "callveil does", "busy", "CPU s per million", "callveil does", "p99, 32 connections, ms",
        "p50, one, ms", "p99, one, ms", "new numbers/s", "CPU s per million in batches of 1,000", "callveil does",
        "memory, MiB", "callveil has", "disk, MiB",
    ]  # fmt: skip
    lines = [f"{stored:,} numbers stored.\n", "| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for it in results.values():
        cells = [
            it["name"], f"{it['rate']:,.0f}", f"{ours['rate'] / it['rate']:.1f} times", f"{it['busy']:.0%}", f"{it['cpu']:.1f}",
            f"{it['cpu'] / ours['cpu']:.1f} times", f"{it['p99'] / 1e3:.2f}", f"{it['alone50'] / 1e3:.2f}",
            f"{it['alone99'] / 1e3:.2f}", f"{it['new']:,.0f}" if it["new"] else "-", f"{it['batch_cpu']:.2f}",
            f"{it['batch_cpu'] / ours['batch_cpu']:.1f} times", f"{it['memory'] / 2**20:,.1f}",
            f"{ours['memory'] / it['memory']:.3f} of it", f"{it['disk'] / 2**20:,.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--stored", type=int, help="numbers: 1000, or as many as were set up (10 million)")
    parser.add_argument("--only", default=",".join(PEERS))
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--picture", type=pathlib.Path)
    options = parser.parse_args()
    if len(CPUS) < 2:
        sys.exit("two CPUs are needed")
    stored = options.stored or int((options.folder / "numbers").read_text())
    peers = Peers(options.folder, options.binary, stored)
    results = {}
    for name in dict.fromkeys(["callveil", *options.only.split(",")]):
        try:
            results[name] = measure(peers, name, options.seconds)
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.stderr)
            continue
        finally:
            peers.stop()
        print(json.dumps(results[name]), file=sys.stderr, flush=True)
    print(table(results, stored))
    if options.picture:
        options.picture.write_text(draw(list(results.values()), stored))


main()
