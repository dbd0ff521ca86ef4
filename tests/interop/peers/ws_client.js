// The ws package as a client: node ws_client.js URL [deflate]. Prints what it saw as JSON.
'use strict';
const { createHash } = require('node:crypto');
const WebSocket = require('ws');

const [url, mode] = process.argv.slice(2);
const seen = { messages: [] };
const big = Buffer.alloc(1024 * 1024, 'switchover ');
const sent = [['hello', false], ['grüße 🌍', false], [Buffer.from([0, 255, 1]), true], ['', false], [big, true]];
const connection = new WebSocket(url, ['echo.v1', 'echo.v2'], { perMessageDeflate: mode === 'deflate' });

connection.on('open', () => {
  seen.protocol = connection.protocol;
  seen.extensions = connection.extensions;
  for (const [data, binary] of sent) connection.send(data, { binary });
  connection.send('in ', { fin: false });
  connection.send('pieces', { fin: true });
  connection.ping('are you there');
});
connection.on('pong', (data) => { seen.pong = data.toString(); });
connection.on('message', (data, isBinary) => {
  seen.messages.push(isBinary ? createHash('sha256').update(data).digest('hex') : data.toString());
  if (seen.messages.length === sent.length + 1) setTimeout(() => connection.close(4000, 'enough'), seen.pong ? 0 : 200);
});
connection.on('close', (code, reason) => {
  seen.close = [code, reason.toString()];
  seen.expected = [sent[2][0], big].map((data) => createHash('sha256').update(data).digest('hex'));
  console.log(JSON.stringify(seen));
});
connection.on('error', (error) => { console.error(error); process.exit(1); });
