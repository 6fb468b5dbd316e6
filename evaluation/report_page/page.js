// Reads the embedded data and draws the sections.

function title(report) {
  document.title = `${report.runs.join(", ")} - ProX run report`;
  byId("title").textContent = report.runs.join(", ");
}

const report = JSON.parse(byId("report-data").textContent);
// Arms take the first colours, in the order of the retention table.
report.retention.forEach((row) => seriesNumber(label(report, row.run, row.arm)));
for (const draw of [title, drawProblems, drawResults, drawTraining, drawCorpus, drawPrograms, drawDocuments, drawSources]) draw(report);
