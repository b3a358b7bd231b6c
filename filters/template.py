#!/usr/bin/env python3
# template.py: a start for a filter of your own in Python, which sees the whole
# message at once. Here it replaces a word in the body.
#
#   mitmproxy --match '~t html' --response filters/template.py
#   curl -si http://example.com/ | filters/template.py
import os, sys

message = sys.stdin.buffer.read()       # bytes: nothing in it need be UTF-8
head, empty, body = message.partition(b'\r\n\r\n')
lines = head.split(b'\r\n')             # lines[0]: HTTP/1.1 200 OK, or GET /
url = os.environ.get('MITM_URL', '')    # MITM_STATUS, MITM_METHOD, ...

if body:                                # change this
    body = body.replace(b'cloud', b'clown')

sys.stdout.buffer.write(b'\r\n'.join(lines) + empty + body)
