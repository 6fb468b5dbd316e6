// Every section but the documents: tables, curves, retention, lengths, counts of programs, sources.

function label(report, run, name) {
  return report.runs.length > 1 ? `${run} · ${name}` : name;
}

/** Text of a table's cell with its **bold** parts. */
function inline(text) {
  return String(text).split(/\*\*(.+?)\*\*/).map((part, place) => (place % 2 ? el("strong", {}, part) : part));
}

function runColumn(report) {
  return report.runs.length > 1 ? [{ head: "run" }] : [];
}

function drawProblems(report) {
  if (!report.problems.length) return;
  const section = byId("problems");
  section.hidden = false;
  const items = report.problems.map((problem) => el("li", {}, problem));
  section.append(el("h2", { id: "problems-title" }, `${count(items.length)} things could not be read`),
    note("Everything else is shown."), details("Which", el("ul", { class: "bullets" }, ...items)));
}

function drawResults(report) {
  const section = byId("results");
  for (const one of report.tables) {
    section.append(el("h3", {}, label(report, one.run, one.place)));
    for (const block of one.blocks) {
      if ("text" in block) {
        section.append(note(...inline(block.text.replace(/^#+\s*/, ""))));
        continue;
      }
      const columns = block.head.map((head, place) => ({ head, right: block.align[place] === "right" }));
      section.append(table(one.command, columns, block.rows.map((row) => row.map((cell) => el("span", {}, ...inline(cell))))));
    }
  }
  if (!report.tables.length) section.append(note("No finished table of `evaluation table` is in the run."));
  drawRecords(report, section);
}

function drawRecords(report, section) {
  const { suites, warning, num_records: number } = report.records;
  if (!number) {
    section.append(note("No result record (records/*.json) is in the run."));
    return;
  }
  const tables = suites.map((suite) => {
    const columns = [{ head: "model" }, ...runColumn(report), { head: "step", right: true },
      ...suite.columns.map((column) => ({ head: heading(column, suite), right: true }))];
    const rows = suite.rows.map((row) => [row.model, ...(report.runs.length > 1 ? [row.run] : []),
      row.step === null ? null : count(row.step), ...row.cells.map(score)]);
    const samples = suite.num_samples.map(([task, samples]) => `${task} n = ${count(samples)}`).join(", ");
    return table(`${suite.suite} ${suite.versions.join(", ")}: ${samples}`, columns, rows);
  });
  const all = details(`${count(number)} result records`, ...tables,
    note("Scores in %, bits per byte as they are; ± is one standard error; the best of a column in bold."));
  all.open = !report.tables.length;
  if (warning) section.append(el("p", { class: "warning" }, warning));
  section.append(all);
}

function heading(column, suite) {
  const severalTasks = new Set(suite.columns.map((one) => one.task)).size > 1;
  const words = [severalTasks ? column.task : "", column.metric.replaceAll("_", " ")];
  return words.filter(Boolean).join(" ") + (column.shots ? ` (${column.shots}-shot)` : "");
}

function score(cell) {
  if (cell === null) return null;
  return el("span", {}, el(cell.best ? "strong" : "span", {}, cell.value), cell.stderr ? ` ± ${cell.stderr}` : "");
}

const TITLES = {
  loss: "Loss",
  validation_loss: "Validation loss",
  validation_bits_per_byte: "Validation bits per byte",
  learning_rate: "Learning rate",
  tokens_per_second: "Tokens per second",
};

function drawTraining(report) {
  const section = byId("training");
  if (!report.curves.length) section.append(note("No training (metrics.jsonl) is in the run."));
  for (const group of report.curves) section.append(curveGroup(report, group));
}

function curveGroup(report, group) {
  const box = el("div", {}, el("h3", {}, group.command));
  const axesFound = ["step", "tokens", "epoch"].filter((name) => group.series.every((one) => one.columns[name]));
  const names = group.series.map((one) => label(report, one.run, one.name) + (one.finished ? "" : " (under way)"));
  const place = el("div", {});
  const choice = el("select", { onchange: () => draw(choice.value) }, ...axesFound.map((name) => el("option", {}, name)));

  function draw(axis) {
    const plots = Object.keys(TITLES).filter((name) => group.series.some((one) => one.columns[name])).map((name) => {
      const series = group.series.map((one, number) => ({ name: names[number], points: pointsOf(one, axis, name) }))
        .filter((one) => one.points.some((point) => point[1] !== null));
      return plot(series, { title: TITLES[name], xLabel: axis, fromZero: name === "tokens_per_second" });
    });
    place.replaceChildren(legend(names, plots, `Trainings of ${group.command}`),
      el("div", { class: "plots" }, ...plots.map((one) => one.figure)));
  }

  draw(axesFound[0]);
  const last = group.series.map((one, number) => [names[number], ...["step", "tokens", "loss", "tokens_per_second"].map((name) => {
    const value = one.columns[name]?.filter((found) => found !== null).at(-1);
    return value === undefined ? null : name === "loss" ? value.toFixed(4) : count(value);
  })]);
  const columns = [{ head: "training" }, ...["steps", "tokens", "last loss", "tokens per second"].map((head) => ({ head, right: true }))];
  if (axesFound.length > 1) box.append(el("label", { class: "field" }, "x axis ", choice));
  box.append(place, details("Numbers", table(`Last values of ${group.command}`, columns, last)));
  return box;
}

function pointsOf(series, axis, name) {
  const along = series.columns[axis];
  const values = series.columns[name];
  return values ? along.map((x, place) => [x, values[place]]).filter((point) => point[0] !== null && point[1] !== null) : [];
}

function drawCorpus(report) {
  const section = byId("corpus");
  if (report.retention.length) section.append(retentionTable(report));
  else section.append(note("No documents of `refinement` are in the run."));
  const measures = ["tokens", "words", "characters"].filter((name) => report.lengths[name]);
  if (measures.length) section.append(...lengthPlots(report, measures));
  const dropping = report.steps.filter((step) => step.dropped.length);
  if (!dropping.length) return;
  section.append(el("h3", {}, "Why documents were dropped"));
  section.append(el("div", { class: "cards" }, ...dropping.map((step) => {
    const all = step.dropped.reduce((sum, [, number]) => sum + number, 0);
    const summary = `${count(all)} of ${count(all + step.kept)} documents`;
    return card(`${label(report, step.run, step.arm)}`, `${step.command}: ${summary}`, bars(step.dropped));
  })));
}

function retentionTable(report) {
  const units = ["documents", "tokens", "words", "bytes"].filter((unit) => report.retention.some((row) => unit in row.sizes));
  const columns = [{ head: "arm" }, ...runColumn(report), ...units.map((unit) => ({ head: `${unit} kept`, right: true }))];
  const rows = report.retention.map((row) => [row.arm, ...(report.runs.length > 1 ? [row.run] : []),
    ...units.map((unit) => (unit in row.sizes ? kept(row.sizes[unit], row.shares[unit]) : null))]);
  return table("What each arm kept", columns, rows);
}

function kept(size, share) {
  return el("span", { class: "kept" }, el("span", {}, count(size)), el("span", { class: "share" }, percent(share)), bar(share));
}

function lengthPlots(report, measures) {
  const names = [...new Set(measures.flatMap((one) => report.lengths[one].map((arm) => label(report, arm.run, arm.name))))];
  const plots = measures.map((measure) => {
    const series = report.lengths[measure].filter((arm) => arm.bins.length).map((arm) => {
      const name = label(report, arm.run, arm.name);
      const edges = arm.bins.map(([low, , , density]) => [low, density]);
      const points = [[arm.bins[0][0], 0], ...edges, [arm.bins.at(-1)[1], arm.bins.at(-1)[3]], [arm.bins.at(-1)[1], 0]];
      return { name, points };
    });
    return plot(series, { title: `Document length in ${measure}`, xLabel: measure, stepped: true, logarithmic: true, fromZero: true });
  });
  return [el("h3", {}, "Document lengths"), legend(names, plots, "Arms"),
    el("div", { class: "plots" }, ...plots.map((one) => one.figure)),
    note("Height: documents of an arm, in percent, for each doubling of the length. ",
      measures.includes("characters") ? "Counted from the documents; `refinement stats` measures tokens." : "As `refinement stats` measured them.")];
}

function card(title, subtitle, ...children) {
  return el("article", { class: "card" }, el("h4", {}, title), subtitle ? el("p", { class: "note" }, subtitle) : null, ...children);
}

/** Names with their counts as bars; `rows` are [name, number]. */
function total(rows) {
  return rows.reduce((sum, row) => sum + row[1], 0) || 1;
}

function bars(rows, all = total(rows)) {
  const most = Math.max(...rows.map((row) => row[1]), 1);
  return el("table", { class: "bars" }, el("tbody", {}, ...rows.map(([name, number]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "right" }, count(number)),
      el("td", { class: "right dim" }, percent(number / all)), el("td", { class: "wide" }, bar(number / most))))));
}

function drawPrograms(report) {
  const section = byId("programs");
  const steps = report.steps.filter((step) => step.ledger);
  if (!steps.length) section.append(note("No program ledger of `refinement document` or `chunk` is in the run."));
  for (const step of steps) {
    section.append(el("h3", {}, `${label(report, step.run, step.arm)} (${step.command})`));
    section.append(el("div", { class: "cards" }, ...(step.ledger.kind === "chunk" ? chunkCards(step.ledger) : documentCards(step.ledger))));
  }
}

function joined(rows) {
  return rows.map(([verdict, reason, number]) => [reason ? `${verdict}: ${reason}` : verdict, number]);
}

function chunkCards(ledger) {
  const calls = ledger.calls.map(([name, status, number]) => [`${name}: ${status}`, number]);
  return [card("Calls by kind and status", "", calls.length ? bars(calls) : note("no call")),
    card("Documents by verdict", "", bars(joined(ledger.documents))), card("Chunks by verdict", "", bars(joined(ledger.chunks)))];
}

function documentCards(ledger) {
  const cards = [card("Decisions", "", bars(ledger.decisions))];
  if (ledger.flags.length) cards.push(card("Beside that", "", bars(ledger.flags, total(ledger.decisions))));
  if (ledger.p_keep) cards.push(card("p_keep", "documents by the refiner's probability of keeping them", keepHistogram(ledger)));
  return cards;
}

function keepHistogram({ p_keep: bins, threshold }) {
  const [width, height, bottom] = [360, 130, 18];
  const most = Math.max(...bins);
  const columns = bins.map((number, place) => {
    const tall = (number / most) * (height - bottom - 8);
    const at = { x: (place * width) / bins.length + 1, y: height - bottom - tall, width: width / bins.length - 2, height: tall };
    const below = threshold !== null && (place + 0.5) / bins.length < threshold;
    return svg("rect", { ...at, class: below ? "column dropped" : "column" },
      svg("title", {}, `${place / bins.length} to ${(place + 1) / bins.length}: ${count(number)} documents`));
  });
  const line = threshold === null ? [] : [svg("line", { class: "cursor", x1: threshold * width, x2: threshold * width, y1: 0, y2: height - bottom })];
  const texts = [0, 0.5, 1].map((value) => svg("text", { class: "tick", x: 2 + value * (width - 4), y: height - 4,
    "text-anchor": ["start", "middle", "end"][value * 2] }, String(value)));
  const told = threshold === null ? "" : `; documents below ${threshold} are dropped`;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of p_keep${told}` }, ...columns, ...line, ...texts);
}

function drawSources(report) {
  const columns = [{ head: "place" }, ...runColumn(report), { head: "made by" }, { head: "commit" }, { head: "seconds", right: true }];
  const rows = report.artifacts.map((one) => [one.place, ...(report.runs.length > 1 ? [one.run] : []), one.command || null,
    one.commit ? el("code", {}, one.commit.slice(0, 10) + (one.commit.endsWith("+changes") ? "+changes" : "")) : null,
    one.finished ? (one.seconds === null ? null : count(one.seconds)) : "unfinished"]);
  byId("sources").append(details(`${count(rows.length)} folders`, table("What this page was made from", columns, rows)));
}
