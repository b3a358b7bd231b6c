#!/usr/bin/env python3
# coprocess.py: the smallest coprocess in Python. It stays alive and adds a
# field to each message.
#
#   mitmproxy --coprocess --response filters/coprocess.py
#   printf '19 id=1\nHTTP/1.1 200 OK\r\n\r\n' | filters/coprocess.py
import sys

for line in sys.stdin.buffer:           # LENGTH key=value ...
    message = sys.stdin.buffer.read(int(line.split()[0]))
    message = message.replace(b'\n', b'\nX-Coprocess: Python\r\n', 1)
    sys.stdout.buffer.write(b'%d\n%s' % (len(message), message))
    sys.stdout.buffer.flush()
