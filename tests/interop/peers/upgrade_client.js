// node's http and undici as clients of any token: node upgrade_client.js HOST PORT. Prints what it saw as JSON.
'use strict';
const http = require('node:http');
const { Client } = require('undici');

const [host, port] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const whole = (stream) => new Promise((resolve, reject) => {
  const pieces = [];
  stream.on('data', (piece) => pieces.push(piece));
  stream.on('end', () => resolve(Buffer.concat(pieces).toString('latin1')));
  stream.on('error', reject);
});

const offer = (path, token, options = {}) => new Promise((resolve, reject) => {
  const headers = { Connection: 'Upgrade', Upgrade: token };
  const request = http.request({ host, port, path, agent, headers, ...options });
  request.on('upgrade', (response, socket, head) => resolve({ response, socket, head }));
  request.on('response', (response) => resolve({ response }));
  request.on('error', reject);
  request.end(options.body);
});

const half = async ({ response, socket, head }) => {
  const all = whole(socket);
  if (head.length) socket.unshift(head);
  socket.write('first ');
  socket.end('and last');
  return { token: response.headers.upgrade, text: await all };
};

const main = async () => {
  const seen = { switched: await half(await offer('/shout', 'shout/1')) };
  const list = await offer('/shout', 'loud/9, shout/1');
  seen.list = await half(list);
  const declined = await offer('/plain', 'loud/9');
  seen.declined = { status: declined.response.statusCode, text: await whole(declined.response) };
  const posted = await offer('/body', 'loud/9', { method: 'POST', body: 'kept whole' });
  seen.posted = { status: posted.response.statusCode, text: await whole(posted.response) };

  const client = new Client(`http://${host}:${port}`);
  const { headers, socket } = await client.upgrade({ path: '/shout', protocol: 'shout/1' });
  seen.undici = await half({ response: { headers }, socket, head: Buffer.alloc(0) });
  await client.close();
  agent.destroy();
  console.log(JSON.stringify(seen));
};
main().catch((error) => { console.error(error); process.exit(1); });
