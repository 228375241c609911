// A chart over time: areas that are stacked, and lines. Drawn as SVG; everything in words beside it.

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 600, HIGH = 100;

class Chart {
  // Of a series: { key, label, look, stacked }.
  constructor(title, show, series) {
    Object.assign(this, { title, show, series, points: [], at: null });
    this.root = make("figure", "chart");
    this.root.append(make("h3", "", title));
    const plot = make("div", "plot");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("tabindex", "0");
    this.shapes = series.map(one => this.shape("path", (one.stacked ? "area " : "curve ") + one.look));
    this.cursor = this.shape("line", "cursor");
    this.top = make("span", "top");
    plot.append(this.svg, this.top);
    const axis = make("div", "axis");
    this.time = make("span");
    axis.append(this.time, make("span", "", "now"));
    this.legend = make("ul", "legend");
    this.values = series.map(one => {
      const item = make("li"), value = make("b");
      item.append(make("i", one.look), make("span", "", one.label), value);
      this.legend.append(item);
      return value;
    });
    this.root.append(plot, axis, this.legend);
    this.svg.addEventListener("pointermove", event => {
      const box = this.svg.getBoundingClientRect();
      this.look((event.clientX - box.left) / box.width);
    });
    this.svg.addEventListener("pointerleave", () => this.look(null));
    this.svg.addEventListener("blur", () => this.look(null));
    this.svg.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.look(Math.min(1, Math.max(0, (this.at === null ? 1 : this.at) + step / 60)));
    });
  }

  shape(kind, look) {
    const shape = document.createElementNS(SVG, kind);
    shape.setAttribute("class", look);
    this.svg.append(shape);
    return shape;
  }

  // At which part of the width somebody looks; null for now.
  look(at) {
    this.at = at;
    this.tell();
  }

  draw(points, now) {
    this.points = points;
    // A short history fills it as a long one does.
    this.span = points.length ? Math.min(WINDOW, Math.max(60, Math.ceil((now - points[0].t) / 30) * 30)) : WINDOW;
    this.from = now - this.span;
    const height = point => {
      let sum = 0, most = 0;
      for (const { key, stacked } of this.series) {
        const value = point[key] || 0;
        if (stacked) sum += value; else most = Math.max(most, value);
      }
      return Math.max(sum, most);
    };
    const most = nice(Math.max(...points.map(height), 0));
    say(this.top, this.show(most));
    const x = point => (WIDE * (point.t - this.from) / this.span).toFixed(1);
    const y = value => (HIGH - HIGH * 0.96 * value / most).toFixed(1);
    const below = points.map(() => 0);
    this.series.forEach(({ key, stacked }, i) => {
      let path = "";
      for (const run of runs(points, key)) {
        const line = run.map(j => `${x(points[j])} ${y(points[j][key] + (stacked ? below[j] : 0))}`).join("L");
        path += "M" + line;
        if (stacked) {
          path += "L" + run.slice().reverse().map(j => `${x(points[j])} ${y(below[j])}`).join("L") + "Z";
          for (const j of run) below[j] += points[j][key];
        } else if (run.length === 1) {
          path += "h1";
        }
      }
      this.shapes[i].setAttribute("d", path);
    });
    this.tell();
  }

  tell() {
    const { points } = this;
    let point = points[points.length - 1];
    if (this.at !== null && points.length) {
      const t = this.from + this.at * this.span;
      point = points.reduce((a, b) => Math.abs(b.t - t) < Math.abs(a.t - t) ? b : a);
      const x = WIDE * (point.t - this.from) / this.span;
      for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", HIGH]]) this.cursor.setAttribute(name, value);
    }
    this.cursor.setAttribute("visibility", this.at === null ? "hidden" : "visible");
    say(this.time, this.at === null || !point ? seconds(this.span) + " ago" : "at " + ofDay(point.at));
    const words = this.series.map(({ key, label }, i) => {
      const value = point ? this.show(point[key]) : "–";
      say(this.values[i], value);
      return `${label} ${value}`;
    });
    this.svg.setAttribute("aria-label", `${this.title} over the last ${seconds(this.span)}; ${this.at === null ? "now" : "there"}: ${words.join(", ")}`);
  }
}

// Points in a row that have the value; a gap is shown as one.
function runs(points, key) {
  const found = [];
  let run = [];
  points.forEach((point, i) => {
    const has = point[key] !== undefined && point[key] !== null && Number.isFinite(point[key]);
    if (run.length && (!has || point.t - points[i - 1].t > 15)) { found.push(run); run = []; }
    if (has) run.push(i);
  });
  if (run.length) found.push(run);
  return found;
}

function nice(most) {
  if (!(most > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map(n => n * unit).find(bound => bound >= most * 0.999);
}
