"""Opens UIDs with an exported key in Tink alone: usage tink_open.py KEY_ID CONTEXT KEYSET < lines of "UID<tab>plaintext".

A plaintext is the E.164 digits behind a plus sign, or the verbatim text. Prints how many opened to just that, and how
many of those Tink also sealed to the same UID.
"""

import base64
import sys

from tink import daead, json_proto_keyset_format, secret_key_access

key_id, context, path = sys.argv[1:]
daead.register()
with open(path, encoding="utf-8") as file:
    keyset = json_proto_keyset_format.parse(file.read(), secret_key_access.TOKEN)
primitive = keyset.primitive(daead.DeterministicAead)
associated_data = f"callveil/1/{key_id}/{context}".encode()
opened = sealed = 0
for line in sys.stdin.read().split("\n"):
    if not line:
        continue
    uid, text = line.split("\t")
    data = base64.b32decode(uid.upper())
    if data[:2].hex() != key_id:
        sys.exit("a UID of another key")
    plaintext = primitive.decrypt_deterministically(data[2:], associated_data)
    if plaintext[0] == 0x80:
        found = plaintext[1:].rstrip(b"\0").decode()
    else:
        found = f"+{int.from_bytes(plaintext, 'big')}"
    opened += found == text
    again = data[:2] + primitive.encrypt_deterministically(plaintext, associated_data)
    sealed += base64.b32encode(again).decode().lower() == uid
print(opened, sealed)
