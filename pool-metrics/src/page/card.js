// One pool on the page.

let cards = 0;

class Card {
  constructor(history) {
    this.history = history;
    const { kind } = history;
    const id = "pool-" + cards++;
    this.root = make("section", "pool");
    this.root.id = id;
    this.root.setAttribute("aria-labelledby", id + "-name");
    const top = make("div", "top");
    const name = make("h2", "", history.name);
    name.id = id + "-name";
    this.chip = make("span", "chip");
    top.append(name, this.chip, make("span", "kind", KINDS[kind] || kind));
    this.verdict = make("div", "verdict");
    this.what = make("p", "what");
    this.todo = make("p", "todo");
    this.verdict.append(this.what, this.todo);
    this.tiles = make("dl", "tiles");
    this.root.append(top, this.verdict, this.tiles);
    this.charts = kind === "other" ? [] : charts(kind, Boolean(history.first.wait));
    if (this.charts.length) {
      const all = make("div", "charts");
      all.append(...this.charts.map(chart => chart.root));
      this.root.append(all);
    }
    this.blocks = make("div", "blocks");
    const left = make("div", "block");
    if (kind === "grpc") {
      this.connections = block(left, "Connections", ["Id", "Endpoint", "State", "Calls", "Age"]);
      this.endpoints = block(left, "Endpoints", ["Endpoint", "State", "Share", "Ready", "What is the matter"]);
      this.blocks.classList.add("two");
    }
    if (kind === "other") this.numbers = block(left, "Numbers", ["Name", "Label", "Value"]);
    if (left.childElementCount) this.blocks.append(left);
    if (kind !== "other") this.blocks.append(this.eventBlock(id));
    this.root.append(this.blocks);
    this.link = make("a");
    this.link.href = "#" + id;
    this.linkChip = make("span", "chip");
    this.link.append(make("span", "name", history.name), this.linkChip);
  }

  eventBlock(id) {
    const events = make("div", "block");
    const tools = make("div", "tools");
    const title = make("h3", "", "Latest events");
    title.id = id + "-events";
    const label = make("label");
    this.only = make("input");
    this.only.type = "checkbox";
    this.only.addEventListener("change", () => this.showEvents());
    label.append(this.only, "only what is wrong");
    tools.append(title, label);
    this.events = make("ol", "events scroll");
    this.events.setAttribute("aria-labelledby", title.id);
    this.events.tabIndex = 0;
    events.append(tools, this.events);
    return events;
  }

  show(now) {
    const { history } = this, { pool } = history;
    this.judge(verdict(history));
    this.showTiles(pool);
    for (const chart of this.charts) chart.draw(history.points, now);
    if (this.connections) {
      fill(this.connections, pool.connections.map(connectionRow), pool.connections_left_out, "No connection.");
      fill(this.endpoints, pool.endpoints.map(endpointRow), pool.endpoints_left_out, "No endpoint.");
    }
    if (this.numbers) fill(this.numbers, pool.numbers.map(numberRow), 0, "No numbers.");
    if (this.events) this.showEvents();
  }

  judge({ level, word, what, todo }) {
    this.level = level;
    for (const element of [this.root, this.link]) element.className = (element === this.root ? "pool " : "") + level;
    this.verdict.className = "verdict " + level;
    say(this.chip, word);
    say(this.linkChip, word);
    say(this.what, what);
    say(this.todo, todo);
  }

  // What is below it may be from before.
  fail(error) {
    this.judge({
      level: "warn", word: "Not shown",
      what: `The page cannot show what came of this pool: ${error}.`,
      todo: "It is a fault of the page, and says nothing of the pool: see /metrics for its numbers.",
    });
  }

  showTiles(pool) {
    const tiles = pool.status ? tileList(this.history, pool, pool.status) : [];
    while (this.tiles.childElementCount > tiles.length) this.tiles.lastChild.remove();
    tiles.forEach(([name, value, small, alarm], i) => {
      let tile = this.tiles.children[i];
      if (!tile) {
        tile = make("div", "tile");
        const number = make("dd");
        number.append(make("span"), " ", make("small"));
        tile.append(make("dt"), number);
        this.tiles.append(tile);
      }
      tile.classList.toggle("alarm", Boolean(alarm));
      say(tile.firstChild, name);
      say(tile.querySelector("span"), value);
      say(tile.querySelector("small"), small || "");
    });
  }

  showEvents() {
    // That a creation was decided says what that it was begun says.
    const shown = this.history.latest().filter(event => event.kind !== "create_started")
      .filter(event => !this.only.checked || event.level !== "info").slice(0, 100);
    const key = shown.map(event => event.from + event.number).join() + this.only.checked;
    if (key === this.eventsKey) return;
    this.eventsKey = key;
    this.events.replaceChildren(...shown.map(eventRow));
    if (!shown.length) this.events.append(make("li", "none", "None yet."));
  }
}

const KINDS = {
  exclusive: "exclusive: a resource has one holder",
  shared: "shared: a resource has several holders",
  grpc: "gRPC: calls share connections",
  other: "the program's own numbers",
};

function charts(kind, timed) {
  const states = [
    { key: "lent", label: "in use", look: "used", stacked: true },
    { key: "idle", label: "idle", look: "idle", stacked: true },
    { key: "creating", label: kind === "grpc" ? "connecting" : "creating", look: "creating", stacked: true },
  ];
  if (kind !== "exclusive") states.push({ key: "draining", label: "draining", look: "draining", stacked: true });
  states.push({ key: "max", label: "maximum", look: "limit" });
  const made = [new Chart("Connections", figure, states)];
  if (kind !== "exclusive") made.push(new Chart(kind === "grpc" ? "Calls on connections" : "Leases", figure, [
    { key: "in_use", label: kind === "grpc" ? "calls" : "leases", look: "used", stacked: true },
    { key: "waiting", label: "waiting", look: "waiting", stacked: true },
    { key: "places", label: kind === "grpc" ? "streams there are" : "places", look: "limit" },
  ]));
  else made.push(new Chart("Callers that wait", figure, [{ key: "waiting", label: "waiting", look: "waiting", stacked: true }]));
  made.push(new Chart(kind === "grpc" ? "Calls per second" : "Gets per second", figure, [
    { key: "ok", label: "ok", look: "good" },
    { key: "failed", label: "failed", look: "fail" },
    { key: "waits", label: "had to wait", look: "waiting" },
  ]));
  made.push(new Chart("Time waited, by those that had to wait", seconds, timed ? [
    { key: "p50", label: "median", look: "p50" }, { key: "p99", label: "99th percentile", look: "p99" },
  ] : [{ key: "mean", label: "mean, estimated", look: "p50" }]));
  return made;
}

function tileList(history, pool, status) {
  const grpc = pool.kind === "grpc", last = history.last();
  const failed = history.grown("failed", RECENT);
  const tiles = [
    ["In use", figure(status.in_use), "of " + figure(pool.kind === "exclusive" ? status.max_size : status.places)],
    ["Connections", figure(status.size), "of " + figure(status.max_size)],
    ["Idle", figure(status.idle), status.min_size ? "min " + figure(status.min_size) : ""],
    [grpc ? "Connecting" : "Creating", figure(status.creating), ""],
    ["Waiting", figure(status.waiting), "", status.waiting > 0 && history.mean("waiting", 4) >= 0.5],
    [grpc ? "Calls" : "Gets", figure(last.ok), "/s"],
    ["Failed", figure(failed), "in 60 s", failed > 0],
  ];
  if (pool.wait) tiles.push(
    ["Wait, median", seconds(history.wait(0.5, RECENT)), ""],
    ["Wait, 99th", seconds(history.wait(0.99, RECENT)), ""],
  );
  else tiles.push(["Wait, mean", seconds(history.meanWait(RECENT)), ""]);
  if (pool.dedicated) tiles.push(dedicatedTile(pool.dedicated.status, history));
  if (grpc) tiles.unshift(["State", stateWord(pool.state), "", pool.state === "transient_failure"]);
  return tiles;
}

// Of the connections that carry one call at a time.
function dedicatedTile({ in_use, max_size, waiting }, history) {
  const small = `of ${figure(max_size)}, ${waiting === 1 ? "1 waits" : figure(waiting) + " wait"}`;
  return ["Dedicated", figure(in_use), small, waiting > 0 && history.mean("dedicated_waiting", 4) >= 0.5];
}

// What a narrow screen has no room for.
const SMALL = ["Share", "Ready"];

function block(parent, title, columns) {
  const root = make("div", "stacked block"), scroll = make("div", "scroll"), table = make("table");
  const row = make("tr");
  for (const column of columns) {
    const head = make("th", SMALL.includes(column) ? "hide-small" : "", column);
    head.scope = "col";
    row.append(head);
  }
  const head = make("thead"), body = make("tbody");
  head.append(row);
  table.append(head, body);
  table.setAttribute("aria-label", title);
  scroll.append(table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", title);
  root.append(make("h3", "", title), scroll);
  parent.append(root);
  return { body, columns: columns.length };
}

function fill({ body, columns }, rows, leftOut, none) {
  if (leftOut) rows.push(wide(columns, `${figure(leftOut)} more are not shown.`));
  if (!rows.length) rows.push(wide(columns, none));
  const old = [...body.rows];
  rows.forEach((row, i) => {
    if (!old[i]) body.append(row);
    else if (!old[i].isEqualNode(row)) old[i].replaceWith(row);
  });
  for (const row of old.slice(rows.length)) row.remove();
}

function wide(columns, text) {
  const row = make("tr"), cell = make("td", "none", text);
  cell.colSpan = columns;
  row.append(cell);
  return row;
}

function cells(...all) {
  const row = make("tr");
  for (const [text, look, child] of all) {
    const cell = make("td", look, text);
    if (child) cell.append(...[].concat(child));
    row.append(cell);
  }
  return row;
}

function stateWord(state) {
  return state === "transient_failure" ? "failing" : state;
}

function connectionRow(connection) {
  const state = connection.draining ? "draining" : connection.state;
  const meter = make("meter", "hide-small");
  meter.max = Math.max(1, connection.capacity);
  meter.value = connection.streams;
  meter.setAttribute("aria-label", "streams taken");
  return cells(
    [connection.id === null ? "–" : connection.id + (connection.dedicated ? " (dedicated)" : ""), "number"],
    [connection.address, "addr"],
    ["", "", make("span", "state " + state, stateWord(state))],
    [`${figure(connection.streams)} of ${figure(connection.capacity)} `, "number", meter],
    [seconds(connection.age_ms / 1000), "number"],
  );
}

function endpointRow(endpoint) {
  const state = endpoint.ejected_ms === null ? endpoint.state : "ejected";
  const matter = [];
  if (endpoint.ejected_ms !== null) matter.push(`no calls for ${seconds(endpoint.ejected_ms / 1000)}`);
  if (endpoint.retry_in_ms !== null) matter.push(`tried again in ${seconds(endpoint.retry_in_ms / 1000)}`);
  if (endpoint.last_error) matter.push(endpoint.last_error);
  const ready = endpoint.ready + (endpoint.connecting ? ` +${endpoint.connecting}` : "") + (endpoint.draining ? `, ${endpoint.draining} drain` : "");
  return cells(
    [endpoint.address, "addr"],
    ["", "", make("span", "state " + state, stateWord(state))],
    [endpoint.share === null ? "–" : Math.round(endpoint.share * 100) + " %", "number hide-small"],
    [ready, "number hide-small"],
    [matter.join("; ") || "–", matter.length ? "error" : ""],
  );
}

// Of a histogram how many there are, and what they are on average.
function numberText({ name, value }) {
  if (value === null || typeof value !== "object") return figure(value);
  const mean = value.count ? value.sum / value.count : null;
  return `${figure(value.count)}, ${name.endsWith("_seconds") ? seconds(mean) : figure(mean)} on average`;
}

function numberRow(number) {
  return cells([number.name, "addr"], [[number.label, number.also].filter(Boolean).map((label) => label.join("=")).join(", ") || "–", ""], [numberText(number), "number"]);
}

function eventRow(event) {
  const row = make("li");
  const time = make("time", "", ofDay(event.at));
  time.dateTime = new Date(event.at).toISOString();
  const mark = make("span", event.level, { info: "·", warn: "▲", bad: "✖" }[event.level]);
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", { info: "routine", warn: "notable", bad: "wrong" }[event.level]);
  const from = { pool: "", dedicated: "dedicated: ", endpoints: "", state: "" }[event.from] || "";
  row.append(time, mark, make("span", "text", from + event.text));
  return row;
}
