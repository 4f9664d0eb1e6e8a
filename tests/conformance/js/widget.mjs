// A shop's page with the published widget's vocabulary: records, navigates while recording, stops. Prints what it sent
// as JSON: the counts of events by name, and the SHA-256 of each run of its recorder.
//
// node widget.mjs <module of the client> <url> <comma-separated transports, or "default"> <user>

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";

const [module, url, transports, user] = process.argv.slice(2);
const { io } = await import(module);
const options = transports === "default" ? {} : { transports: transports.split(",") };

setTimeout(() => {
  console.error("the page is still waiting");
  process.exit(2);
}, 50_000).unref();

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
const sent = { events: {}, runs: [] };
const count = (name) => (sent.events[name] = (sent.events[name] ?? 0) + 1);

const tell = (socket, name, data) => {
  socket.emit(name, { username: user, data });
  count(name);
};

// One run of a recorder: its first chunk is the container's header alone.
function recorder(socket) {
  const hash = createHash("sha256");
  let isFirst = true;
  return {
    chunk() {
      const bytes = isFirst ? Buffer.concat([Buffer.from("1a45dfa3", "hex"), randomBytes(200)]) : randomBytes(5_000);
      isFirst = false;
      hash.update(bytes);
      socket.emit("recording:start", { username: user, data: bytes });
    },
    done() {
      sent.runs.push(hash.digest("hex"));
    },
  };
}

async function page(index, isLast) {
  const socket = io(url, { ...options, forceNew: true });
  await once(socket, "connect");
  // Only the page where the microphone was granted says who it is.
  if (index === 0) socket.emit("user:connected", user);
  const run = recorder(socket);
  run.chunk();
  tell(socket, "videoStream:start", undefined);
  for (let at = 0; at < 20; at += 1) {
    tell(socket, "mouse:position", JSON.stringify({ x: at, y: index }));
    if (at % 4 === 0) run.chunk();
    if (at % 5 === 0) tell(socket, "scroll:position", JSON.stringify({ top: at }));
  }
  tell(socket, "click:event", JSON.stringify({ target: "button" }));
  tell(socket, "dom:mutation", JSON.stringify({ html: "x".repeat(27_000) }));
  const last = isLast ? once(socket, "audio:saved") : undefined;
  if (isLast) socket.emit("recording:end", user);
  // The recorder's last chunk, and a move, come after the end.
  run.chunk();
  run.done();
  if (isLast) tell(socket, "mouse:position", JSON.stringify({ late: true }));
  if (isLast) {
    [sent.saved] = await last;
  } else {
    // Whatever was emitted is on its way when the answer to the last message is there.
    await new Promise((resolve) => socket.emit("page:hidden", { username: user, data: index }, resolve));
    count("page:hidden");
  }
  socket.disconnect();
}

await page(0, false);
await page(1, false);
await page(2, true);
assert.equal(sent.runs.length, 3);
console.log(JSON.stringify(sent));
