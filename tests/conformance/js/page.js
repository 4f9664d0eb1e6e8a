// The published widget's vocabulary, in a real page with a real recorder. The tab's memory (sessionStorage) holds what
// was sent, over navigations, for the test to compare.

const query = new URLSearchParams(location.search);
const user = query.get("user");
const socket = io(query.get("server"));
const tally = JSON.parse(sessionStorage.getItem("tally") ?? '{"events":{},"runs":[],"isRecording":false}');
const keep = () => sessionStorage.setItem("tally", JSON.stringify(tally));
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

let recorder;
let chunks = [];
let isLeaving = false;
let queue = Promise.resolve();

const tell = (name, data) => {
  if (!tally.isRecording || isLeaving) return;
  socket.emit(name, { username: user, data });
  tally.events[name] = (tally.events[name] ?? 0) + 1;
};

async function record() {
  tally.isRecording = true;
  document.querySelector("#state").textContent = "recording";
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = ({ data }) => {
    // One after the other: reading a blob takes as long as it takes.
    queue = queue.then(async () => {
      const bytes = await data.arrayBuffer();
      if (bytes.byteLength === 0 || isLeaving) return;
      chunks.push(new Uint8Array(bytes));
      socket.emit("recording:start", { username: user, data: bytes });
    });
  };
  recorder.start(250);
}

async function closeRun() {
  const whole = new Uint8Array(await new Blob(chunks).arrayBuffer());
  tally.runs.push({ bytes: whole.length, sha256: hex(await crypto.subtle.digest("SHA-256", whole)) });
  chunks = [];
}

// What the test calls.
window.begin = async () => {
  socket.emit("user:connected", user);
  await record();
};

// Leaves the page while its recorder runs: from here on nothing more is sent, and all that was is on the server.
window.leave = async () => {
  await queue;
  isLeaving = true;
  await closeRun();
  await new Promise((resolve) => socket.emit("page:hidden", { username: user, data: location.pathname }, resolve));
  tally.events["page:hidden"] = (tally.events["page:hidden"] ?? 0) + 1;
  keep();
};

window.end = async () => {
  const saved = new Promise((resolve) => socket.once("audio:saved", resolve));
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  socket.emit("recording:end", user);
  recorder.stop(); // Its last chunk comes after the end.
  await stopped;
  await queue;
  await closeRun();
  document.querySelector("#state").textContent = "saved";
  return { events: tally.events, runs: tally.runs, saved: await saved };
};

window.play = async (url) => {
  const audio = new Audio(url);
  await new Promise((resolve, reject) => {
    audio.ontimeupdate = () => audio.currentTime > 0 && resolve();
    audio.onerror = () => reject(new Error(`does not play: ${audio.error.message}`));
    audio.play().catch(reject);
  });
  audio.pause();
};

addEventListener("mousemove", ({ clientX, clientY }) => tell("mouse:position", JSON.stringify({ x: clientX, y: clientY })));
addEventListener("scroll", () => tell("scroll:position", JSON.stringify({ top: scrollY })));
addEventListener("click", ({ target }) => tell("click:event", JSON.stringify({ target: target.id })));
new MutationObserver((mutations) => tell("dom:mutation", JSON.stringify({ changes: mutations.length }))).observe(
  document.body,
  { childList: true, subtree: true, characterData: true },
);

// The next page goes on recording by itself, and never says who it is for.
if (tally.isRecording) record();
