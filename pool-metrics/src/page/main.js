// Asks once a second, less often while nobody looks, and shows what has come.

const EVERY = 1000, HIDDEN = 10000, PATIENCE = 5000, MOST_GONE = 20;
const base = location.pathname.replace(/\/?$/, "/");
const at = id => document.getElementById(id);
const shown = new Map();
let stands = false, source = null, heard = null, timer = null, asking = false;

const OTHER = "what answers at its address is something else";
const REASONS = { AbortError: "it takes too long to answer", SyntaxError: OTHER };

async function ask() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  const control = new AbortController();
  const patience = setTimeout(() => control.abort(), PATIENCE);
  try {
    const response = await fetch(base + "pools", { signal: control.signal, cache: "no-store" });
    if (!response.ok) return lose("its address answers with HTTP " + response.status);
    const answer = await response.json();
    if (!Array.isArray(answer?.pools)) return lose(OTHER);
    // What goes wrong there is the page's own fault, and not the process's.
    attempt(() => take(answer));
  } catch (error) {
    lose(REASONS[error.name] || "it has ended, or cannot be reached");
  } finally {
    clearTimeout(patience);
    asking = false;
    next();
  }
}

function next() {
  clearTimeout(timer);
  if (!stands) timer = setTimeout(ask, document.hidden ? HIDDEN : EVERY);
}

// Does what may fail without keeping what follows from being done; answers with what went wrong.
function attempt(what) {
  try { what(); } catch (error) {
    reportError(error);
    return error;
  }
  return null;
}

function take(answer) {
  if (source !== null && source !== answer.process) {
    for (const card of shown.values()) remove(card);
    shown.clear();
  }
  source = answer.process;
  const there = new Set();
  for (const pool of answer.pools) {
    const key = pool.number + " " + pool.name;
    there.add(key);
    let card = shown.get(key);
    const wrong = attempt(() => {
      if (!card) shown.set(key, card = new Card(new History(pool)));
      card.history.gone = null;
      card.history.add(pool, answer);
    });
    if (card) card.wrong = wrong;
  }
  const now = answer.uptime_ms / 1000;
  for (const [key, card] of shown) if (!there.has(key)) card.history.gone ??= now;
  forget(now);
  show(now, answer.ready);
  heard = Date.now();
  document.body.className = "live";
  at("banner").hidden = true;
}

// Of pools that are gone the latest stay for as long as their charts would say something.
function forget(now) {
  const gone = [...shown].filter(([, card]) => card.history.gone !== null).sort(([, a], [, b]) => b.history.gone - a.history.gone);
  gone.forEach(([key, card], i) => {
    if (i < MOST_GONE && now - card.history.gone < WINDOW) return;
    remove(card);
    shown.delete(key);
  });
}

// The worst first; among those that are as well, by name.
const ORDER = ["bad", "warn", "busy", "ok", "off"];

function show(now, ready) {
  const all = [...shown.values()];
  for (const card of all) {
    card.wrong ??= attempt(() => card.show(now));
    if (card.wrong) card.fail(card.wrong);
  }
  all.sort((a, b) => (a.history.gone !== null) - (b.history.gone !== null) || (a.history.name < b.history.name ? -1 : 1));
  order(at("pools"), all.map(card => card.root));
  const bySeverity = [...all].sort((a, b) => ORDER.indexOf(a.level) - ORDER.indexOf(b.level));
  order(at("overview").firstElementChild, bySeverity.map(card => {
    card.item = card.item || make("li");
    if (!card.item.firstChild) card.item.append(card.link);
    return card.item;
  }));
  at("overview").hidden = all.length < 2;
  const of = (...levels) => all.filter(card => levels.includes(card.level)).length;
  const wrong = of("bad"), watch = of("warn");
  const words = !all.length ? "No pool is registered." :
    `${many(all.length, "pool")}: ` + ([wrong && `${wrong} in trouble`, watch && `${watch} to look at`, (of("ok", "busy")) && `${of("ok", "busy")} well`, of("off") && `${of("off")} out of use`].filter(Boolean).join(", ")) +
    `. The process is ${ready ? "" : "not "}ready.`;
  say(at("summary"), words);
  document.title = (wrong ? `✖ ${wrong} ` : watch ? `▲ ${watch} ` : "") + "Pools";
}

function order(parent, children) {
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] || null);
  });
}

function remove(card) {
  card.root.remove();
  if (card.item) card.item.remove();
}

function lose(why) {
  document.body.className = "lost";
  const since = heard === null ? "The process does not answer: " : `The process has not answered since ${ofDay(heard)}: `;
  say(at("banner"), since + why + (heard === null ? "." : ". What is shown below is from then."));
  at("banner").hidden = false;
  say(at("summary"), "Nothing is known of the pools now.");
  document.title = "✖ No answer – Pools";
}

setInterval(() => {
  const ago = heard === null ? null : (Date.now() - heard) / 1000;
  const lost = document.body.className === "lost";
  say(at("fresh"), ago === null ? "not yet" : ago < 1.5 && !stands && !lost ? "live" : `${Math.floor(ago)} s old`);
}, 500);

at("pause").addEventListener("click", () => {
  stands = !stands;
  at("pause").setAttribute("aria-pressed", String(stands));
  say(at("pause"), stands ? "Go on" : "Pause");
  if (stands) clearTimeout(timer); else ask();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !stands) ask(); });
if (base !== location.pathname) for (const link of document.querySelectorAll("footer a")) link.href = base + link.getAttribute("href");
ask();
