#!/usr/bin/env python3
"""nginx as the server: its TLS, its chunks, its compression, its ranges."""
import gzip
from mitm import *


@contextlib.contextmanager
def nginx():
    program = need('nginx')
    root = scratch('nginx')
    os.makedirs(root + '/www')
    with open(root + '/www/page.html', 'w') as f:
        f.write('<p>hello world</p>\n' * 500)
    port = free_port()
    config = scratch('nginx.conf', '''
        daemon off; master_process off; pid %(root)s/pid;
        error_log stderr notice;
        events {}
        http {
            access_log off; gzip on; gzip_types text/html; gzip_proxied any;
            client_body_temp_path %(root)s/t1; proxy_temp_path %(root)s/t2;
            fastcgi_temp_path %(root)s/t3; uwsgi_temp_path %(root)s/t4;
            scgi_temp_path %(root)s/t5;
            server {
                listen 127.0.0.1:%(port)d ssl; server_name localhost;
                ssl_certificate %(leaf)s; ssl_certificate_key %(leaf)s;
                root %(root)s/www; default_type text/html;
            }
        }''' % dict(root=root, port=port, leaf=make_leaf()))
    with running(program, '-p', root, '-c', config, '-e', 'stderr',
                 ready='start worker|using the "'):
        def up():
            with contextlib.suppress(OSError):
                socket.create_connection(('127.0.0.1', port), 1).close()
                return True
        wait_for(up, 'nginx listening')
        yield 'https://localhost:%d/' % port


PAGE = b'<p>hello world</p>\n' * 500


@test('pages, compressed and not, a range, several on one connection')
def _():
    with nginx() as url, Proxy() as proxy:
        url += 'page.html'
        equal(proxy.curl(url, url), PAGE * 2, 'twice')
        equal(gzip.decompress(proxy.curl('-H', 'Accept-Encoding: gzip', url)),
              PAGE, 'compressed')
        equal(proxy.curl('-r', '3-7', url), b'hello', 'a range')
        like(proxy.curl('-I', url), rb'^HTTP/1\.1 200 Conn|HTTP/1\.1 200 OK',
             'HEAD')


@test('sed on a page that would have come compressed')
def _():
    with nginx() as url, \
            Proxy('--response', 'sed s/world/everybody/') as proxy:
        equal(proxy.curl('--compressed', url + 'page.html'),
              PAGE.replace(b'world', b'everybody'), 'the page')


run()
