// What a page does with the stock client, against the echo application. Prints one line of JSON when all went well.
//
// node client.mjs <module of the client> <url> <comma-separated transports, or "default">

import assert from "node:assert/strict";

const [module, url, transports] = process.argv.slice(2);
const { io } = await import(module);
const options = transports === "default" ? {} : { transports: transports.split(",") };

setTimeout(() => {
  console.error("the client is still waiting");
  process.exit(2);
}, 30_000).unref();

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
const echoed = async (socket, ...args) => {
  const answer = once(socket, "message-back");
  socket.emit("message", ...args);
  return answer;
};

// A handshake with a payload, on the main namespace and another.
const socket = io(url, { ...options, auth: { token: "123" }, forceNew: true });
const [[auth]] = await Promise.all([once(socket, "auth"), once(socket, "connect")]);
assert.deepEqual(auth, { token: "123" });
assert.match(socket.id, /^[\w-]{16,}$/);

const custom = socket.io.socket("/custom", { auth: { token: "abc" } });
custom.connect();
assert.deepEqual(await once(custom, "auth"), [{ token: "abc" }]);

const random = socket.io.socket("/random", {});
random.connect();
const [refusal] = await once(random, "connect_error");
assert.equal(refusal.message, "Invalid namespace");

// Events and acknowledgements, with and without attachments.
const args = [1, "2", { 3: [true, null] }, "€\u001f"];
assert.deepEqual(await echoed(socket, ...args), args);
assert.deepEqual(await echoed(custom, ...args), args);
assert.deepEqual(await socket.emitWithAck?.("message-with-ack", "a") ?? "a", "a");
const acknowledged = await new Promise((resolve) => socket.emit("message-with-ack", ...args, (...back) => resolve(back)));
assert.deepEqual(acknowledged, args);

const attachments = [Buffer.from([1, 2, 3]), { deep: [Buffer.from([4, 5, 6])] }, Buffer.alloc(0)];
assert.deepEqual(await echoed(socket, ...attachments), attachments);
const binaryAck = await new Promise((resolve) =>
  socket.emit("message-with-ack", ...attachments, (...back) => resolve(back)),
);
assert.deepEqual(binaryAck, attachments);

const large = Buffer.from(Array.from({ length: 900_000 }, (_, at) => at % 251));
assert.deepEqual(await echoed(socket, large), [large]);

// A burst, which polling packs into payloads: everything once, in order.
const burst = new Promise((resolve) => {
  const seen = [];
  socket.on("message-back", (number) => {
    seen.push(number);
    if (seen.length === 2_000) resolve(seen);
  });
});
for (let number = 0; number < 2_000; number++) socket.emit("message", number);
assert.deepEqual(await burst, Array.from({ length: 2_000 }, (_, at) => at));
socket.removeAllListeners("message-back");

// The transport in the end, and a few heartbeats (300 ms each) to live through.
const expected = transports === "polling" ? "polling" : "websocket";
if (socket.io.engine.transport.name !== expected) await once(socket.io.engine, "upgrade");
assert.equal(socket.io.engine.transport.name, expected);
let pings = 0;
socket.io.on("ping", () => pings++);
while (pings < 3) await once(socket.io, "ping");
assert.deepEqual(await echoed(socket, "alive"), ["alive"]);

// The connection breaks; the client comes back by itself and goes on.
const disconnected = once(socket, "disconnect");
socket.io.engine.close();
await disconnected;
const reconnected = once(socket, "connect");
assert.deepEqual(await echoed(socket, "sent while away"), ["sent while away"]);
await reconnected;

custom.disconnect();
socket.disconnect();
assert.equal(socket.connected, false);
console.log(JSON.stringify({ client: module, transports, pings }));
process.exit(0);
