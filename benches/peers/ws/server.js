// npm ws with its defaults: `/echo` sends a message back, `/pub` sends it to every client of that path.
import { createServer } from 'node:http';
import { WebSocketServer, WebSocket } from 'ws';

const port = Number(process.argv[2]);
const options = { noServer: true, perMessageDeflate: false, clientTracking: true };
const echo = new WebSocketServer(options);
const pub = new WebSocketServer(options);

echo.on('connection', (client) => {
  client.on('message', (data, binary) => client.send(data, { binary }));
  client.on('error', () => client.terminate());
});
pub.on('connection', (client) => {
  client.on('message', (data, binary) => {
    for (const other of pub.clients) if (other.readyState === WebSocket.OPEN) other.send(data, { binary });
  });
  client.on('error', () => client.terminate());
});

const server = createServer((_, response) => response.writeHead(404).end());
server.on('upgrade', (request, socket, head) => {
  const endpoint = { '/echo': echo, '/pub': pub }[request.url];
  if (!endpoint) return socket.destroy();
  socket.setNoDelay(true);
  endpoint.handleUpgrade(request, socket, head, (client) => endpoint.emit('connection', client));
});
server.listen(port, '127.0.0.1', 4096, () => console.log(`listening on 127.0.0.1:${port}`));
