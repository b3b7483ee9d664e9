"""A call with a wrong password and a body of 1 MB: usage refused.py URL CA_FILE. Prints the status and the milliseconds."""

import ssl
import sys
import time
import urllib.error
import urllib.request

url, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
request = urllib.request.Request(url, b"x" * 1_000_000, {"Authorization": "Basic Y2NjOndyb25n"})
since = time.monotonic()
try:
    status = urllib.request.urlopen(request, context=context, timeout=30).status
except urllib.error.HTTPError as error:
    status = error.code
print(status, (time.monotonic() - since) * 1000)
