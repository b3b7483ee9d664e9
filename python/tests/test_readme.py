"""The blocks of README.md, run one after the other, and what they wrote."""

import importlib.util
import os
import re
import subprocess
import sys

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

import callveil
from conftest import BINARY, ROOT, run

README = (ROOT / "python/README.md").read_text()

#: Where the page has an identity mounted.
MOUNTED = "/run/secrets/callveil-identity"


def blocks(*headings):
    """The blocks under these headings; of the introduction, where there is none."""
    sections = dict(zip(["", *re.findall(r"^## (.*)$", README, re.M)], re.split(r"^## .*$", README, flags=re.M)))
    return [block for heading in ("", *headings) for block in re.findall(r"```python\n(.*?)```", sections[heading], re.S)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.path.dirname(os.path.abspath(BINARY)) + os.pathsep + os.environ["PATH"])
    run("keys", "init")
    phones = [None if at % 10 == 9 else f"139{at:08}" for at in range(5000)]
    table = pyarrow.table({"id": pyarrow.array(range(5000), pyarrow.int64()), "phone": phones})
    pyarrow.parquet.write_table(table, "crm.parquet")
    return phones


def execute(*headings, **replaced):
    names = {}
    for block in blocks(*headings):
        for old, new in replaced.items():
            block = block.replace(MOUNTED, new) if old == "mounted" else block
        exec(compile(block, "README.md", "exec"), names)
    return names


def check(table, phones, keyring="keys/keyring.json", identity=None):
    """Holds `table` against the command line."""
    given = "".join(f"{phone or ''}\n" for phone in phones)
    more = [] if identity is None else ["--identity", identity]
    uids = [uid or None for uid in run("tokenize", "-q", "--keyring", keyring, *more, text=given).split("\n")[:-1]]
    table = table.sort_by("id")
    assert table["id"].to_pylist() == list(range(len(phones)))
    assert [uid or None for uid in table["uid"].to_pylist()] == uids


def test_every_section_is_run_here():
    tested = {"pandas, and notebooks", "Polars", "PyArrow and Parquet, in constant memory", "DuckDB", "SQLite",
              "Two exports across a rotation", "Spark"}
    assert set(re.findall(r"^## (.*)$", README, re.M)) == tested


def test_pandas(folder):
    execute("pandas, and notebooks")
    check(pyarrow.csv.read_csv("uids.csv"), folder)


@pytest.mark.parametrize("heading", ["Polars", "PyArrow and Parquet, in constant memory", "DuckDB"])
def test_parquet(folder, heading):
    execute(heading)
    check(pyarrow.parquet.read_table("uids.parquet"), folder)


def test_sqlite(folder):
    rows = execute("SQLite")["db"].execute("SELECT phone FROM crm ORDER BY id").fetchall()
    assert rows == [(run("tokenize", "--value", "13900000000").strip(),), (None,)]


def test_a_rotation(folder):
    names = execute("Two exports across a rotation")
    assert names["joined"]["phone"].to_list() == [phone for phone in folder if phone is not None]


@pytest.fixture
def sealed(folder, tmp_path, monkeypatch):
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    made = subprocess.run(["age-keygen", "-o", "identity"], check=True, capture_output=True, text=True)
    run("keys", "init", "--keyring", "keys/sealed.json", "--recipient", made.stderr.split()[-1])
    return tmp_path / "identity"


def test_spark(folder, sealed):
    names = execute("Spark", mounted=str(sealed))
    for written in ("uids-of-spark.parquet", "uids-of-udf.parquet"):
        check(pyarrow.parquet.read_table(written), folder, "keys/sealed.json", sealed)
    names["spark"].stop()


def test_a_worker_that_dies_changes_nothing(folder, sealed, tmp_path):
    from pyspark.sql import SparkSession

    died, ring, identity = str(tmp_path / "died"), str(tmp_path / "keys/sealed.json"), str(sealed)
    spark = SparkSession.builder.master("local[2,3]").config("spark.ui.enabled", "false")
    spark = spark.config("spark.sql.execution.arrow.maxRecordsPerBatch", "100").getOrCreate()

    def to_uids(batches):
        import callveil

        tokenizer = callveil.KeyRing.open(ring, identity=identity).tokenizer()
        for at, batch in enumerate(batches):
            uids = tokenizer.tokenize(batch["phone"], threads=1)
            yield pyarrow.RecordBatch.from_arrays([batch["id"], uids], ["id", "uid"])
            if at == 5 and batch["id"][0].as_py() > 2000:
                try:
                    os.close(os.open(died, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os._exit(9)

    try:
        # Java's folder is that of the test before.
        crm = spark.read.parquet(str(tmp_path / "crm.parquet")).repartitionByRange(4, "id")
        crm.mapInArrow(to_uids, "id long, uid string").write.parquet(str(tmp_path / "uids.parquet"))
    finally:
        spark.stop()
    assert os.path.exists(died), "no worker died"
    check(pyarrow.parquet.read_table("uids.parquet"), folder, "keys/sealed.json", sealed)
