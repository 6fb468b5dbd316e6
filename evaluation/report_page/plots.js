// Line and step charts as SVG: linear or logarithmic x, a legend that toggles series, a readout under the pointer.

const PLOT = { width: 420, height: 230, left: 50, right: 12, top: 12, bottom: 34 };
const NUM_COLOURS = 8;
const DASHES = ["none", "7 4", "2 3", "9 3 2 3"];

function seriesStyle(number) {
  const turn = Math.floor(number / NUM_COLOURS) % DASHES.length;
  return { stroke: `var(--series-${number % NUM_COLOURS})`, "stroke-dasharray": DASHES[turn] };
}

const seriesNumbers = new Map();

/** The number of a series by its name, the same in every plot of the page, so that an arm keeps its colour. */
function seriesNumber(name) {
  if (!seriesNumbers.has(name)) seriesNumbers.set(name, seriesNumbers.size);
  return seriesNumbers.get(name);
}

/** About `number` round values from `low` to `high`. */
function ticks(low, high, number) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / number;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= rough) ?? 10);
  const values = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) values.push(place * step);
  return values;
}

function powersOfTen(low, high) {
  const values = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); 10 ** power <= high * 1.0001; power += 1) values.push(10 ** power);
  return values.length > 1 ? values : [low, high];
}

function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

function scale([low, high], [from, to], logarithmic) {
  const map = logarithmic ? Math.log : (value) => value;
  const span = map(high) - map(low) || 1;
  return (value) => from + ((map(value) - map(low)) / span) * (to - from);
}

function axes(x, y, xTicks, yTicks, label) {
  const { width, height, left, right, top, bottom } = PLOT;
  const parts = [];
  for (const value of yTicks) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { class: "tick", x: left - 6, y: y(value) + 3.5, "text-anchor": "end" }, brief(value)));
  }
  for (const value of xTicks) {
    parts.push(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
    parts.push(svg("text", { class: "tick", x: x(value), y: height - bottom + 14, "text-anchor": "middle" }, brief(value)));
  }
  parts.push(svg("text", { class: "label", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, label));
  return parts;
}

function pathOf(points, x, y, stepped) {
  let path = "";
  let before = null;
  for (const [px, py] of points) {
    if (py === null || px === null) {
      before = null;
      continue;
    }
    const place = `${x(px).toFixed(1)} ${y(py).toFixed(1)}`;
    if (before === null) path += `M${place}`;
    else path += stepped ? `H${x(px).toFixed(1)}V${y(py).toFixed(1)}` : `L${place}`;
    before = py;
  }
  return path;
}

function nearest(points, value) {
  let best = null;
  for (const point of points) {
    if (point[1] !== null && (best === null || Math.abs(point[0] - value) < Math.abs(best[0] - value))) best = point;
  }
  return best;
}

/** The value under the pointer, in the plot's own units. */
function valueAt(event, box, xRange, logarithmic) {
  const inside = ((event.clientX - box.left) / box.width) * PLOT.width;
  const share = Math.min(Math.max((inside - PLOT.left) / (PLOT.width - PLOT.left - PLOT.right), 0), 1);
  const [low, high] = xRange;
  return logarithmic ? low * (high / low) ** share : low + share * (high - low);
}

/**
 * A figure. `series` are {name, points: [[x, y], ...]}; `options` are {title, xLabel, stepped, logarithmic,
 * fromZero, marker}. Redraw it by `update(hidden)`, a set of names.
 */
function plot(series, options) {
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const picture = svg("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img" });
  const figure = el("figure", { class: "plot" }, el("figcaption", {}, options.title), picture, readout);
  let state = null;

  function update(hidden) {
    const shown = series.filter((one) => !hidden.has(one.name));
    const xRange = extent(series.flatMap((one) => one.points.map((point) => point[0])));
    const [low, high] = extent((shown.length ? shown : series).flatMap((one) => one.points.map((point) => point[1])));
    const room = (high - low || Math.abs(high) || 1) * 0.05;
    const yRange = [options.fromZero ? 0 : low - room, high + room];
    const x = scale(xRange, [PLOT.left, PLOT.width - PLOT.right], options.logarithmic);
    const y = scale(yRange, [PLOT.height - PLOT.bottom, PLOT.top], false);
    const xTicks = options.logarithmic ? powersOfTen(...xRange) : ticks(...xRange, 5);
    const lines = shown.map((one) =>
      svg("path", { class: "curve", d: pathOf(one.points, x, y, options.stepped), ...seriesStyle(seriesNumber(one.name)) }));
    const dots = shown.filter((one) => one.points.length === 1).map((one) =>
      svg("circle", { cx: x(one.points[0][0]), cy: y(one.points[0][1]), r: 3, fill: seriesStyle(seriesNumber(one.name)).stroke }));
    const cursor = svg("line", { class: "cursor", y1: PLOT.top, y2: PLOT.height - PLOT.bottom, visibility: "hidden" });
    picture.replaceChildren(...axes(x, y, xTicks, ticks(...yRange, 5), options.xLabel), ...lines, ...dots, cursor);
    const names = shown.map((one) => one.name).join(", ");
    picture.setAttribute("aria-label", `${options.title} by ${options.xLabel}: ${names || "nothing shown"}`);
    state = { shown, xRange, x, cursor };
    readout.replaceChildren();
  }

  picture.addEventListener("pointermove", (event) => {
    const value = valueAt(event, picture.getBoundingClientRect(), state.xRange, options.logarithmic);
    const found = state.shown.map((one) => [one, nearest(one.points, value)]).filter(([, point]) => point);
    if (!found.length) return;
    const place = state.x(found[0][1][0]);
    fill(state.cursor, { x1: place, x2: place, visibility: "visible" }, []);
    readout.replaceChildren(`${options.xLabel} ${brief(found[0][1][0])}`, ...found.map(([one, point]) =>
      el("span", {}, el("i", { style: { background: seriesStyle(seriesNumber(one.name)).stroke } }), `${one.name} ${brief(point[1])}`)));
  });
  picture.addEventListener("pointerleave", () => {
    state.cursor.setAttribute("visibility", "hidden");
    readout.replaceChildren();
  });
  return { figure, update };
}

/** Buttons that show and hide the series of all `plots`. */
function legend(names, plots, label) {
  const hidden = new Set();
  const redraw = () => plots.forEach((one) => one.update(hidden));
  const buttons = names.map((name) => {
    const style = seriesStyle(seriesNumber(name));
    const line = svg("svg", { class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true" },
      svg("line", { class: "curve", x1: 1, x2: 25, y1: 5, y2: 5, ...style }));
    const button = el("button", { type: "button", class: "toggle", "aria-pressed": "true" }, line, name);
    button.addEventListener("click", () => {
      const shows = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!shows));
      if (shows) hidden.add(name);
      else hidden.delete(name);
      redraw();
    });
    return button;
  });
  redraw();
  return el("div", { class: "legend", role: "group", "aria-label": label }, ...buttons);
}
