#!/usr/bin/env python3
"""The manual's A phone on a router: its lines are run, between a client, a
router and a server."""
import shlex

from netns import *

PAGE = reply(b'a cloud\n')


def lines(number):
    """The commands of one of the page's displays: [word, ...] each."""
    manual = slurp(os.path.join(os.path.dirname(HERE), 'mitmproxy.1')).decode()
    page = re.search(r'(?s)\n\.Ss A phone on a router\n(.*?)\n\.S[sh] ', manual)
    text = re.findall(r'(?s)\n\.Bd [^\n]*\n(.*?)\n\.Ed', page[1])[number]
    return [shlex.split(line)
            for line in text.replace('\\e\n', '').splitlines()]


def server(net):
    return net.origin(answer(PAGE), tls=True, port=443,
                      cert=make_leaf(names='DNS:weather.test'))


@test('transparent: http://mitm.it/ has the CA, with which a page is a clown')
def _():
    (_, *args), *rules = lines(0)
    mode = args.index('--mode')
    with Net() as net, server(net) as origin, \
            net.proxy('-p', '8080', *args[:mode], *args[mode + 4:]) as proxy:
        with net.inside('router'):
            with contextlib.suppress(OSError), \
                    open('/proc/sys/net/ipv4/ip_forward', 'w') as f:
                f.write('1')            # where that is not read-only
            routes = slurp('/proc/sys/net/ipv4/ip_forward') == b'1\n'
            for _, *words in rules:
                tool('nft', *('client' if w == 'lan' else w for w in words))
        phone = net.connect(proxy, net.server[4], 80)
        phone.send(get('/mitmproxy.crt', host='mitm.it'))
        ca = scratch('mitmproxy.crt', phone.read_message().body)
        phone = net.connect(proxy, net.server[4], 443)
        phone.start_tls(client_context(ca), 'weather.test')
        phone.send(get('/', host='weather.test'))
        equal(phone.read_message().body, b'a clown\n', 'the page')
        with net.inside('client'):
            quic = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with quic:
            if not routes:
                return note('the router cannot be made to route')
            quic.connect((net.server[4], 443))
            quic.settimeout(DEADLINE)
            quic.send(b'x')
            try:
                quic.recv(1)
                check(False, 'QUIC is not refused')
            except ConnectionRefusedError:
                pass


@test("DNS by us: the phone takes the router for the server")
def _():
    _, (_, *args) = lines(1)
    args = [w.replace('192.168.1.1', Net.router[4]).replace(
        '203.0.113.7', Net.server[4]) for w in args]
    with Net() as net, server(net) as origin:
        with net.inside('router'):
            proxy = Proxy(*args)
        with proxy:
            phone = net.connect(proxy, net.router[4], 443)
            phone.start_tls(client_context(proxy.ca), 'weather.test')
            phone.send(get('/', host='weather.test'))
            equal(phone.read_message().body, b'a clown\n', 'the page')


run()
