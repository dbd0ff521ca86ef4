// An http server with an `upgrade` event and tokens of its own.
//
// /shout   101 for the first offered of shout/1 and shout/2; octets glued to the 101, then an upper-casing echo that
//          honours half-close: what is left goes out before the end
// /hints   103 Early Hints first, then the same
// /wrong   101 with a token that was not offered
// /plain   an ordinary answer to an offer, on a connection that stays
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  let size = 0;
  request.on('data', (piece) => { size += piece.length; });
  request.on('end', () => response.end(`ordinary ${request.method} ${size}`));
});
server.on('upgrade', (request, socket, head) => {
  const path = request.url;
  const offered = request.headers.upgrade.split(',').map((token) => token.trim());
  if (path === '/plain') {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ndeclined');
    return;
  }
  const token = path === '/wrong' ? 'quiet/1' : offered.find((one) => ['shout/1', 'shout/2'].includes(one));
  const hints = path === '/hints' ? 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n' : '';
  socket.write(`${hints}HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${token}\r\nConnection: Upgrade\r\n\r\nglued `);
  const shout = (data) => socket.write(data.toString('latin1').toUpperCase(), 'latin1');
  if (head.length) shout(head);
  socket.on('data', shout);
  socket.on('end', () => socket.end('the end'));
  socket.on('error', () => {});
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
