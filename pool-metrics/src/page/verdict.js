// The answer in words: is it healthy, is it saturated, is it the peer or the pool, what should be changed.

const RECENT = 60; // seconds

function taken(places, one) {
  return places === 1 ? `the only ${one} is taken` : `all ${many(places, one)} are taken`;
}

function verdict(history) {
  const { pool } = history;
  if (history.gone !== null) return {
    level: "off", word: "Gone",
    what: "This pool was dropped, or is registered no more. What is shown is from before.", todo: "",
  };
  if (!pool.status) return {
    level: "off", word: "Numbers", what: "A source of the program's own: its numbers, as they are.", todo: "",
  };
  const found = [closed, paused, unreachable, waiting, dedicated, endpoints, refused, failing, leaking, breaking, resolving, busy, idle]
    .map(rule => rule(history, pool, pool.status)).find(Boolean);
  return found || {
    level: "ok", word: "Healthy",
    what: inUse(pool, pool.status) + ", and nobody waits.", todo: "",
  };
}

function inUse(pool, status) {
  if (pool.kind === "grpc") {
    const own = pool.dedicated.status.in_use;
    return `${many(status.in_use, "call")} on ${many(status.idle + status.lent, "connection")}, which can carry ${figure(status.places)}` +
      (own ? `, ${many(own, "dedicated connection is", "dedicated connections are")} in use` : "");
  }
  if (pool.kind === "shared") return `${many(status.in_use, "lease")} of ${figure(status.places)} places are out`;
  return `${figure(status.in_use)} of at most ${figure(status.max_size)} are in use`;
}

function closed(history, pool, status) {
  if (!status.closed) return null;
  const left = status.in_use + status.closing;
  return {
    level: "off", word: "Closed",
    what: "The pool was closed: it lends nothing any more" + (left ? `, and ${many(left, "lease or resource", "leases and resources")} are still to end.` : "."),
    todo: "If the process is not shutting down, see the events for when it was closed.",
  };
}

function paused(history, pool, status) {
  return status.paused && {
    level: "warn", word: "Paused",
    what: `The pool was paused by the program: it lends and creates nothing. ${figure(status.waiting)} wait.`,
    todo: "It goes on when the program calls resume().",
  };
}

function unreachable(history, pool, status) {
  const live = status.idle + status.lent;
  const down = pool.kind === "grpc" ? pool.state === "transient_failure" : live === 0 && pool.last_error;
  return down && {
    level: "bad", word: "Down: the peer",
    what: "No connection can be had: " + (pool.last_error || "the last attempt failed") + ".",
    todo: "It is the peer, or the way to it; a larger pool would not help. See that it runs and listens there, then names, firewalls and certificates. The pool goes on trying by itself.",
  };
}

function waiting(history, pool, status) {
  const average = history.mean("waiting", 4);
  if (average < 0.5) return null;
  const wait = waits(average, pool.kind === "grpc" ? "call" : "caller");
  if (status.size < status.max_size) {
    return growing(pool, status, wait, pool.last_error || history.grown("create_failed", RECENT) > 0,
      "If each rise of the load looks like this, keep more connections ready: a minimum, or more creations at a time.");
  }
  const lost = history.grown("timeout", RECENT) + history.grown("rejected", RECENT);
  return {
    level: lost ? "bad" : "warn", word: "Saturated",
    what: `${wait}: ${taken(status.places, pool.kind === "exclusive" ? "connection" : "place")}` + turnedAway(lost),
    todo: advice(history, pool, status, average),
  };
}

function waits(average, who) {
  const number = Math.round(average);
  return `${many(number, who)} ${number === 1 ? "waits" : "wait"}`;
}

function turnedAway(lost) {
  return lost ? `, and ${figure(lost)} have been turned away in the last minute.` : ".";
}

// Some wait, and there may be more connections.
function growing(pool, status, wait, fails, otherwise) {
  return fails ? {
    level: "bad", word: "Short: the peer",
    what: `${wait}, with ${figure(status.size)} of at most ${figure(status.max_size)} connections, and new ones fail` + (pool.last_error ? `: ${pool.last_error}.` : "."),
    todo: "It is the peer that takes no more connections: see its limits and its log. A larger pool would not help.",
  } : {
    level: "warn", word: "Growing",
    what: `${wait} while ${many(status.creating, "connection is", "connections are")} being created, at ${figure(status.size)} of at most ${figure(status.max_size)}.`,
    todo: "Normal for a moment. " + otherwise,
  };
}

// The same of the connections that carry one call at a time.
function dedicated(history, pool) {
  if (!pool.dedicated) return null;
  const average = history.mean("dedicated_waiting", 4);
  if (average < 0.5) return null;
  const { status } = pool.dedicated;
  const wait = waits(average, "caller") + " for a connection of " + (Math.round(average) === 1 ? "its" : "their") + " own";
  if (status.size < status.max_size) return growing(pool, status, wait, pool.last_error, "They are made when they are wanted, and kept for a while.");
  const lost = history.grown("dedicated_lost", RECENT);
  return {
    level: lost ? "bad" : "warn", word: "Dedicated full",
    what: `${wait}: ${taken(status.max_size, "dedicated connection")}` + turnedAway(lost),
    todo: raiseDedicated(status, Math.ceil(status.in_use + average)),
  };
}

function raiseDedicated(status, needed) {
  return `It is the pool's limit: raise max_dedicated_connections from ${figure(status.max_size)} to about ${figure(Math.max(needed, status.max_size + 1))}, ` +
    "if the server can take that; or see what holds them: a dedicated call until it ends, an exclusive connection until it is dropped.";
}

// More of them, or shorter use?
function advice(history, pool, status, average) {
  const now = history.held(history.since(15)), early = history.held(history.points.slice(1, 16));
  const held = now === null ? "" : `Each is held for ${seconds(now)} on average. `;
  if (now !== null && early !== null && history.points.length > 45 && now > 2 * early) {
    return `It is the peer, or what holders do: each is held for ${seconds(now)} on average, and was for ${seconds(early)} before. ` +
      "See why that takes longer before the pool is made larger.";
  }
  const needed = Math.ceil((history.mean("in_use", 15) + average) / Math.max(1, status.places / Math.max(1, status.size)));
  const larger = Math.max(needed, status.max_size + 1);
  if (pool.kind === "grpc") {
    return `It is the pool's limit: raise max_connections from ${figure(status.max_size)} to about ${figure(larger)}, or the server's limit of streams on a connection. ${held}`;
  }
  return `${held}It is the pool's limit: raise max_size from ${figure(status.max_size)} to about ${figure(larger)}, if the peer can take that; or have holders keep what they got for a shorter time.`;
}

function endpoints(history, pool) {
  const all = pool.endpoints || [];
  const down = all.filter(endpoint => endpoint.state === "transient_failure" || endpoint.last_error);
  const ejected = all.filter(endpoint => endpoint.ejected_ms !== null);
  if (!down.length && !ejected.length) return null;
  const names = list => list.slice(0, 3).map(endpoint => endpoint.address).join(", ") + (list.length > 3 ? ", …" : "");
  return down.length ? {
    level: "warn", word: "Part is down",
    what: `${figure(down.length)} of ${many(all.length, "endpoint")} cannot be connected to: ${names(down)}. The others have all calls.`,
    todo: "It is that peer and not the pool: see that it runs and listens there, or take it out of the list" + (down[0].last_error ? `. The last attempt: ${down[0].last_error}.` : "."),
  } : {
    level: "warn", word: "Part ejected",
    what: `${figure(ejected.length)} of ${many(all.length, "endpoint")} get no calls for a while, since they answer worse than the others: ${names(ejected)}.`,
    todo: "It is that peer: see its log for what fails there.",
  };
}

function refused(history, pool) {
  const own = pool.dedicated ? history.grown("dedicated_timeout", RECENT) : 0;
  if (own) return {
    level: "warn", word: "Was short",
    what: `${many(own, "caller")} waited in vain for a dedicated connection in the last minute.`,
    todo: "It is over for now. If it comes again: " + raiseDedicated(pool.dedicated.status, 0),
  };
  const timeouts = history.grown("timeout", RECENT), all = history.grown("refused", RECENT);
  if (!all || (pool.kind === "grpc" && !timeouts)) return null;
  return {
    level: "warn", word: "Was short",
    what: `${many(all, "get")} failed in the last minute` + (timeouts ? `, ${figure(timeouts)} of them after waiting in vain.` : "."),
    todo: "It is over for now. If the charts show peaks that reach the maximum, raise it; if they do not, see the events.",
  };
}

function failing(history, pool) {
  if (!pool.calls) return null;
  const failed = history.grown("failed", RECENT), ok = history.grown("ok", RECENT);
  if (failed < 5 || failed < 0.01 * (ok + failed)) return null;
  const codes = Object.entries(pool.calls.ended).filter(([code, n]) => n && code !== "OK" && code !== "CANCELLED");
  const most = codes.sort((a, b) => b[1] - a[1])[0];
  return {
    level: "warn", word: "Calls fail",
    what: `${(100 * failed / (ok + failed)).toFixed(1)} % of the calls of the last minute have failed` + (most ? `, most since the start with ${most[0]}.` : "."),
    todo: "Connections can be had and nobody waits for one: it is the servers' answers, or deadlines that are too short.",
  };
}

function leaking(history, pool) {
  const leaked = (pool.holders || []).find(holder => holder.leaked);
  return leaked && {
    level: "warn", word: "Leases are out for long",
    what: `One has been held for ${seconds(leaked.held_ms / 1000)}, taken at ${leaked.taken_at}.`,
    todo: "It is the holder: see whether that code keeps what it got, or waits for something while it has it.",
  };
}

function breaking(history) {
  const broken = history.grown("broken", RECENT);
  return broken >= 5 && {
    level: "warn", word: "Connections break",
    what: `${many(broken, "connection")} broke or did not pass a check in the last minute.`,
    todo: "It is the peer, or something on the way that ends connections: see the events for the reasons. If they break while idle, shorten the idle timeout.",
  };
}

function resolving(history, pool) {
  return pool.resolver_error && {
    level: "warn", word: "Names fail",
    what: `The resolver fails: ${pool.resolver_error}. The endpoints of its last answer stay in use.`,
    todo: "See the name service. New servers are not found meanwhile.",
  };
}

function busy(history, pool, status) {
  const limit = pool.kind === "exclusive" ? status.max_size : status.places;
  return status.size >= status.max_size && history.mean("in_use", 10) >= 0.9 * limit && {
    level: "busy", word: "Busy",
    what: inUse(pool, status) + ": as many as can be, and nobody waits.",
    todo: "Well used, without a reserve: raise the maximum before the load rises.",
  };
}

function idle(history, pool, status) {
  const own = pool.dedicated ? pool.dedicated.status.in_use : 0;
  return status.in_use + own === 0 && history.grown("ok", RECENT) === 0 && history.last().t - history.points[0].t > 10 && {
    level: "ok", word: "Idle", what: `Nobody has used it lately; ${many(status.idle, "connection")} ${status.idle === 1 ? "is" : "are"} ready.`, todo: "",
  };
}
