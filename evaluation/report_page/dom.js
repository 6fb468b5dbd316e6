// Building elements. Text only ever enters the page as text nodes: nothing here, or elsewhere, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element; strings among the children become text. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

function note(...children) {
  return el("p", { class: "note" }, ...children);
}

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const PRECISE = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });

function count(value) {
  return WHOLE.format(value);
}

function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)}%`;
}

/** A number for an axis or a readout: plain where it is short, else with a power of ten or a letter. */
function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4) return SHORT.format(value);
  return size < 1e-4 ? value.toExponential(1).replace("e-", "e−") : PRECISE.format(value);
}

/**
 * A table in a box that scrolls by itself. `columns` are {head, right}; a cell is a string, an element, or null.
 * The first cell of a row is its heading.
 */
function table(caption, columns, rows) {
  const heads = columns.map((column) => el("th", { scope: "col", class: column.right ? "right" : null }, column.head));
  const body = rows.map((cells) =>
    el("tr", {}, ...cells.map((cell, place) => {
      const kind = columns[place]?.right ? "right" : null;
      return place === 0 ? el("th", { scope: "row", class: kind }, cell ?? "") : el("td", { class: kind }, cell ?? "–");
    })));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body)));
}

/** A bar beside its number; `share` is of the widest bar. */
function bar(share, colour = "var(--accent)") {
  return el("span", { class: "bar", "aria-hidden": "true" },
    el("span", { style: { width: `${Math.max(100 * share, share ? 0.8 : 0)}%`, background: colour } }));
}

function details(summary, ...children) {
  return el("details", {}, el("summary", {}, summary), ...children);
}
