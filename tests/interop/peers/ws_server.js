// The ws package: /echo, /bye (closes with 4001), /refused (403 with a text). Argument "deflate" turns compression on.
'use strict';
const http = require('node:http');
const { WebSocketServer } = require('ws');

const server = http.createServer((request, response) => response.writeHead(404).end());
const wss = new WebSocketServer({
  noServer: true,
  perMessageDeflate: process.argv.includes('deflate') ? { threshold: 0 } : false,
  handleProtocols: (offered) => ['echo.v2', 'echo.v1'].find((name) => offered.has(name)) ?? false,
  maxPayload: 64 * 1024 * 1024,
});
server.on('upgrade', (request, socket, head) => {
  if (request.url === '/refused') {
    const text = 'not for you\n';
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`);
    return;
  }
  wss.handleUpgrade(request, socket, head, (connection) => {
    if (request.url === '/bye') connection.close(4001, 'go away');
    connection.on('message', (data, isBinary) => connection.send(data, { binary: isBinary }));
  });
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
