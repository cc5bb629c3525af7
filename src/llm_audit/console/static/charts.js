// Draws the series that stand in data-series with uPlot, in the page's own colours, and again when they were refreshed.
"use strict";

const WHOLE = [1, 2, 5].flatMap((one) => [...Array(10).keys()].map((power) => one * 10 ** power)).sort((a, b) => a - b);
const PLOTS = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function shown(value, unit) {
  if (value == null) return "–";
  if (unit !== "ms") return value.toLocaleString("en");
  return value < 1000 ? `${value} ms` : `${(value / 1000).toPrecision(3)} s`;
}

// UTC, by the clock of 24 hours: the day where slots are days, else the hour, with the day where it begins.
function when(seconds, step) {
  const iso = new Date(seconds * 1000).toISOString();
  const time = iso.slice(11, 16);
  return step >= 86400 || time === "00:00" ? iso.slice(5, 10) : time;
}

function axis(unit) {
  const line = { stroke: colour("--line"), width: 1 };
  const font = "12px system-ui, sans-serif";
  const x = {
    stroke: colour("--soft"), grid: { show: false }, ticks: line, font, space: 56,
    values: (_, all) => all.map((one) => when(one, all.length > 1 ? all[1] - all[0] : 0)),
  };
  const y = { stroke: colour("--soft"), grid: line, ticks: line, font, size: 62, incrs: WHOLE, values: (_, all) => all.map((one) => shown(one, unit)) };
  return [x, y];
}

function draw(element) {
  const data = JSON.parse(element.dataset.series);
  const names = element.dataset.names.split("|");
  const unit = element.dataset.unit;
  const paths = unit ? undefined : uPlot.paths.stepped({ align: 1 });
  const series = names.map((label, number) => ({
    label,
    stroke: colour(label === "errors" ? "--bad" : `--series-${number + 1}`),
    width: 1.8,
    paths,
    points: { show: (plot, at, from, to) => to - from < 3 || data[at].filter((one) => one != null).length < 3, size: 6, fill: colour(label === "errors" ? "--bad" : `--series-${number + 1}`) },
    spanGaps: false,
    value: (_, value) => shown(value, unit),
  }));
  const options = {
    width: Math.max(200, element.clientWidth), height: 190, series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series],
    axes: axis(unit), tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.08, 1)] } },
    cursor: { drag: { x: false, y: false } }, legend: { live: true },
  };
  PLOTS.get(element.id)?.destroy();
  element.replaceChildren();
  PLOTS.set(element.id, new uPlot(options, data, element));
}

const drawAll = () => document.querySelectorAll("[data-series]").forEach(draw);
drawAll();
document.addEventListener("htmx:afterSwap", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 150); });
