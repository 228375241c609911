// What has been seen of a pool: a point for each answer, and the events.

const WINDOW = 300; // seconds
const MOST_EVENTS = 300;

class History {
  constructor(pool) {
    this.name = pool.name;
    this.number = pool.number;
    this.kind = pool.kind;
    this.first = pool;
    this.points = [];
    this.events = new Map();
    this.gone = null; // since when
  }

  // `now` is the process's time of day, `uptime` goes on evenly whatever becomes of that; in milliseconds.
  add(pool, { now, uptime_ms: uptime }) {
    this.pool = pool;
    const point = { t: uptime / 1000, at: now, counts: counts(pool) };
    const before = this.points[this.points.length - 1];
    if (before && point.t <= before.t) return;
    const status = pool.status;
    if (status) {
      for (const key of ["idle", "lent", "in_use", "creating", "waiting", "draining", "places"]) point[key] = status[key];
      point.max = status.max_size;
    }
    if (pool.dedicated) point.dedicated_waiting = pool.dedicated.status.waiting;
    if (before) {
      const span = point.t - before.t;
      const rate = key => Math.max(0, point.counts[key] - before.counts[key]) / span;
      point.ok = rate("ok");
      point.failed = rate("failed");
      point.waits = rate("waits");
    }
    const bins = this.difference(point.counts, before && before.counts);
    point.p50 = quantile(bins, 0.5);
    point.p99 = quantile(bins, 0.99);
    this.points.push(point);
    point.mean = this.meanWait(10);
    while (this.points[0].t < point.t - WINDOW - 5) this.points.shift();
    for (const event of pool.events || []) {
      const key = event.from + " " + event.number;
      if (!this.events.has(key)) this.events.set(key, { ...event, at: now - event.ago_ms });
    }
    if (this.events.size > MOST_EVENTS) {
      const oldest = [...this.events.entries()].sort((a, b) => a[1].at - b[1].at);
      for (const [key] of oldest.slice(0, this.events.size - MOST_EVENTS)) this.events.delete(key);
    }
  }

  difference(after, before) {
    if (!after.bins) return null;
    return after.bins.map(([bound, n], i) => [bound, n - (before && before.bins ? before.bins[i][1] : n)]);
  }

  last() { return this.points[this.points.length - 1]; }

  since(span) {
    const from = this.last().t - span;
    return this.points.filter(point => point.t >= from);
  }

  mean(key, span) {
    const values = this.since(span).map(point => point[key]).filter(value => value !== undefined);
    return values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
  }

  // By how much a count has grown.
  grown(key, span) {
    const points = this.since(span);
    return points.length ? this.last().counts[key] - points[0].counts[key] : 0;
  }

  // For how long a lease is out, by Little's law: leases that are out for each that is given out in a second.
  held(points) {
    const mean = key => points.reduce((sum, point) => sum + (point[key] || 0), 0) / points.length;
    const rate = mean("ok");
    return points.length >= 3 && rate > 0 ? mean("in_use") / rate : null;
  }

  // How long those that waited did on average, by Little's law: those that wait for each that begins to in a second.
  meanWait(span) {
    const points = this.since(span).filter(point => point.waits !== undefined);
    const sum = key => points.reduce((sum, point) => sum + point[key], 0);
    return points.length && sum("waits") > 0 && sum("waiting") > 0 ? sum("waiting") / sum("waits") : null;
  }

  // Of the wait of those that waited, within the span.
  wait(part, span) {
    const points = this.since(span);
    return points.length > 1 ? quantile(this.difference(this.last().counts, points[0].counts), part) : null;
  }

  latest() {
    return [...this.events.values()].sort((a, b) => b.at - a.at || b.number - a.number);
  }
}

// What is counted, of gets or of calls.
function counts(pool) {
  const { counters, calls, dedicated } = pool;
  if (!counters) return {};
  const sum = values => values.reduce((a, b) => a + b, 0);
  const refused = counters.gets_timeout + counters.gets_error + counters.gets_rejected + counters.gets_shed +
    counters.gets_closed + counters.gets_paused;
  const all = {
    ok: counters.gets_ok, failed: refused, timeout: counters.gets_timeout, refused,
    rejected: counters.gets_rejected + counters.gets_shed,
    waits: counters.waits, created: counters.created, create_failed: counters.create_failed,
    broken: counters.ended.broken + counters.ended.check_failed, ended: sum(Object.values(counters.ended)),
    bins: pool.wait && pool.wait.buckets,
  };
  if (dedicated) {
    const { gets_timeout, gets_rejected, gets_shed } = dedicated.counters;
    all.dedicated_timeout = gets_timeout;
    all.dedicated_lost = gets_timeout + gets_rejected + gets_shed;
  }
  if (calls) {
    all.ok = calls.ended.OK;
    all.failed = sum(Object.entries(calls.ended).filter(([code]) => code !== "OK" && code !== "CANCELLED").map(([, n]) => n));
  }
  return all;
}

// Of times in bins, each with its upper bound; within a bin as if they were spread evenly.
function quantile(bins, part) {
  const all = bins ? bins.reduce((sum, bin) => sum + bin[1], 0) : 0;
  if (!all) return null;
  let left = all * part, lower = 0;
  for (const [bound, n] of bins) {
    if (left <= n && n > 0) return bound === null ? lower : lower + (bound - lower) * (left / n);
    left -= n;
    lower = bound === null ? lower : bound;
  }
  return lower;
}
