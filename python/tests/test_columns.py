"""Every kind of column comes back as it went in, with the UIDs of the command line."""

import copy
import json
import pickle
import resource
import threading

import numpy
import pandas
import polars
import pyarrow
import pytest

import callveil
from conftest import NUMBERS, run

KINDS = {
    "list": list,
    "tuple": tuple,
    "array": pyarrow.array,
    "large": lambda rows: pyarrow.array(rows, pyarrow.large_string()),
    "view": lambda rows: pyarrow.array(rows, pyarrow.string_view()),
    "slice": lambda rows: pyarrow.array(["x", "y", *rows, "z"])[2:-1],
    "chunks": lambda rows: pyarrow.chunked_array([rows[:2], [], rows[2:]], pyarrow.string()),
    "pandas": lambda rows: pandas.Series(rows, name="phone", index=range(10, 10 + len(rows))),
    "pandas-object": lambda rows: pandas.Series(rows, dtype=object),
    "pandas-python": lambda rows: pandas.Series(rows, dtype=pandas.StringDtype("python")),
    "pandas-arrow": lambda rows: pandas.Series(rows, dtype=pandas.ArrowDtype(pyarrow.string())),
    "polars": lambda rows: polars.Series("phone", rows),
    "numpy": lambda rows: numpy.array(rows, dtype=object),
}


def rows_of(column):
    to_list = getattr(column, "to_pylist", None) or getattr(column, "to_list", None)
    rows = list(column) if to_list is None else to_list()
    return [None if row is None or row is pandas.NA or row != row else row for row in rows]


@pytest.fixture
def uids(path):
    given = "".join(f"{number}\n" for number in NUMBERS if number is not None)
    mapped = iter(run("tokenize", "--keyring", path, "--quiet", text=given).splitlines())
    return [None if number is None else next(mapped) for number in NUMBERS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_comes_back_as_its_kind(kind, tokenizer, uids):
    column = KINDS[kind](NUMBERS)
    mapped, errors = tokenizer.tokenize(column, errors=True)
    assert rows_of(mapped) == uids
    assert type(mapped) is type(column)
    assert getattr(mapped, "dtype", None) == getattr(column, "dtype", None)
    assert getattr(mapped, "type", None) == getattr(column, "type", None)
    assert getattr(mapped, "name", None) == getattr(column, "name", None)
    if isinstance(column, pandas.Series):
        assert list(mapped.index) == list(column.index)
    assert rows_of(errors) == [None] * len(NUMBERS)
    opened = rows_of(tokenizer.detokenize(mapped))
    assert opened == ["008613988888888"] * 2 + [None, "0086075586013388", "008610086", "anonymous", "sip:x@example.com"]
    assert rows_of(tokenizer.rewrap(mapped)) == uids
    aliases = [None if row is None else list(row) for row in rows_of(tokenizer.aliases(column))]
    assert aliases == [None if uid is None else [uid] for uid in uids]
    assert rows_of(tokenizer.normalize(column))[:4] == ["+8613988888888"] * 2 + [None, "+8675586013388"]
    assert rows_of(tokenizer.inspect(mapped))[0] == {"key": tokenizer.inspect(uids[0])["key"], "state": "primary"}
    empty = tokenizer.tokenize(column[:0])
    assert type(empty) is type(column) and len(empty) == 0


def test_a_text_comes_back_as_a_text(tokenizer, uids):
    assert tokenizer.tokenize("13988888888") == uids[0]
    assert tokenizer.detokenize(uids[0], errors=True) == ("008613988888888", None)
    assert tokenizer.tokenize(None) is None
    assert tokenizer.tokenize("", errors=True) == (None, "invalid_number")
    assert tokenizer.tokenize(uids[0]) == uids[0], "a run repeated makes no UIDs of UIDs"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_rows_keep_their_order_on_all_threads(tokenizer, path, threads):
    numbers = [None if at % 7 == 0 else f"139{at:08}" for at in range(300_000)]
    given = "".join(f"{number or ''}\n" for number in numbers)
    of_the_command_line = [uid or None for uid in run("tokenize", "--keyring", path, "-q", text=given).split("\n")[:-1]]
    assert tokenizer.tokenize(pyarrow.array(numbers), threads=threads).to_pylist() == of_the_command_line
    chunked = pyarrow.chunked_array([numbers[:100], numbers[100:200_000], numbers[200_000:]], pyarrow.string())
    mapped = tokenizer.tokenize(chunked, threads=threads)
    assert [len(chunk) for chunk in mapped.chunks] == [100, 199_900, 100_000]
    assert mapped.to_pylist() == of_the_command_line
    assert tokenizer.tokenize(numbers, threads=threads) == of_the_command_line


def test_rows_that_fail(tokenizer):
    uid = tokenizer.tokenize("13988888888")
    forged = uid[:-1] + ("a" if uid[-1] != "a" else "b")
    rows = [uid, None, "13988888888", "nothing", forged]
    codes = [None, None, "plain_number", "malformed_uid"]
    opened, errors = tokenizer.detokenize(pyarrow.array(rows), errors=True)
    assert opened.to_pylist() == ["008613988888888"] + [None] * 4
    assert errors.to_pylist()[:4] == codes and errors[4].as_py() in ("not_authentic", "malformed_uid")
    assert tokenizer.detokenize(rows, on_error="keep") == ["008613988888888", *rows[1:]]
    for column in (rows, pyarrow.array(rows), pandas.Series(rows), polars.Series(rows)):
        with pytest.raises(callveil.PlainNumber) as caught:
            tokenizer.detokenize(column, on_error="raise")
        assert str(caught.value) == "row 2: plain_number"
        assert (caught.value.row, caught.value.code) == (2, "plain_number")
        assert isinstance(caught.value, (callveil.Error, ValueError))
    far = pyarrow.chunked_array([["13988888888"] * 200_000, ["13988888888"] * 100_000 + [""]])
    with pytest.raises(callveil.InvalidNumber, match="row 300000: invalid_number"):
        tokenizer.tokenize(far, on_error="raise")
    with pytest.raises(callveil.InvalidNumber, match="row 300000: invalid_number"):
        tokenizer.tokenize(far.to_pylist(), on_error="raise")


def test_what_is_no_text_is_refused_without_a_word_of_it(tokenizer):
    for column in (
        [13988888888],
        pandas.Series([13988888888]),
        pandas.Series([13988888888.0], dtype=object),
        polars.Series([13988888888]),
        numpy.array([13988888888]),
        pyarrow.array([13988888888]),
        {"phone": "13988888888"},
        13988888888,
        b"13988888888",
    ):
        with pytest.raises(TypeError) as caught:
            tokenizer.tokenize(column)
        assert "139" not in str(caught.value)
    invalid = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    )
    assert tokenizer.tokenize(invalid, errors=True)[1].to_pylist() == ["invalid_number"]
    assert tokenizer.tokenize(["\ud800"], errors=True)[1] == ["invalid_number"]


@pytest.mark.parametrize(
    "wrong", [{"on_error": "ignore"}, {"threads": 0}, {"threads": 10_000}, {"threads": 257}]
)
def test_arguments_are_checked(tokenizer, wrong):
    with pytest.raises(ValueError):
        tokenizer.tokenize(["13988888888"], **wrong)
    with pytest.raises(ValueError):
        tokenizer.aliases(["13988888888"], on_error="keep")


def test_the_input_is_as_it_was(tokenizer):
    column = pyarrow.array(NUMBERS)
    tokenizer.tokenize(column)
    assert column.equals(pyarrow.array(NUMBERS))


def test_other_threads_of_python_go_on(tokenizer):
    column = pyarrow.array([f"139{at:08}" for at in range(400_000)])
    begun, counted, done = threading.Event(), [0], threading.Event()

    def work():
        begun.set()
        tokenizer.tokenize(column, threads=1)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    while not done.is_set():
        counted[0] += 1
    worker.join()
    assert counted[0] > 1000


def resident():
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_the_memory_of_a_streamed_run_stays_flat(tokenizer):
    column = pyarrow.array([f"139{at:08}" for at in range(250_000)])
    for _ in range(3):
        tokenizer.tokenize(column)
    before = resident()
    for _ in range(12):
        tokenizer.tokenize(column)
    # One batch's results are 10 MB, all of them 120 MB.
    assert resident() - before < 40 * 1024 * 1024


def test_nothing_secret_is_shown_or_pickled(ring, tokenizer, path):
    secret = json.loads(path.read_text().split("\n\n")[0])
    for shown in (repr(ring), repr(tokenizer), repr(ring.keys())):
        assert secret["keys"][0]["material"] not in shown and secret["signing_key"] not in shown
    for secretive in (ring, tokenizer):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled"):
                take(secretive)
    with pytest.raises(TypeError):
        callveil.KeyRing()
    with pytest.raises(TypeError):
        callveil.Tokenizer()
