#!/usr/bin/env perl
# coprocess.pl: the smallest coprocess in Perl. It stays alive and adds a field
# to each message.
#
#   mitmproxy --coprocess --response filters/coprocess.pl
#   printf '19 id=1\nHTTP/1.1 200 OK\r\n\r\n' | filters/coprocess.pl
binmode $_ for *STDIN, *STDOUT;
$| = 1;
while (my $line = <STDIN>) {            # LENGTH key=value ...
    read STDIN, my $message, (split ' ', $line)[0];
    $message =~ s/\n/\nX-Coprocess: Perl\r\n/;
    print length $message, "\n", $message;
}
