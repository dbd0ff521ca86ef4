// The ws package on node. NODE_PATH tells where it is installed.
'use strict';
const { readFileSync } = require('node:fs');
const { parseArgs } = require('node:util');
const { WebSocketServer, WebSocket } = require('ws');

const { values } = parseArgs({
  options: {
    deflate: { type: 'boolean', default: false },
    certificate: { type: 'string' },
    key: { type: 'string' },
  },
});
const options = values.certificate
  ? { cert: readFileSync(values.certificate), key: readFileSync(values.key) }
  : {};
const server = require(values.certificate ? 'node:https' : 'node:http').createServer(options);
const wss = new WebSocketServer({
  server,
  perMessageDeflate: values.deflate ? { threshold: 0 } : false,
  maxPayload: 16 * 1024 * 1024,
});
wss.on('connection', (connection, request) => {
  if (request.url === '/broadcast') {
    connection.on('message', (data, isBinary) => {
      for (const other of wss.clients) {
        if (other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary });
      }
    });
  } else {
    connection.on('message', (data, isBinary) => connection.send(data, { binary: isBinary }));
  }
  connection.on('error', () => {});
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => console.log(`ready ${server.address().port}`));
