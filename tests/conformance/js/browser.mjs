// Drives the test page in headless Chromium with a fake microphone: records, navigates twice while recording, stops,
// plays what was stored. Prints what the page sent as JSON.
//
// node browser.mjs <path of Chromium> <port for the page> <url of the server> <user>

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, port, server, user] = process.argv.slice(2);
const files = {
  "/page.js": ["text/javascript", "page.js"],
  "/socket.io.js": ["text/javascript", "node_modules/socket.io-client-4.6/dist/socket.io.min.js"],
};
const pages = createServer((request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  const [type, file] = files[path] ?? ["text/html", "page.html"];
  response.writeHead(200, { "content-type": type }).end(readFileSync(file));
}).listen(Number(port), "127.0.0.1");

setTimeout(() => {
  console.error("the browser is still busy");
  process.exit(2);
}, 120_000).unref();

const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
  ],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  const visit = (path) =>
    page.goto(`http://localhost:${port}${path}?${new URLSearchParams({ server, user })}`);
  const shop = async () => {
    for (let at = 0; at < 10; at += 1) {
      await page.mouse.move(100 + at * 20, 200 + at * 5);
      await page.waitForTimeout(100);
    }
    await page.mouse.wheel(0, 400);
    await page.evaluate(() => scrollTo(0, 0));
    await page.click("#buy");
    await page.evaluate(() => document.body.append(document.createElement("p")));
    await page.waitForTimeout(600);
  };

  await visit("/first");
  await page.evaluate(() => begin());
  await shop();
  await page.evaluate(() => leave());
  await visit("/second");
  await shop();
  await page.evaluate(() => leave());
  await visit("/third");
  await shop();
  const sent = await page.evaluate(() => end());
  for (const url of sent.saved.audioUrls) await page.evaluate((url) => play(url), url);
  console.log(JSON.stringify(sent));
} finally {
  await browser.close();
  pages.close();
}
