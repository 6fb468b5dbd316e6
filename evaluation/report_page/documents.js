// The browser of documents: filters, a list that holds only the rows in sight, and the chosen document with its marks.

const ROW_HEIGHT = 54;
const ROWS_BEYOND = 6;
const ROWS_PER_PAGE = 8;

function optionGroup(tags) {
  const groups = new Map();
  for (const tag of tags) {
    const name = tag.slice(0, tag.indexOf(":"));
    groups.set(name, [...(groups.get(name) ?? []), tag]);
  }
  return [...groups].map(([name, members]) => el("optgroup", { label: name },
    ...members.map((tag) => el("option", { value: tag }, tag.slice(name.length + 2)))));
}

function frequencies(items, values) {
  const found = new Map();
  for (const item of items) for (const value of values(item)) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
}

function byName(found) {
  return [...found.keys()].sort((one, other) => one.localeCompare(other, "en"));
}

function byCount(found) {
  return [...found].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
}

/** What a text search looks through; made when the first search needs it. */
function haystack(item, cache) {
  let text = cache.get(item);
  if (text === undefined) {
    const lines = item.lines.map((line) => (typeof line === "string" ? line : line.flat(2).join(" ")));
    const programs = item.programs.flatMap((program) => [program.raw, program.reason ?? ""]);
    text = [item.id, item.url, item.domain, item.reason, ...lines, ...programs].join("\n").toLowerCase();
    cache.set(item, text);
  }
  return text;
}

class DocumentBrowser {
  constructor(report, section) {
    this.report = { ...report, arms: new Set(report.documents.items.map((item) => `${item.run}\n${item.arm}`)).size };
    this.items = report.documents.items;
    this.found = this.items;
    this.chosen = 0;
    this.view = "marked";
    this.haystacks = new Map();
    this.build(section);
    this.filter();
  }

  build(section) {
    this.search = el("input", { type: "search", id: "search", placeholder: "Search texts, programs, ids  ( / )", "aria-label": "Search texts, programs and ids",
      autocomplete: "off", spellcheck: "false" });
    const pairs = frequencies(this.items, (item) => [label(this.report, item.run, item.arm)]);
    const domains = byCount(frequencies(this.items, (item) => [item.domain]));
    this.arm = this.select("arm", "Any arm", byName(pairs).map((name) => el("option", { value: name }, name)));
    this.kind = this.select("call", "Any call", byName(frequencies(this.items, (item) => item.kinds)).map((name) => el("option", { value: name }, name)));
    this.tag = this.select("status or reason", "Any status or reason", optionGroup(byName(frequencies(this.items, (item) => item.tags))));
    this.domain = this.select("domain", "Any domain", domains.map(([name, number]) => el("option", { value: name }, `${name} (${number})`)));
    this.reset = el("button", { type: "button", onclick: () => this.clear() }, "Clear");
    this.status = el("p", { class: "note status", role: "status", "aria-live": "polite" });
    this.spacer = el("div", { class: "spacer" });
    this.list = el("div", { class: "list", role: "listbox", tabindex: "0", id: "document-list", "aria-label": "Documents", "aria-controls": "document-detail" }, this.spacer);
    this.detail = el("article", { class: "detail", id: "document-detail", role: "region", tabindex: "0", "aria-label": "Chosen document" });
    const filters = el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, this.search,
      this.report.arms > 1 ? this.arm : null, this.kind, this.tag, this.domain, this.reset);
    section.append(filters, this.status, el("div", { class: "browser" }, this.list, this.detail), this.help());
    this.listen();
  }

  select(name, any, options) {
    return el("select", { "aria-label": `Filter by ${name}`, "data-filter": name, onchange: () => this.filter() }, el("option", { value: "" }, any), ...options);
  }

  help() {
    const keys = [["j / ↓", "next"], ["k / ↑", "previous"], ["Home / End", "first, last"], ["m", "marked, before, after"], ["/", "search"], ["Esc", "leave the search"]];
    return el("p", { class: "note keys" }, ...keys.flatMap(([key, what]) => [el("kbd", {}, key), ` ${what} `]));
  }

  listen() {
    let waiting = null;
    this.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.filter(), 60);
    });
    this.list.addEventListener("scroll", () => this.drawList());
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest("[data-place]");
      if (row) this.choose(Number(row.dataset.place));
    });
    this.detail.addEventListener("click", (event) => {
      const line = event.target.closest("[data-line]")?.dataset.line;
      const view = event.target.closest("[data-view]")?.dataset.view;
      if (line !== undefined) this.detail.querySelector(`[data-number="${line}"]`)?.scrollIntoView({ block: "center" });
      if (view) this.show(view);
    });
    document.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.drawList()).observe(this.list);
  }

  /** Keys work everywhere but in fields; arrows only in the list or where nothing else has the focus. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inField = event.target.closest?.("input, select, textarea");
    if (inField) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target === this.search)) this.list.focus();
      return;
    }
    const moves = { j: 1, k: -1 };
    if (event.target === this.list || event.target === document.body) {
      Object.assign(moves, { ArrowDown: 1, ArrowUp: -1, PageDown: ROWS_PER_PAGE, PageUp: -ROWS_PER_PAGE, Home: -Infinity, End: Infinity });
    }
    if (event.target === document.body && !this.inSight()) return;
    if (event.key === "/") this.search.focus();
    else if (event.key === "m") this.show({ marked: "before", before: "after", after: "marked" }[this.view]);
    else if (event.key in moves) this.choose(this.chosen + moves[event.key]);
    else return;
    event.preventDefault();
  }

  /** Whether the browser is on the screen: elsewhere on the page keys scroll as they always do. */
  inSight() {
    const box = this.list.getBoundingClientRect();
    return box.top < window.innerHeight * 0.8 && box.bottom > 0;
  }

  /** What is searched for, in lower case. */
  words() {
    return this.search.value.trim().toLowerCase();
  }

  clear() {
    for (const field of [this.search, this.arm, this.kind, this.tag, this.domain]) field.value = "";
    this.filter();
  }

  filter() {
    const words = this.words();
    const { arm, kind, tag, domain } = this;
    this.found = this.items.filter((item) =>
      (!arm.value || label(this.report, item.run, item.arm) === arm.value) && (!kind.value || item.kinds.includes(kind.value))
      && (!tag.value || item.tags.includes(tag.value)) && (!domain.value || item.domain === domain.value)
      && (!words || haystack(item, this.haystacks).includes(words)));
    this.chosen = 0;
    this.list.scrollTop = 0;
    this.status.textContent = this.told();
    this.spacer.style.height = `${this.found.length * ROW_HEIGHT}px`;
    this.drawList();
    this.drawDetail();
  }

  told() {
    const { num_documents: all, broken } = this.report.documents;
    const left = broken.map(([reason, number]) => `${count(number)} left out: ${reason}`).join("; ");
    return `${count(this.found.length)} of ${count(this.items.length)} documents, drawn from ${count(all)} with seed ${this.report.seed}` + (left ? `; ${left}` : "");
  }

  choose(place) {
    if (!this.found.length) return;
    const before = this.chosen;
    this.chosen = Math.min(Math.max(place, 0), this.found.length - 1);
    const top = this.chosen * ROW_HEIGHT;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + ROW_HEIGHT > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top + ROW_HEIGHT - this.list.clientHeight;
    this.drawList();
    if (this.chosen !== before) this.drawDetail();
  }

  drawList() {
    const first = Math.max(Math.floor(this.list.scrollTop / ROW_HEIGHT) - ROWS_BEYOND, 0);
    const last = Math.min(Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW_HEIGHT) + ROWS_BEYOND, this.found.length);
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(this.row(place));
    this.spacer.replaceChildren(...rows);
    const inSight = this.chosen >= first && this.chosen < last;
    if (inSight) this.list.setAttribute("aria-activedescendant", `document-${this.chosen}`);
    else this.list.removeAttribute("aria-activedescendant");
  }

  row(place) {
    const item = this.found[place];
    const share = item.before ? percent(item.after / item.before, 0) : "";
    return el("div", { class: "row", role: "option", id: `document-${place}`, "data-place": place, "aria-selected": String(place === this.chosen),
      "aria-posinset": place + 1, "aria-setsize": this.found.length, style: { top: `${place * ROW_HEIGHT}px`, height: `${ROW_HEIGHT}px` } },
      el("span", { class: "row-id" }, item.id), el("span", { class: "row-facts" }, chip(item.outcome, outcomeKind(item.outcome)),
        el("span", { class: "row-domain" }, item.domain), el("span", { class: "row-share" }, item.outcome === "dropped" ? "" : share)));
  }

  show(view) {
    this.view = view;
    this.drawDetail();
    this.detail.querySelector(`[data-view="${view}"]`)?.focus({ preventScroll: true });
  }

  drawDetail() {
    const item = this.found[this.chosen];
    this.detail.scrollTop = 0;
    if (!item) {
      this.detail.replaceChildren(note(this.items.length ? "No document passes these filters." : "No document was drawn."));
      return;
    }
    const views = el("div", { class: "views", role: "group", "aria-label": "View" }, ...["marked", "before", "after"].map((view) =>
      el("button", { type: "button", "data-view": view, "aria-pressed": String(view === this.view) }, view)));
    const lines = documentLines(item, this.view);
    const gone = note(item.outcome === "dropped" ? "Nothing is left: the document was dropped." : "Nothing is left.");
    const text = el("div", { class: `document ${item.outcome === "dropped" ? "dropped" : ""}` }, ...(lines.length ? lines : [gone]));
    const programs = item.programs.length ? item.programs.map(programCard) : [note("No program was written for it.")];
    this.detail.replaceChildren(detailHeader(item, this.report), views, cutNote(item) ?? "", el("div", { class: "sides" }, text,
      el("aside", { class: "programs", "aria-label": "Programs" }, el("h4", {}, "Programs"), ...programs)));
    highlight(this.detail, this.words());
  }
}

function drawDocuments(report) {
  const section = byId("documents");
  if (report.documents.items.length) new DocumentBrowser(report, section);
  else section.append(note("No document was drawn: the run has no program ledger or dropped documents beside its corpus, or --num_documents is 0."));
}
