#!/usr/bin/env python3
"""Columns, measured: rows a second of the engines with callveil's wheel, beside the command line and beside peers.

    cargo build --release
    python3 -m venv /tmp/engines && /tmp/engines/bin/pip install ./python duckdb pandas polars pyarrow pyspark \\
        cryptography ironcore-alloy phonenumbers tink
    /tmp/engines/bin/python python/benches/engines.py                     # 10 million rows; some minutes and 10 GB
    /tmp/engines/bin/python python/benches/engines.py --rows 1000000

All map the same rows, a mix of mobile numbers in their usual spellings, landlines, foreign numbers, NULL and rows that fail,
and must come to the UIDs of the command line, byte by byte. Peers map fewer rows, and come to what they make of them.
"""

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet

import callveil

CPUS = len(os.sched_getaffinity(0))

#: Rows of the Parquet file's groups, and of a streamed run's batches.
BATCH = 1_000_000

MOBILE = "130 135 137 138 139 150 151 158 159 166 176 180 185 186 188 199".split()


def number(chance):
    """One row: the mix of `benches/http/samples.rs`, with NULL and rows that fail."""
    begins, line, kind = chance.choice(MOBILE), f"{chance.randrange(10**8):08}", chance.random() * 100
    if kind < 70:
        return begins + line
    if kind < 78:
        return f"+86{begins}{line}"
    if kind < 86:
        return f"0086{begins}{line}"
    if kind < 90:
        return f"+86 {begins} {line[:4]} {line[4:]}"
    if kind < 94:
        return f"{begins}-{line[:4]}-{line[4:]}"
    if kind < 96.5:
        return f"07558{line[1:]}"
    if kind < 99:
        return f"+447911{line[2:]}"
    return None if kind < 99.9 else f"{begins}\a{line}"


def make(rows, folder):
    chance = random.Random(7)
    schema = pyarrow.schema([("id", pyarrow.int64()), ("phone", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(folder / "crm.parquet", schema) as out:
        for begin in range(0, rows, BATCH):
            ids = range(begin, min(rows, begin + BATCH))
            out.write_table(pyarrow.table([pyarrow.array(ids, pyarrow.int64()), [number(chance) for _ in ids]], schema=schema))
    table = pyarrow.parquet.read_table(folder / "crm.parquet")
    with open(folder / "lines", "w") as out:
        for batch in table["phone"].chunks:
            out.writelines(f"{phone or ''}\n" for phone in batch.to_pylist())
    return table


class Report:
    def __init__(self, rows):
        self.rows, self.rates, self.wanted = rows, {}, None

    def measure(self, name, work, rows=None, cores=CPUS):
        cpu = sum(os.times()[:4])
        began = time.monotonic()
        result = work()
        seconds, cpu = time.monotonic() - began, sum(os.times()[:4]) - cpu
        rate = (rows or self.rows) / seconds
        self.rates[name] = rate / cores
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(f"| {name} | {rate:,.0f} | {rate / cores:,.0f} | {cpu:.1f} s | {peak:.1f} GB |", flush=True)
        return result

    def check(self, uids):
        uids = pyarrow.chunked_array(uids).combine_chunks().cast(pyarrow.large_string())
        if not uids.equals(self.wanted):
            sys.exit("the UIDs differ")


def engines(report, folder, table, path, binary):
    phones = table["phone"].combine_chunks()
    command = [binary, "tokenize", "--quiet", "--on-error", "blank", "--keyring", path, folder / "lines", "--output", folder / "uids"]
    report.measure("command line, lines", lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))
    uids = (folder / "uids").read_bytes().split(b"\n")[:-1]
    report.wanted = pyarrow.array([uid.decode() or None for uid in uids], pyarrow.large_string())
    tokenizer = callveil.KeyRing.open(path).tokenizer()
    # The pages of a first run come from the system, those of all others too, but from a warm allocator.
    _, errors = tokenizer.tokenize(phones, errors=True)
    failed = pyarrow.compute.sum(errors.is_valid()).as_py()
    if failed != report.wanted.null_count - phones.null_count or not phones.null_count or not failed:
        sys.exit("errors are not by row")
    del errors
    report.check([report.measure("PyArrow, one array", lambda: tokenizer.tokenize(phones))])
    report.check(report.measure("PyArrow, chunks", lambda: tokenizer.tokenize(table["phone"])).chunks)
    report.check([report.measure("PyArrow, one thread", lambda: tokenizer.tokenize(phones, threads=1), cores=1)])
    streamed(report, phones, tokenizer)
    import pandas
    import polars

    series = pandas.Series(phones, dtype="str")
    report.check(pyarrow.chunked_array(report.measure("pandas, texts of Arrow", lambda: tokenizer.tokenize(series)).array.__arrow_array__()).chunks)
    of_objects = series.head(report.rows // 10).astype(object)
    report.measure("pandas, objects", lambda: tokenizer.tokenize(of_objects), rows=len(of_objects))
    del series, of_objects
    column = polars.from_arrow(phones)
    report.check([report.measure("Polars, series", lambda: tokenizer.tokenize(column)).to_arrow()])
    lazy = polars.DataFrame({"phone": column}).lazy()
    uid = polars.col("phone").map_batches(tokenizer.tokenize, return_dtype=polars.String)
    report.check([report.measure("Polars, lazy", lambda: lazy.select(uid).collect())["phone"].to_arrow()])
    del column, lazy
    duck(report, folder, table, tokenizer)
    report.measure("PyArrow, Parquet to Parquet", lambda: stream(folder, tokenizer))
    report.check(pyarrow.parquet.read_table(folder / "uids.parquet")["uid"].chunks)


def streamed(report, phones, tokenizer):
    """Ten times the rows, a batch at a time and nothing kept: the memory that is in use must stay flat."""

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() / 1024**2

    def work():
        for _ in range(10):
            for begin in range(0, len(phones), BATCH // 4):
                tokenizer.tokenize(phones.slice(begin, BATCH // 4))

    tokenizer.tokenize(phones.slice(0, BATCH // 4))
    before = resident()
    report.measure("PyArrow, streamed, ten times the rows", work, 10 * len(phones))
    print(f"| (memory in use before and after: {before:.0f} MiB, {resident():.0f} MiB) |", flush=True)


def duck(report, folder, table, tokenizer):
    import duckdb

    db = duckdb.connect()
    how = {"parameters": ["VARCHAR"], "return_type": "VARCHAR", "type": "arrow", "null_handling": "special"}
    db.create_function("uid", lambda phones: tokenizer.tokenize(phones), **how)
    db.sql(f"CREATE TABLE crm AS FROM '{folder}/crm.parquet'")
    report.measure("DuckDB, table to table", lambda: db.execute("CREATE TABLE uids AS SELECT id, uid(phone) AS uid FROM crm"))
    report.check(db.execute("SELECT uid FROM uids ORDER BY id").to_arrow_table()["uid"].chunks)
    db.close()


def stream(folder, tokenizer):
    schema = pyarrow.schema([("id", pyarrow.int64()), ("uid", pyarrow.string())])
    with pyarrow.parquet.ParquetFile(folder / "crm.parquet") as crm:
        with pyarrow.parquet.ParquetWriter(folder / "uids.parquet", schema, use_dictionary=False) as out:
            for batch in crm.iter_batches(batch_size=BATCH // 4):
                out.write_batch(pyarrow.record_batch([batch["id"], tokenizer.tokenize(batch["phone"])], schema=schema))


def spark(report, folder, path):
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = session.config("spark.sql.execution.arrow.maxRecordsPerBatch", "65536").config("spark.driver.memory", "4g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    path = str(path)

    def to_uids(batches):
        import callveil

        tokenizer = callveil.KeyRing.open(path).tokenizer()
        for batch in batches:
            uids = tokenizer.tokenize(batch["phone"], threads=1)
            yield pyarrow.RecordBatch.from_arrays([batch["id"], uids], ["id", "uid"])

    crm = session.read.parquet(f"{folder}/crm.parquet")
    mapped = crm.mapInArrow(to_uids, "id long, uid string")
    # A first job starts the workers, and warms Java up.
    crm.limit(1000).mapInArrow(to_uids, "id long, uid string").count()
    report.measure("Spark local[2], to nowhere", lambda: mapped.write.format("noop").mode("overwrite").save())
    report.measure("Spark local[2], Parquet to Parquet", lambda: mapped.write.mode("overwrite").parquet(f"{folder}/of-spark"))
    session.stop()
    report.check(pyarrow.parquet.read_table(folder / "of-spark").sort_by("id")["uid"].chunks)


def peers(report, table):
    """What a row costs with others, on one core: numbers that libphonenumber's port reads, and a deterministic cipher."""
    import phonenumbers
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    rows = [phone for phone in table["phone"].slice(0, 30_000).to_pylist() if phone is not None]
    siv, data = AESSIV(bytes(64)), [b"callveil/1/0001/default"]

    def digits(text):
        try:
            return phonenumbers.format_number(phonenumbers.parse(text, "CN"), phonenumbers.PhoneNumberFormat.E164)[1:]
        except phonenumbers.NumberParseException:
            return "0"

    report.measure("peer: pyca AESSIV and phonenumbers", lambda: [siv.encrypt(int(digits(row)).to_bytes(7, "big"), data) for row in rows], len(rows), 1)
    try:
        import tink
        from tink import daead

        daead.register()
        primitive = tink.new_keyset_handle(daead.deterministic_aead_key_templates.AES256_SIV).primitive(daead.DeterministicAead)
        report.measure("peer: Tink, no reading of numbers", lambda: [primitive.encrypt_deterministically(row.encode(), b"") for row in rows], len(rows), 1)
        report.measure("peer: Tink and phonenumbers", lambda: [primitive.encrypt_deterministically(digits(row).encode(), b"") for row in rows], len(rows), 1)
    except ImportError:
        print("| peer: Tink is not installed |")
    try:
        import ironcore_alloy as alloy
    except ImportError:
        return print("| peer: IronCore Alloy is not installed |")
    secret = alloy.RotatableSecret(alloy.StandaloneSecret(1, alloy.Secret(os.urandom(64))), None)
    config = alloy.StandaloneConfiguration(alloy.StandardSecrets(1, [alloy.StandaloneSecret(1, alloy.Secret(os.urandom(64)))]), {"path": secret}, {})
    cipher, metadata = alloy.Standalone(config).deterministic(), alloy.AlloyMetadata.new_simple("tenant")

    async def encrypt():
        for row in rows:
            await cipher.encrypt(alloy.PlaintextField(plaintext_field=row.encode(), secret_path="path", derivation_path="d"), metadata)

    report.measure("peer: IronCore Alloy, no reading of numbers", lambda: asyncio.run(encrypt()), len(rows), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--binary", default=Path(__file__).resolve().parents[2] / "target/release/callveil")
    parser.add_argument("--without", action="append", default=[], choices=["spark", "peers"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        path = folder / "ring.json"
        subprocess.run([args.binary, "keys", "init", "--keyring", path], check=True, capture_output=True)
        table, report = make(args.rows, folder), Report(args.rows)
        print(f"{args.rows:,} rows on {CPUS} CPUs\n\n| what | rows/s | rows/s a core | CPU | peak so far |\n|---|--:|--:|--:|--:|")
        engines(report, folder, table, path, args.binary)
        if "spark" not in args.without:
            spark(report, folder, path)
        if "peers" not in args.without:
            peers(report, table)
        best, line = report.rates["PyArrow, one thread"], report.rates["command line, lines"]
        for name, rate in report.rates.items():
            print(f"{name}: {rate / line:.2f} of the command line" if "peer" not in name else f"{name}: PyArrow has {best / rate:.0f} times as many")


if __name__ == "__main__":
    main()
