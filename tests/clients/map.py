"""CCC's two calls, as a Python client makes them: usage map.py URL USER PASSWORD [CA_FILE]."""

import base64
import json
import ssl
import sys
import urllib.request

url, user, password, *ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca[0]) if ca else None
credentials = base64.b64encode(f"{user}:{password}".encode()).decode()


def call(mode, numbers):
    body = json.dumps({"Numbers": numbers, "Mode": mode}).encode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json; charset=utf-8"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), context=context, timeout=30) as answer:
        envelope = json.load(answer)
    assert envelope["Code"] == 0, envelope
    assert [result["Key"] for result in envelope["Results"]] == numbers, envelope
    return [result["Value"] for result in envelope["Results"]]


print(" ".join(call("UIDToPhone", call("PhoneToUID", ["13988888888", "13788888888"]))))
