// Text of numbers and times, and elements made of text: nothing is ever read as HTML.

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Changes nothing where nothing has changed: what is selected stays so, and a screen reader is not told twice.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return (value / 1e6).toFixed(1) + " M";
  if (size >= 1e4) return (value / 1e3).toFixed(1) + " k";
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value.toFixed(size >= 10 ? 1 : 2).replace(/\.?0+$/, "");
}

function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === Infinity) return "longer";
  if (value >= 3600) return (value / 3600).toFixed(1) + " h";
  if (value >= 120) return (value / 60).toFixed(1) + " min";
  if (value >= 1) return value.toFixed(value >= 10 ? 0 : 1) + " s";
  if (value >= 0.001) return (value * 1e3).toFixed(value >= 0.01 ? 0 : 1) + " ms";
  return (value * 1e6).toFixed(0) + " µs";
}

function ofDay(millis) {
  return new Date(millis).toLocaleTimeString("en-GB");
}

function many(number, one, more) {
  return figure(number) + " " + (number === 1 ? one : more || one + "s");
}
