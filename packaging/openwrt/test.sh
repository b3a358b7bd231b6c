#!/bin/sh
# Run by the feeds' CI in an emulated router: $1 the package, $2 its version.
[ "$1" = mitmproxy.c ] || exit 0
mitmproxy.c --version | grep -F "$2"
