// A real WebSocket server, and a real client that reaches it through a proxy:
//   node websocket-ws.js http|https PROXY_PORT PROXY_CA CERT KEY BYTES WORD
// Sends 10,000 messages and a large one of so many bytes, wants each back, the
// first ones with WORD in the place of 'message', and a clean close.
'use strict';
const [scheme, proxyPort, proxyCa, cert, key, bytes, word] =
  process.argv.slice(2);
const fs = require('fs'), http = require('http'), https = require('https');
const net = require('net'), tls = require('tls');
const WebSocket = require('ws');

const COUNT = 10000, LARGE = Number(bytes);
const secure = scheme === 'https';
const server = secure
  ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
  : http.createServer();
const sockets = new WebSocket.Server({ server, maxPayload: LARGE * 2,
                                       perMessageDeflate: true });

sockets.on('connection', (ws) => {
  ws.on('message', (data, binary) => ws.send(data, { binary }));
});

function fail(why) {
  console.log('failed: ' + why);
  process.exit(1);
}

function tunnel(port, done) {
  const ask = http.request({ port: proxyPort, method: 'CONNECT',
                             path: 'localhost:' + port });
  ask.on('connect', (answer, socket) => {
    if (answer.statusCode !== 200) fail('CONNECT: ' + answer.statusCode);
    if (!secure) return done(socket);
    const inner = tls.connect({ socket, servername: 'localhost',
                                ca: fs.readFileSync(proxyCa) },
                              () => done(inner));
    inner.on('error', fail);
  });
  ask.on('error', fail);
  ask.end();
}

server.listen(0, '127.0.0.1', () => {
  tunnel(server.address().port, (socket) => {
    const agent = new (secure ? https : http).Agent();
    agent.createConnection = () => socket;
    const ws = new WebSocket((secure ? 'wss' : 'ws') + '://localhost/chat',
                             { agent, maxPayload: LARGE * 2 });
    const large = Buffer.alloc(LARGE, 'x');
    let got = 0;

    ws.on('open', () => {
      for (let i = 0; i < COUNT; i++) ws.send('message ' + i);
      ws.send(large);
    });
    ws.on('message', (data, binary) => {
      const good = got < COUNT ? !binary && data.toString() === word + ' ' + got
                               : binary && large.equals(data);
      if (!good) fail('message ' + got + ': ' + data.toString().slice(0, 80));
      if (++got > COUNT) ws.close(4000, 'enough');
    });
    ws.on('close', (code) => {
      if (got !== COUNT + 1 || code !== 4000) fail(got + ' messages, ' + code);
      console.log('good');
      process.exit(0);
    });
    ws.on('error', fail);
  });
});
