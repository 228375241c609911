// The page in a browser, beside what the process says of itself: `page.mjs URL PID FOLDER`. Run by `.ci/page`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [url, pid, folder] = process.argv.slice(2);
const { chromium } = createRequire(process.env.PAGE_MODULES + "/")("playwright-core");

const SIZES = { desk: { width: 1440, height: 1000 }, phone: { width: 390, height: 844 } };
const SOON = 60_000;

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
  // Each word that each pool is called, from the first on.
  await page.addInitScript(() => {
    document.called = {};
    new MutationObserver(() => {
      for (const card of document.querySelectorAll("section.pool")) {
        const words = document.called[card.querySelector("h2").textContent] ||= [];
        const word = card.querySelector(".chip").textContent;
        if (word && !words.includes(word)) words.push(word);
      }
    }).observe(document, { subtree: true, childList: true, characterData: true });
  });
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

async function says(page, name, [word, text]) {
  await shows(page, `${name} as ${word}: ${text}`, ([name, word, text]) => [...document.querySelectorAll("section.pool")]
    .some(card => card.querySelector("h2").textContent === name && card.querySelector(".chip").textContent === word &&
      RegExp(text).test(card.querySelector(".verdict").textContent)), [name, word, text.source]);
}

async function tile(card, name, part = "dd span") {
  const tile = card.locator(".tile").filter({ has: card.page().locator("dt", { hasText: new RegExp(`^${name}$`) }) });
  return (await tile.locator(part).textContent()).trim();
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

// Whether it is healthy, saturated, the peer or the pool; and what is to be changed.
const hostile = there.find(pool => pool.name.includes("<script>")).name;
const verdicts = {
  sessions: ["Healthy", /^[0-3] of at most 10 are in use, and nobody waits\.$/],
  cache: ["Healthy", /^2 leases of 10 places are out, and nobody waits\.$/],
  catalog: ["Healthy", /^[0-2] calls? on 1 connection, which can carry 20, and nobody waits\.$/],
  orders: ["Saturated", /callers wait: all 8 connections are taken.*raise max_size from 8 to about \d+/],
  tickets: ["Saturated", /^3 callers wait: all 2 connections are taken, and [1-9]\d* have been turned away .*raise max_size from 2 to about 5,/],
  quotes: ["Saturated", /^3 calls wait: all 20 places are taken\..*raise max_connections from 1 to about 2,/],
  feeds: ["Dedicated full", /^3 callers wait for a connection of their own: all 2 dedicated connections are taken\.It is the pool's limit: raise max_dedicated_connections from 2 to about 5,/],
  ledger: ["Was short", /^[1-9]\d* gets? failed in the last minute, [1-9]\d* of them after waiting in vain\./],
  search: ["Growing", /^3 callers wait while 2 connections are being created, at 2 of at most 10\.Normal for a moment/],
  payments: ["Short: the peer", /^3 callers wait, with [2-4] of at most 10 connections, and new ones fail: .*too many connections\..*A larger pool would not help/],
  billing: ["Down: the peer", /refused.*a larger pool would not help/],
  [hostile]: ["Down: the peer", /<img src=x onerror=alert\(2\)>/],
  inventory: ["Part is down", /^1 of 3 endpoints cannot be connected to: 127\.0\.0\.1:\d+\..*take it out of the list\. The last attempt: .*refused/],
  stock: ["Part ejected", /^1 of 3 endpoints get no calls for a while, since they answer worse than the others: 127\.0\.0\.1:\d+\./],
  pricing: ["Calls fail", /^\d+\.\d % of the calls of the last minute have failed, most since the start with INVALID_ARGUMENT\./],
  exports: ["Leases are out for long", /^One has been held for \d+(\.\d)? s, taken at \S+things\.rs:\d+:\d+\.It is the holder/],
  mail: ["Connections break", /^\d+ connections broke or did not pass a check in the last minute\./],
  profiles: ["Names fail", /^The resolver fails: cannot list the servers of \S+: 403 Forbidden\. The endpoints of its last answer stay in use\./],
  cart: ["Busy", /^2 of at most 2 are in use: as many as can be, and nobody waits\..*raise the maximum/],
  audit: ["Idle", /^Nobody has used it lately; 1 connection is ready\.$/],
  archive: ["Closed", /^The pool was closed: it lends nothing any more\./],
  reports: ["Paused", /^The pool was paused by the program: .* 0 wait\..*resume\(\)/],
  import: ["Gone", /^This pool was dropped/],
  shop: ["Numbers", /^A source of the program's own/],
};
for (const [name, verdict] of Object.entries(verdicts)) await says(page, name, verdict);
// Of a pool whose card fails, which none does by itself.
const notShown = ["Not shown", /^The page cannot show what came of this pool: TypeError: .*It is a fault of the page/];
const known = [...(await page.locator("script").textContent()).matchAll(/word: "([^"]+)"/g)].map(([, word]) => word);
assert.deepEqual(known.filter(word => ![...Object.values(verdicts), notShown].some(([shown]) => shown === word)), [], "verdicts that no pool here has");

// The numbers are those of the process. What moves is compared by its bounds.
const orders = (await pools()).pools.find(pool => pool.name === "orders");
assert.equal(await tile(cardOf(page, "orders"), "In use"), String(orders.status.in_use));
assert.equal(await tile(cardOf(page, "orders"), "Connections"), String(orders.status.size));
const waiting = Number(await tile(cardOf(page, "orders"), "Waiting"));
assert.ok(waiting >= 0 && waiting <= 20, `${waiting} wait, of 20 callers`);
const perSecond = Number(await tile(cardOf(page, "orders"), "Gets"));
assert.ok(perSecond > 0 && perSecond <= 220, `${perSecond} gets a second, of 8 that are held for 40 ms`);

assert.equal(await tile(cardOf(page, "feeds"), "Dedicated", "dd"), "2 of 2, 3 wait");
assert.equal(await tile(cardOf(page, "catalog"), "Dedicated", "dd"), "0 of 10, 0 wait");

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

// The summary and readiness.
await shows(page, "how many are well", summary => document.getElementById("summary").textContent === summary,
  "25 pools: 4 in trouble, 13 to look at, 5 well, 3 out of use. The process is not ready.");

// Numbers of one's own, also how often something was of which size.
const numbers = await cardOf(page, "shop").locator("tbody tr").allTextContents();
assert.deepEqual(numbers.map(text => text.replace(/\s+/g, " ").trim()), ["shop_orders_shipped_total–42", "shop_packing_time_seconds–4, 1.6 s on average"]);

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

// Holders that take longer than before, which a larger pool would not help.
await says(page, "tokens", ["Saturated", /callers wait: all 2 connections are taken\.It is the peer, or what holders do: each is held for \d+ ms on average, and was for \d+ ms before\./]);

// None was called anything else meanwhile.
const called = await page.evaluate(() => document.called);
for (const name of ["sessions", "cache", "catalog", "search", "payments", "exports", "cart"]) {
  assert.deepEqual(called[name], [verdicts[name][0]], name);
}

// What the process says goes through this from now on.
let change = answer => answer;
await page.route("**/pools", async route => {
  const response = await route.fetch();
  await route.fulfill({ response, json: change(await response.json()) });
});

// A clock that is set back stops nothing.
change = answer => ({ ...answer, now: answer.now - 3600_000 });
const drawn = await page.evaluate(() => document.querySelector("section.pool svg path.area").getAttribute("d").match(/[\d.]+/g).length);
await shows(page, "what comes after its clock was set back", drawn => document.querySelector("section.pool svg path.area").getAttribute("d").match(/[\d.]+/g).length > drawn + 8, drawn);

// Of dedicated connections, those that are still being made, those that were wanted in vain, and those that are enough.
const ofCatalog = (status, counters) => answer => ({ ...answer, pools: answer.pools.map(pool => pool.name !== "catalog" ? pool : { ...pool, dedicated: {
  status: { ...pool.dedicated.status, ...status }, counters: { ...pool.dedicated.counters, ...counters } } }) });
change = ofCatalog({ size: 3, creating: 1, in_use: 2, waiting: 1 });
await says(page, "catalog", ["Growing", /^1 caller waits for a connection of its own while 1 connection is being created, at 3 of at most 10\./]);
change = ofCatalog({ size: 1, idle: 1 }, { gets_timeout: 4 });
await says(page, "catalog", ["Was short", /^4 callers waited in vain for a dedicated connection in the last minute\..*raise max_dedicated_connections from 10 to about 11,/]);
change = ofCatalog({ size: 10, in_use: 10, waiting: 2 }, { gets_timeout: 9 });
await says(page, "catalog", ["Dedicated full", /^2 callers wait .*, and 9 have been turned away in the last minute\./]);
change = ofCatalog({ size: 3, in_use: 3 });
await says(page, "catalog", ["Healthy", /^[0-2] calls? on 1 connection, which can carry 20, 3 dedicated connections are in use, and nobody waits\.$/]);

// A card that fails says so, is reported, and keeps no other from being shown.
const before = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll("section.pool")].filter(card => card.querySelector("path.area"))
  .map(card => [card.querySelector("h2").textContent, card.querySelector("path.area").getAttribute("d").match(/[\d.]+/g).length])));
change = answer => ({ ...answer, pools: answer.pools.map(pool => pool.name === "archive" ? { ...pool, events: [null] } : pool) });
await says(page, "archive", notShown);
for (const gone of ["archive", "import"]) delete before[gone];
assert.ok(Object.keys(before).length >= 20, Object.keys(before).join());
await shows(page, "the other cards", before => [...document.querySelectorAll("section.pool")].every(card => {
  const length = before[card.querySelector("h2").textContent];
  return length === undefined || card.querySelector("path.area").getAttribute("d").match(/[\d.]+/g).length > length;
}), before);
change = answer => answer;
await says(page, "archive", verdicts.archive);
const reported = complaints.splice(0);
assert.ok(reported.length > 0 && reported.every(text => /^desk light: TypeError/.test(text)), reported.join("\n"));

// A pool that is gone is forgotten after as long as charts reach back.
change = answer => ({ ...answer, uptime_ms: answer.uptime_ms + 400_000, pools: answer.pools.filter(pool => pool.name !== "audit") });
await says(page, "audit", ["Gone", /^This pool was dropped/]);
change = answer => ({ ...answer, uptime_ms: answer.uptime_ms + 800_000, pools: answer.pools.filter(pool => pool.name !== "audit") });
await shows(page, "no pool that is gone for long", () => ![...document.querySelectorAll("section.pool h2")].some(name => name.textContent === "audit"));

// A process that follows another one, with the same id as in a container, and the same numbers, is shown from its beginning.
const ofBefore = await cardOf(page, "orders").elementHandle();
change = answer => ({ ...answer, process: "1-another" });
await shows(page, "the process that follows", card => !card.isConnected, ofBefore);
await says(page, "orders", verdicts.orders);
await page.unroute("**/pools");

// What answers in its place is not taken for it.
for (const page of Object.values(pages)) page.stopped = true;
for (const [answer, text] of [[{ status: 503 }, "its address answers with HTTP 503"], [{ body: "<html>" }, "what answers at its address is something else"],
  [{ status: 404 }, "its address answers with HTTP 404"], [{ json: {} }, "what answers at its address is something else"]]) {
  await page.route("**/pools", route => route.fulfill(answer));
  await shows(page, text, text => document.body.className === "lost" && document.getElementById("banner").textContent.includes(`: ${text}.`), text);
  await page.unroute("**/pools");
}
await shows(page, "the process again", () => document.body.className === "live" && document.getElementById("banner").hidden);

// When the process has ended, the page says so.
process.kill(Number(pid));
await shows(page, "that the process is gone", () => !document.getElementById("banner").hidden && /has not answered since/.test(document.getElementById("banner").textContent));
await fits(page, "gone");
await page.screenshot({ path: `${folder}/gone.png` });

assert.deepEqual(complaints, []);
await browser.close();
console.log("the page shows what the process does, in light and dark, at a desk's width and a phone's");
