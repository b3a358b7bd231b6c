# lab/servers.sh: starts servers for sh; sourced by tests/demo, lab/play and
# lab/start, which set $here, the directory of this file. All that was started
# ends with the script.

# shellcheck shell=sh disable=SC2034,SC2154 # the variables of the other

mitmproxy=${MITMPROXY:-./mitmproxy}
pids=

finish() {
    trap '' INT TERM HUP
    # shellcheck disable=SC2086 # pids is a list
    [ -z "$pids" ] || kill $pids 2>/dev/null || :
    wait
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# die TEXT FILE: ends with this text, and what is in the file.
die() {
    echo "$0: $1" >&2
    [ ! -s "$2" ] || sed 's/^/    /' "$2" >&2
    exit 1
}

# port FILE: waits until a program has written to FILE, at the end of a line,
# which port it listens on, and prints that.
port() {
    i=0
    until grep -Eqs '[: ][0-9]+$' "$1"; do
        i=$((i + 1))
        [ $i -le 300 ] || die "a program did not start, and said:" "$1"
        sleep 0.1
    done
    sed -nE 's/.*[: ]([0-9]+)$/\1/p' "$1" | sed 1q
}

# start_origin DIR: lab/origin.py in DIR; its port is $origin.
start_origin() {
    mkdir -p "$1"
    python3 "$here/origin.py" "$1" >"$1/origin.log" 2>&1 &
    pids="$pids $!"
    origin=$(port "$1/origin.log")
}
