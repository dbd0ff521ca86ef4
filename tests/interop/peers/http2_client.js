// node's http2 as a client over TLS: node http2_client.js HOST PORT. Prints what it saw as JSON.
// A WebSocket over an extended CONNECT (RFC 8441), frames made by hand, and a request beside it.
'use strict';
const http2 = require('node:http2');

const [host, port] = process.argv.slice(2);
const session = http2.connect(`https://${host}:${port}`, { rejectUnauthorized: false });

const whole = (stream) => new Promise((resolve, reject) => {
  const pieces = [];
  stream.on('data', (piece) => pieces.push(piece));
  stream.on('end', () => resolve(Buffer.concat(pieces)));
  stream.on('error', reject);
});

const request = async (headers, body) => {
  const stream = session.request(headers);
  const answered = new Promise((resolve) => stream.on('response', resolve));
  stream.end(body);
  const content = await whole(stream);
  return { status: (await answered)[':status'], content: content.toString('latin1') };
};

const websocket = () => new Promise((resolve, reject) => {
  const stream = session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/echo',
    'sec-websocket-version': '13', 'sec-websocket-protocol': 'echo.v1',
  }, { endStream: false });
  let status, subprotocol, received = Buffer.alloc(0);
  stream.on('response', (headers) => {
    status = headers[':status'];
    subprotocol = headers['sec-websocket-protocol'];
    stream.write(Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from('hello')]));
  });
  stream.on('data', (piece) => {
    received = Buffer.concat([received, piece]);
    if (received.length === 7) stream.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
    if (received.length >= 11) stream.end();
  });
  stream.on('end', () => resolve({ status, subprotocol, received: received.toString('hex') }));
  stream.on('error', reject);
});

session.on('error', (error) => { console.error(error); process.exit(1); });
session.once('remoteSettings', async (settings) => {
  const seen = { allowed: settings.enableConnectProtocol };
  const both = await Promise.all([
    websocket(), request({ ':method': 'POST', ':path': '/body' }, 'beside it'),
  ]);
  [seen.websocket, seen.posted] = both;
  session.close();
  console.log(JSON.stringify(seen));
});
