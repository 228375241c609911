// The page in a browser, beside what the process says of itself: `page.mjs URL PID FOLDER`. Run by `.ci/page`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [url, pid, folder] = process.argv.slice(2);
const { chromium } = createRequire(process.env.PAGE_MODULES + "/")("playwright-core");

const SIZES = { desk: { width: 1440, height: 1000 }, phone: { width: 390, height: 844 } };
const SOON = 20_000;

const browser = await chromium.launch({
  executablePath: process.env.PAGE_BROWSER,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

const complaints = [];

async function open(size, scheme) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme });
  const page = await context.newPage();
  const name = `${size} ${scheme}`;
  page.on("console", message => {
    // What a refused request leaves there once the process has been stopped is the browser's own.
    if (["error", "warning"].includes(message.type()) && !page.stopped) complaints.push(`${name}: ${message.text()}`);
  });
  page.on("pageerror", error => complaints.push(`${name}: ${error}`));
  page.on("dialog", dialog => { complaints.push(`${name}: a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", request => {
    if (!request.url().startsWith(url) && request.url() !== "data:,") complaints.push(`${name}: asked for ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

const pools = async () => (await fetch(url + "pools")).json();
const cardOf = (page, name) => page.locator("section.pool").filter({ has: page.locator("h2", { hasText: new RegExp(`^${name}$`) }) });

// Waits until the page shows it: `look` is run in the page, over and over.
async function shows(page, what, look, argument) {
  await page.waitForFunction(look, argument, { timeout: SOON }).catch(async error => {
    await page.screenshot({ path: `${folder}/failed.png` });
    assert.fail([`the page does not show ${what}`, error.message, ...complaints].join("\n"));
  });
}

async function wordOf(page, name, word) {
  await shows(page, `${name} as ${word}`, ([name, word]) => [...document.querySelectorAll("section.pool")]
    .some(card => card.querySelector("h2").textContent === name && card.querySelector(".chip").textContent === word), [name, word]);
}

async function tile(card, name) {
  const tile = card.locator(".tile").filter({ has: card.page().locator("dt", { hasText: new RegExp(`^${name}$`) }) });
  return (await tile.locator("dd span").textContent()).trim();
}

async function fits(page, name) {
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(widths[0] <= widths[1], `${name}: the page is ${widths[0]} wide, the window ${widths[1]}`);
}

const pages = {};
for (const size of Object.keys(SIZES)) {
  for (const scheme of ["light", "dark"]) pages[`${size}-${scheme}`] = await open(size, scheme);
}
const page = pages["desk-light"];

// Every pool is there, by its name as it is.
const { pools: there } = await pools();
await shows(page, "a card for each pool", names => {
  const shown = [...document.querySelectorAll("section.pool h2")].map(name => name.textContent);
  return names.every(name => shown.includes(name));
}, there.map(pool => pool.name));

// Whether it is healthy, saturated, the peer or the pool.
const hostile = there.find(pool => pool.name.includes("<script>")).name;
for (const [name, word] of [["orders", "Saturated"], ["sessions", "Healthy"], ["billing", "Down: the peer"], [hostile, "Down: the peer"],
  ["inventory", "Part is down"], ["archive", "Closed"], ["reports", "Paused"], ["shop", "Numbers"]]) {
  await wordOf(page, name, word);
}
const advice = await cardOf(page, "orders").locator(".verdict").textContent();
assert.match(advice, /callers wait: all 8 connections are taken.*raise max_size from 8 to about \d+/);
assert.match(await cardOf(page, "billing").locator(".verdict").textContent(), /refused.*a larger pool would not help/i);

// The numbers are those of the process. What moves is compared by its bounds.
const orders = (await pools()).pools.find(pool => pool.name === "orders");
assert.equal(await tile(cardOf(page, "orders"), "In use"), String(orders.status.in_use));
assert.equal(await tile(cardOf(page, "orders"), "Connections"), String(orders.status.size));
const waiting = Number(await tile(cardOf(page, "orders"), "Waiting"));
assert.ok(waiting >= 0 && waiting <= 20, `${waiting} wait, of 20 callers`);
const perSecond = Number(await tile(cardOf(page, "orders"), "Gets"));
assert.ok(perSecond > 0 && perSecond <= 220, `${perSecond} gets a second, of 8 that are held for 40 ms`);

// Connections and endpoints of the gRPC pool.
const inventory = (await pools()).pools.find(pool => pool.name === "inventory");
const tables = cardOf(page, "inventory").locator("table");
for (const endpoint of inventory.endpoints) {
  const row = tables.nth(1).locator("tbody tr").filter({ hasText: endpoint.address });
  assert.equal(await row.count(), 1, endpoint.address);
}
const states = await tables.nth(1).locator(".state").allTextContents();
assert.deepEqual(states.sort(), ["failing", "ready", "ready"]);
assert.equal(await tables.nth(0).locator("tbody tr").filter({ hasText: /ready/ }).count() >= 2, true);
assert.match(await tables.nth(0).locator("tbody tr").first().textContent(), /\d+ of 20/);

// Events with their reasons, and the filter.
const events = cardOf(page, "orders").locator(".events");
await shows(page, "why a resource ended", () => [...document.querySelectorAll(".events .text")].some(text => /its holder said that it is no good/.test(text.textContent)));
await cardOf(page, "billing").getByLabel("only what is wrong").check();
const wrong = await cardOf(page, "billing").locator(".events .text").allTextContents();
assert.ok(wrong.length > 0 && wrong.every(text => /could not be created|TRANSIENT_FAILURE/.test(text)), wrong.join("\n"));
assert.ok(await events.locator("li").count() > 3);

// What somebody else wrote is text.
assert.match(await cardOf(page, "billing").locator("h2").textContent(), /billing/);
assert.equal(await page.locator("main script, main img, main b b, h2 *").count(), 0);
const card = page.locator("section.pool").filter({ hasText: "alert(1)" });
assert.match(await card.locator(".verdict").textContent(), /<img src=x onerror=alert\(2\)>/);

// Charts are drawn and say in words what they show.
const chart = cardOf(page, "orders").locator("svg").first();
assert.match(await chart.getAttribute("aria-label"), /Connections over the last [^;]+; now: in use 8, idle 0, creating 0, maximum 8/);
await shows(page, "a line", () => document.querySelector("section.pool svg path.area").getAttribute("d").length > 40);
await chart.focus();
await page.keyboard.press("ArrowLeft");
assert.match(await chart.getAttribute("aria-label"), /there: /);
await chart.blur();

// All of it can be reached from the keyboard, in order.
await page.keyboard.press("Tab");

// A pool that is dropped is said to be gone.
await wordOf(page, "import", "Gone");

// The summary and readiness.
const summary = await page.locator("#summary").textContent();
assert.match(summary, /^9 pools: 2 in trouble, 3 to look at, 1 well, 3 out of use\. The process is not ready\.$/);

// A few seconds of history for the pictures.
await shows(page, "a history", () => document.querySelectorAll("section.pool").length > 0 && (document.body.dataset.begun ||= Date.now()) < Date.now() - 14_000);

for (const [name, page] of Object.entries(pages)) {
  await page.bringToFront();
  await shows(page, "live", () => document.body.className === "live");
  await fits(page, name);
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.screenshot({ path: `${folder}/${name}.png` });
  await page.screenshot({ path: `${folder}/${name}-all.png`, fullPage: true });
  for (const pool of ["orders", "inventory"]) await cardOf(page, pool).screenshot({ path: `${folder}/${name}-${pool}.png` });
}
const [light, dark] = await Promise.all(["desk-light", "desk-dark"].map(name => pages[name].evaluate(() => getComputedStyle(document.body).backgroundColor)));
assert.notEqual(light, dark);

// It can be stopped, and goes on.
await page.bringToFront();
const pause = page.getByRole("button", { name: "Pause" });
await pause.focus();
await page.keyboard.press("Enter");
await shows(page, "that it stands", () => /s old/.test(document.getElementById("fresh").textContent));
await page.getByRole("button", { name: "Go on" }).click();
await shows(page, "that it goes on", () => document.getElementById("fresh").textContent === "live");

// When the process has ended, the page says so.
for (const page of Object.values(pages)) page.stopped = true;
process.kill(Number(pid));
await shows(page, "that the process is gone", () => !document.getElementById("banner").hidden && /has not answered since/.test(document.getElementById("banner").textContent));
await fits(page, "gone");
await page.screenshot({ path: `${folder}/gone.png` });

assert.deepEqual(complaints, []);
await browser.close();
console.log("the page shows what the process does, in light and dark, at a desk's width and a phone's");
