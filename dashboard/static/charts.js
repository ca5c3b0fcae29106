// Week-over-week charts: this week's line over last week's, a band over the last four weeks, incomplete minutes shaded.

import { json } from "/static/server.js";

const MINUTE_MS = 60_000;

function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = name => style.getPropertyValue(name).trim();
  return { text: of("--text"), soft: of("--soft"), line: of("--line"), accent: of("--accent") };
}

// The lines of one expression now and one to four weeks ago: {times, lines: [now, 1w, 2w, 3w, 4w]}, null where no data.
export async function weeks(expression, range_min) {
  const query = [expression, ...[1, 2, 3, 4].map(week => `${expression},${week}w,:offset`)].join(",");
  const parameters = new URLSearchParams({ q: query, s: `e-${range_min}m`, e: "now", step: "1m", format: "json" });
  const graph = await json(`/api/v1/graph?${parameters}`);
  const times = graph.values.map((_, row) => graph.start + row * graph.step);
  const offsets = graph.metrics.map(tags => parseInt(tags["atlas.offset"] ?? "0", 10));
  const lines = [0, 1, 2, 3, 4].map(week => {
    const column = offsets.indexOf(week);
    return times.map((_, row) => {
      const value = column < 0 ? null : graph.values[row][column];
      return Number.isFinite(value) ? value : null;
    });
  });
  return { times, lines };
}

function band(lines, row) {
  const known = lines.slice(1).map(line => line[row]).filter(value => value !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [null, null];
}

export function latest(data, complete_until_ms) {
  for (let row = data.times.length - 1; row >= 0; row--) {
    const value = data.lines[0][row];
    if (value !== null && data.times[row] <= complete_until_ms) return { value, last: data.lines[1][row], at_ms: data.times[row] };
  }
  return { value: null, last: null, at_ms: null };
}

export function draw(element, data, { format, complete_until_ms, label }) {
  const { text, soft, line, accent } = theme();
  const times = data.times.map(time => new Date(time));
  const bands = data.times.map((_, row) => band(data.lines, row));
  const traces = [
    { x: times, y: bands.map(b => b[0]), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    { x: times, y: bands.map(b => b[1]), mode: "lines", line: { width: 0 }, fill: "tonexty",
      fillcolor: "rgba(128,128,128,.22)", name: "last 4 weeks", hoverinfo: "skip" },
    { x: times, y: data.lines[1], mode: "lines", name: "last week", line: { width: 1.3, dash: "dot", color: soft } },
    { x: times, y: data.lines[0], mode: "lines", name: "now", line: { width: 2, color: accent } },
  ];
  const end = data.times[data.times.length - 1] ?? 0;
  const incomplete_from = Math.max(complete_until_ms, data.times[0] ?? end);
  const shapes = end > incomplete_from ? [{
    type: "rect", xref: "x", yref: "paper", x0: new Date(incomplete_from), x1: new Date(end + MINUTE_MS),
    y0: 0, y1: 1, fillcolor: "rgba(128,128,128,.15)", line: { width: 0 }, layer: "below",
  }] : [];
  window.Plotly.react(element, traces, {
    margin: { l: 52, r: 8, t: 4, b: 28 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: text, size: 11 }, showlegend: true, legend: { orientation: "h", y: 1.15, x: 0 },
    xaxis: { gridcolor: line, type: "date" }, yaxis: { gridcolor: line, rangemode: "tozero", tickformat: format },
    shapes, hovermode: "x unified",
  }, { displayModeBar: false, responsive: true });
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", label);
}

// Calls back with the time of a point that is clicked, and how many weeks before the shown time its line lies.
export function onPoint(element, call) {
  element.removeAllListeners("plotly_click");
  element.on("plotly_click", ({ points }) => {
    const point = points.find(one => one.data.name === "now") ?? points[0];
    call(new Date(point.x).getTime(), point.data.name === "last week" ? 1 : 0);
  });
}
