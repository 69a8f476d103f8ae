// npm ws against a running server: node ws_client.mjs <http or https URL>. Ends with 0 when every pattern did what it should.
import assert from "node:assert/strict";
import WebSocket from "ws";

const base = process.argv[2];
const options = { handshakeTimeout: 10_000 };
setTimeout(() => assert.fail("nothing came in time"), 20_000).unref();

async function create(pattern, members = {}) {
  const response = await fetch(`${base}/channels`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ pattern, ...members }),
  });
  assert.equal(response.status, 201);
  return response.json();
}

/** A client with its messages as a queue. */
async function join({ data, token }, protocols = []) {
  const url = `${base.replace("http", "ws")}/channels/${data.id}/connect${protocols.length ? "" : `?token=${token}`}`;
  const socket = new WebSocket(url, protocols, options);
  const got = [];
  const waiting = [];
  let id;
  socket.on("upgrade", (response) => { id = response.headers["wrs-client-id"]; });
  socket.on("message", (bytes, isBinary) => {
    const message = isBinary ? bytes : bytes.toString();
    if (waiting.length) waiting.shift()(message); else got.push(message);
  });
  const closed = new Promise((resolve) => socket.on("close", (code) => resolve(code)));
  await new Promise((resolve, reject) => { socket.on("open", resolve); socket.on("error", reject); });
  const next = () => (got.length ? Promise.resolve(got.shift()) : new Promise((resolve) => waiting.push(resolve)));
  return { socket, next, closed, id };
}

const echo = await join(await create("echo"));
echo.socket.send("text");
assert.equal(await echo.next(), "text");
echo.socket.send(Buffer.from([0, 255]));
assert.deepEqual(await echo.next(), Buffer.from([0, 255]));
echo.socket.send("x".repeat(300_000));
assert.equal((await echo.next()).length, 300_000);
const pong = new Promise((resolve) => echo.socket.on("pong", (bytes) => resolve(bytes.toString())));
echo.socket.ping("are you there?");
assert.equal(await pong, "are you there?");
echo.socket.close(4000, "enough");
assert.equal(await echo.closed, 4000);

const all = await create("pub-sub");
const subscribers = [await join(all), await join(all, ["chat", `wrs.token.${all.token}`]), await join(all)];
assert.equal(subscribers[1].socket.protocol, "chat");
subscribers[0].socket.send("to all");
for (const subscriber of subscribers) assert.equal(await subscriber.next(), "to all");

const work = await create("push-pull");
const [sender, one, two] = [await join(work), await join(work), await join(work)];
for (let number = 0; number < 20; number += 1) sender.socket.send(`${number}`);
for (let number = 0; number < 20; number += 1) assert.equal(await (number % 2 ? two : one).next(), `${number}`);

for (const pattern of ["req-repl", "fan-in-out"]) {
  const channel = await create(pattern);
  const [asker, worker] = [await join(channel), await join(channel)];
  asker.socket.send(JSON.stringify({ type: "request", question: pattern }));
  const request = JSON.parse(await worker.next());
  assert.deepEqual(request, { origin: asker.id, type: "request", question: pattern });
  worker.socket.send(JSON.stringify({ type: "reply", origin: request.origin, answer: 42 }));
  assert.equal(JSON.parse(await asker.next()).answer, 42);
}

const deleted = await fetch(`${base}/channels/${all.data.id}`, { method: "DELETE" });
assert.equal(deleted.status, 200);
for (const subscriber of subscribers) assert.equal(await subscriber.closed, 4404);

const status = await new Promise((resolve, reject) => {
  const refused = new WebSocket(`${base.replace("http", "ws")}/channels/${work.data.id}/connect?token=wrong`, options);
  refused.on("unexpected-response", (_, response) => resolve(response.statusCode));
  refused.on("open", () => reject(new Error("let in with a wrong token")));
});
assert.equal(status, 401);
process.exit(0);
