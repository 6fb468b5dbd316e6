// One document: its header, its lines with their marks, and its programs with what became of each call.

const MOST_HIGHLIGHTS = 500;
const DONE = new Set(["applied", "clipped", "kept", "keep"]);

function chip(text, kind, title = null) {
  return el("span", { class: `chip ${kind}`, title }, text);
}

function outcomeKind(outcome) {
  return { dropped: "bad", failed: "bad", rejected: "warn", "not processed": "warn", edited: "edit" }[outcome] ?? "good";
}

function lineParts(line) {
  if (typeof line === "string") return [line];
  return line.map((part) => typeof part === "string" ? part
    : el("span", { class: "edit" }, el("del", {}, part[0]), part[1] ? el("ins", {}, part[1]) : null));
}

function textBefore(line) {
  return typeof line === "string" ? line : line.map((part) => (typeof part === "string" ? part : part[0])).join("");
}

function textAfter(line) {
  return typeof line === "string" ? line : line.map((part) => (typeof part === "string" ? part : part[1])).join("");
}

function removedNumbers(item) {
  const numbers = new Set();
  for (const [first, last] of item.removed) {
    for (let number = first; number <= Math.min(last, item.lines.length - 1); number += 1) numbers.add(number);
  }
  return numbers;
}

/** The lines of a document as `view` shows them: marked, before or after. */
function documentLines(item, view) {
  const removed = removedNumbers(item);
  const dropped = item.outcome === "dropped";
  const rows = [];
  item.lines.forEach((line, number) => {
    const gone = removed.has(number);
    if (view === "after" && (gone || dropped)) return;
    const content = view === "marked" ? lineParts(line) : [view === "before" ? textBefore(line) : textAfter(line)];
    const chance = view === "after" ? undefined : item.probabilities?.[number];
    const told = chance === undefined || chance === null ? null : `the refiner would remove this line with a probability of ${chance}%`;
    const body = view === "marked" && gone ? el("del", { class: "text" }, ...content) : el("span", { class: "text" }, ...content);
    rows.push(el("div", { class: view === "marked" && gone ? "line gone" : "line", "data-number": number, "data-chance": chance ?? null,
      title: told }, body));
  });
  return rows;
}

function callRow([text, name, status, number], program) {
  const kind = DONE.has(status) ? (name === "remove_lines" || name === "drop_doc" || status === "drop" ? "edit" : "good")
    : status === "fault" ? "bad" : "warn";
  const told = status === "fault" ? `fault: ${name}` : number > 1 ? `${status} ×${number}` : status;
  return el("li", {}, el("code", {}, text), chip(told, kind, program.kind === "document" ? null : `${number} lines or matches`));
}

function programCard(program) {
  const place = program.kind === "document" ? "whole document"
    : program.first === program.last ? `line ${program.first}` : `lines ${program.first}–${program.last}`;
  const verdict = program.reason ? `${program.verdict}: ${program.reason}` : program.verdict;
  const kind = { removed: "bad", drop: "bad", rejected: "warn", edited: "edit" }[program.verdict] ?? "good";
  const jump = program.kind === "chunk" ? el("button", { type: "button", class: "link", "data-line": program.first }, place) : place;
  const asRead = program.calls.map((call) => call[0]).join("\n");
  return el("article", { class: "program" },
    el("header", {}, el("span", {}, `${program.step} · `, jump), chip(verdict, kind)),
    program.calls.length ? el("ul", { class: "calls" }, ...program.calls.map((call) => callRow(call, program))) : null,
    program.raw.trim() && asRead !== program.raw.trim() ? details("as generated", el("pre", {}, program.raw)) : null,
    ...program.notes.map((text) => note(text)));
}

function detailHeader(item, report) {
  const shares = item.before ? ` (${percent(item.after / item.before)})` : "";
  const facts = [`${count(item.before)} → ${count(item.after)} characters${shares}`, item.domain];
  if (report.arms > 1) facts.unshift(label(report, item.run, item.arm));
  const told = item.dropped_by ? `dropped by ${item.dropped_by}: ${item.reason}` : item.reason ? `${item.outcome}: ${item.reason}` : item.outcome;
  return el("header", { class: "detail-head" }, el("h3", {}, item.id),
    item.url ? el("p", { class: "note url" }, item.url) : null,
    el("p", { class: "chips" }, chip(told, outcomeKind(item.outcome)),
      item.p_keep === null ? null : chip(`p_keep ${item.p_keep.toFixed(3)}`, "neutral", "the refiner's probability of keeping the document"),
      ...item.others.map(([arm, reason]) => chip(`${arm}: ${reason ?? "kept"}`, reason ? "warn" : "neutral"))),
    note(facts.join(" · ")));
}

/** Marks where `words` stand in an element's text, in browsers that can; adds no element. */
function highlight(element, words) {
  if (!window.Highlight || !CSS.highlights) return;
  const found = new Highlight();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (words && walker.nextNode() && found.size < MOST_HIGHLIGHTS) {
    const text = walker.currentNode.data.toLowerCase();
    // Lower case may be longer than what it was made from; then places would not fit.
    if (text.length !== walker.currentNode.data.length) continue;
    for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
      const range = new Range();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + words.length);
      found.add(range);
    }
  }
  CSS.highlights.set("found", found);
}

function cutNote(item) {
  if (!item.cut) return null;
  const [shown, all] = item.cut;
  const last = item.cut_line ? ", the last of them cut" : "";
  return el("p", { class: "warning" }, `Shown are the first ${count(shown)} of ${count(all)} lines${last}; the programs' effects were counted on the whole document.`);
}
