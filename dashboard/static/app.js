// The page: views chosen by the part of the address after "#".

import { draw, latest, onPoint, weeks } from "/static/charts.js";
import { cohort, el, facts, moment, number, time } from "/static/dom.js";
import { address, explainView } from "/static/explain.js";
import { ask, json, picture } from "/static/server.js";

const REFRESH_MS = 5_000;
const RANGE_MIN = 60;
const HEADLINES = [
  { label: "Plays per second", query: "name,qoe.sps,:eq,:sum", format: ".2f", worse: -1 },
  { label: "Rebuffering", query: ":true,:rebuffer-ratio", format: ".2%", worse: 1 },
  { label: "Start failures", query: ":true,:start-failure", format: ".2%", worse: 1 },
  { label: "Start-up time, ms", query: ":true,:startup-time", format: ".0f", worse: 1 },
  { label: "Frozen picture", query: ":true,:freeze-ratio", format: ".2%", worse: 1 },
  { label: "Viewers at once", query: "name,qoe.concurrent,:eq,:sum", format: ",.0f", worse: -1 },
];
const view = document.getElementById("view");
let shown = 0;

function formatted(value, format) {
  if (value === null) return "–";
  if (format.endsWith("%")) return `${(value * 100).toFixed(2)} %`;
  return value.toLocaleString(undefined, { maximumFractionDigits: format === ".2f" ? 2 : 0 });
}

function state(incident) {
  const kind = { firing: "bad", pending: "warn", resolving: "warn", closed: "good" }[incident.state] ?? "soft";
  return el("span", { class: `state ${kind}` }, incident.state);
}

function incidentLine(incident) {
  return el("div", { class: "card" },
    el("div", {}, state(incident), " ", el("span", { class: "soft" }, `since ${time(incident.since_ms)}`)),
    el("a", { href: `#/incidents/${incident.incident}` }, incident.title),
    el("div", { class: "soft" }, cohort(incident.cohort)));
}

async function incidents() {
  return (await json("/v1/incidents?limit=100")).incidents;
}

async function now(run) {
  const cards = HEADLINES.map(({ label }) => ({
    value: el("span", { class: "value" }, "…"), versus: el("span", { class: "versus" }), chart: el("div", { class: "chart" }), label,
    why: el("a", { class: "why", hidden: "", "aria-label": `Explain ${label}` }, "explain"),
  }));
  const side = el("aside", { "aria-label": "Incidents" });
  view.replaceChildren(el("div", { class: "now" },
    el("section", { class: "charts" }, cards.map(card => el("div", { class: "card" },
      el("h2", {}, card.label), card.value, " ", card.versus, " ", card.why, card.chart))),
    side));
  for (; shown === run; await new Promise(done => setTimeout(done, REFRESH_MS))) {
    const status = await json("/v1/status");
    const [list] = await Promise.all([incidents(), ...HEADLINES.map(async (headline, at) => {
      const data = await weeks(headline.query, RANGE_MIN);
      if (shown !== run) return;
      const { value, last, at_ms } = latest(data, status.complete_until_ms);
      cards[at].value.textContent = formatted(value, headline.format);
      cards[at].versus.textContent = `last week ${formatted(last, headline.format)}`;
      cards[at].why.hidden = !at_ms;
      cards[at].why.setAttribute("href", address(headline.query, at_ms));
      draw(cards[at].chart, data, { format: headline.format, complete_until_ms: status.complete_until_ms, label: headline.label });
      onPoint(cards[at].chart, (at_ms, weeks_back) => { location.hash = address(headline.query, at_ms, weeks_back); });
    })]);
    if (shown !== run) return;
    const open = list.filter(incident => incident.state !== "closed");
    const closed = list.filter(incident => incident.state === "closed").slice(0, 5);
    side.replaceChildren(
      el("h2", {}, open.length ? `${open.length} open` : "No open incident"), ...open.map(incidentLine),
      ...(closed.length ? [el("h2", { class: "soft" }, "Closed lately")] : []), ...closed.map(incidentLine));
  }
}

async function incidentList() {
  const rows = (await incidents()).map(incident => el("tr", {},
    el("td", {}, state(incident)), el("td", {}, el("a", { href: `#/incidents/${incident.incident}` }, incident.title)),
    el("td", {}, cohort(incident.cohort)), el("td", {}, moment(incident.opened_ms)), el("td", {}, moment(incident.closed_ms))));
  view.replaceChildren(el("h1", {}, "Incidents"), el("table", {},
    el("thead", {}, el("tr", {}, ["State", "What", "Where", "Opened", "Closed"].map(text => el("th", {}, text)))),
    el("tbody", {}, rows)));
}

function cohortTable(incident) {
  if (!incident.cohorts.length) return null;
  return el("div", { class: "card" }, el("h2", {}, "Cohorts that explain it"), el("table", {},
    el("thead", {}, el("tr", {}, el("th", {}, "Cohort"), el("th", { class: "n" }, "Lift"), el("th", { class: "n" }, "Affected"), el("th", { class: "n" }, "Share"))),
    el("tbody", {}, incident.cohorts.map(found => el("tr", {}, el("td", {}, cohort(found.cohort)),
      el("td", { class: "n" }, found.lift.toFixed(1)), el("td", { class: "n" }, String(found.affected)),
      el("td", { class: "n" }, `${(found.share * 100).toFixed(1)} %`))))),
    el("p", {}, incident.counterfactual),
    el("p", { class: "soft" }, "Sessions: ", incident.sample_sessions.map(id => [el("code", {}, id), " "])));
}

// The path of an absolute link to this server, so that the page works behind any name.
const local = url => { const link = new URL(url, location.href); return link.pathname + link.search; };

function verdictCard({ verdict, detector, stream, origin, text, cpu_s, frame_url }) {
  return el("div", { class: "card" }, el("h2", {}, `Probe: ${verdict}${detector && detector !== "none" ? `, ${detector}` : ""}`),
    facts([["stream", stream], ["where from", origin], ["what", text], ["CPU", cpu_s ? `${cpu_s.toFixed(2)} s` : ""]]),
    frame_url ? el("p", {}, picture(local(frame_url), `Evidence frame of ${stream}: ${detector}`)) : null);
}

// What a remediation did to the cohort, beside everyone else.
function effect({ before, after }) {
  if (!before || !after) return null;
  const change = who => `${number(before[who], before.unit)} → ${number(after[who], after.unit)}`;
  return el("div", { class: "soft" }, `cohort ${change("cohort")}, everyone else ${change("others")}`);
}

async function incidentView(run, id) {
  const incident = await json(`/v1/incidents/${encodeURIComponent(id)}`);
  if (shown !== run) return;
  const act = verb => async () => {
    await ask(`/v1/incidents/${encodeURIComponent(id)}/${verb}`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    await show();
  };
  view.replaceChildren(
    el("h1", {}, state(incident), " ", incident.title), el("p", {}, incident.text),
    el("p", {}, el("button", { onclick: act("ack") }, incident.acknowledged_by ? `Acknowledged by ${incident.acknowledged_by}` : "Acknowledge"), " ",
      el("button", { onclick: act("close") }, "Close")),
    el("div", { class: "two" },
      el("div", { class: "card" }, el("h2", {}, "What"), facts([
        ["rule", incident.rule], ["where", cohort(incident.cohort)],
        ["value", number(incident.value, incident.unit)],
        ["usual", incident.baseline?.value === null ? incident.history : `${number(incident.baseline.value, incident.unit)} (${number(incident.baseline.low, incident.unit)} to ${number(incident.baseline.high, incident.unit)})`],
        ["n", number(incident.n, "")], ["p", incident.p === null ? "" : incident.p.toExponential(1)],
        ["affected sessions", number(incident.affected_sessions, "")],
        ["since", moment(incident.since_ms)], ["opened", moment(incident.opened_ms)], ["closed", moment(incident.closed_ms)],
      ])),
      cohortTable(incident),
      incident.items.length ? el("div", { class: "card" }, el("h2", {}, "Items"), el("ul", {}, incident.items.map(item => el("li", {}, cohort(item))))) : null,
      incident.links.graph ? el("div", { class: "card" }, el("h2", {}, "This week over last week"),
        picture(local(incident.links.graph), `Graph of ${incident.metric}`)) : null,
      incident.verdicts.map(verdictCard),
      incident.actions.length ? el("div", { class: "card" }, el("h2", {}, "Actions"), el("ul", {}, incident.actions.map(action =>
        el("li", {}, `${action.action}: ${action.state}${action.dry_run ? " (dry run)" : ""}${action.answer ? `, answered ${action.status} ${action.answer}` : ""}`, effect(action))))) : null,
      incident.timeline.length ? el("div", { class: "card" }, el("h2", {}, "Timeline"), el("table", {}, el("tbody", {},
        incident.timeline.map(entry => el("tr", {}, el("td", {}, time(entry.at_ms)), el("td", {}, entry.kind), el("td", {}, entry.text)))))) : null));
}

async function artwork() {
  const { expected, images } = await json("/v1/artwork");
  const langs = [...new Set(images.map(image => image.lang))].sort();
  const titles = new Map();
  for (const image of images) {
    if (!titles.has(image.title)) titles.set(image.title, { launch: image.launch_ms, cells: new Map() });
    const cells = titles.get(image.title).cells;
    if (!cells.has(image.lang)) cells.set(image.lang, []);
    cells.get(image.lang).push(image);
  }
  const cell = found => {
    const bad = (found ?? []).filter(image => image.state !== "present");
    const kind = bad.some(image => image.state === "missing") ? "missing" : bad.length ? "wrong" : "";
    const text = bad.length ? bad.map(image => `${image.kind} ${image.state}`).join(", ") : found ? `${found.length} ✓` : "–";
    return el("td", { class: kind }, text);
  };
  const bad = images.filter(image => image.state !== "present").length;
  view.replaceChildren(el("h1", {}, `Artwork: ${bad} of ${expected} images missing or wrong`),
    el("table", { class: "matrix" },
      el("thead", {}, el("tr", {}, el("th", {}, "Title"), el("th", {}, "Launch"), langs.map(lang => el("th", {}, lang)))),
      el("tbody", {}, [...titles].map(([title, { launch, cells }]) => el("tr", {}, el("th", { scope: "row" }, title),
        el("td", {}, launch ? new Date(launch).toLocaleDateString() : "–"), langs.map(lang => cell(cells.get(lang))))))));
}

async function streams() {
  const { verdicts, waiting } = await json("/v1/probes");
  const cards = verdicts.map(({ id, defects, summary, ...verdict }) => {
    const worst = defects.find(defect => defect.verdict === "confirmed") ?? defects[0];
    const frame_url = worst && worst.frame >= 0 ? `/v1/probes/${id}/frame.png?number=${worst.frame}` : "";
    return verdictCard({ ...verdict, text: summary, detector: worst?.detector, origin: worst?.source, frame_url });
  });
  const spent_s = verdicts.reduce((sum, verdict) => sum + verdict.cpu_s, 0);
  view.replaceChildren(el("h1", {}, "Streams that were looked at"),
    el("p", { class: "soft" }, `${verdicts.length} looks took ${spent_s.toFixed(1)} CPU s; ${waiting} wait.`), el("div", { class: "two" }, cards));
}

async function health() {
  const [status, ledger] = await Promise.all([json("/v1/status"), json("/v1/ledger")]);
  const { totals, problems, ...proof } = ledger;
  const lines = values => facts(Object.entries(values ?? {}).map(([name, value]) => [name, String(value)]));
  view.replaceChildren(el("h1", {}, "Health"), el("div", { class: "two" },
    el("div", { class: "card" }, el("h2", {}, "Jobs"), facts([["counted until", moment(status.complete_until_ms)]]), lines(status.jobs)),
    el("div", { class: "card" }, el("h2", {}, "Ledger"), lines(proof), el("h2", {}, "Counted"), lines(totals),
      problems.length ? el("ul", { class: "bad" }, problems.map(problem => el("li", {}, problem))) : null)));
}

const explain = (run, query, at) => explainView(view, () => shown === run, query, at);

async function show() {
  const run = ++shown;
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/");
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.getAttribute("href") === `#/${name}`);
  }
  const views = { "": now, incidents: rest[0] ? incidentView : incidentList, artwork, streams, health, explain };
  try {
    await (views[name] ?? now)(run, ...rest.map(decodeURIComponent));
  } catch (error) {
    if (shown === run) view.replaceChildren(el("p", { class: "bad", role: "alert" }, String(error.message ?? error)));
  }
}

const direct = location.pathname.match(/^\/incidents\/([^/]+)$/);
if (direct) location.replace(`/#/incidents/${direct[1]}`);
async function clock() {
  const status = await json("/v1/status").catch(() => null);
  document.getElementById("clock").textContent = status ? time(status.now_ms) : "no answer";
  setTimeout(clock, 1_000);
}
clock();
window.addEventListener("hashchange", show);
show();
