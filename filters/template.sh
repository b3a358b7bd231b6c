#!/bin/sh
# template.sh: a start for a filter of your own in sh, for which the head
# matters alone: the body goes on while it comes. Here it hides the Server.
#
#   mitmproxy --response filters/template.sh
#   curl -si http://example.com/ | filters/template.sh
LC_ALL=C
export LC_ALL
case $MITM_DIRECTION in stream | message) exec cat ;; esac  # without a head

cr=$(printf '\r')
while IFS= read -r line; do             # byte by byte: the body stays unread
    case $line in
    [Ss]erver:*)                        # change this
        line="Server: hidden$cr" ;;
    '' | "$cr")                         # the empty line behind the head
        printf '%s\n' "$line"
        exec cat ;;
    esac
    printf '%s\n' "$line"
done
printf %s "$line"                       # a head without an end
