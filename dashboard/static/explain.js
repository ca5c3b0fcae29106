// One number explained: its definition, its sums, its ledger, and the sessions that sum to it.

import { cohort, el, facts, moment, number } from "/static/dom.js";
import { json } from "/static/server.js";

const MINUTE_MS = 60_000;
const PAGE = 20;
const AGREES = { true: "the sessions sum to it", false: "the sessions do not sum to it", null: "cannot be told" };

// The address of the view: of the present line, or of the one that many weeks before.
export const address = (query, at_ms, weeks_back = 0) =>
  `#/explain/${encodeURIComponent(weeks_back ? `${query},${weeks_back}w,:offset` : query)}/${at_ms}`;

function table(heads, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map(([text, kind]) => el("th", { class: kind, scope: "col" }, text)))),
    el("tbody", {}, rows.map(row => el("tr", {}, row.map((cell, at) => el("td", { class: heads[at][1] }, cell))))));
}

const SESSION_HEADS = [["Session"], ["Adds", "n"], ["Share", "n"], ["Heartbeats", "n"], ["Where"]];

const amount = value => (value === null ? "–" : Number(value.toPrecision(6)).toLocaleString());

function sessionRows(sessions) {
  return sessions.map(one => [el("code", {}, one.session_id), amount(one.adds), `${((one.share ?? 0) * 100).toFixed(1)} %`,
    String(one.heartbeats), cohort(one.tags)]);
}

export async function explainView(view, isShown, query, at) {
  const at_ms = Number(at);
  const page = offset => json(`/v1/explain?${new URLSearchParams({ q: query, at, limit: PAGE, offset })}`);
  const found = await page(0);
  if (!isShown()) return;
  const { definition, ledger, heartbeats } = found;
  const sessions = table(SESSION_HEADS, sessionRows(found.sessions));
  const more = el("button", { hidden: found.next_offset === null ? "" : null, onclick: async () => {
    const next = await page(sessions.tBodies[0].rows.length);
    const rows = table(SESSION_HEADS, sessionRows(next.sessions));
    sessions.tBodies[0].append(...rows.tBodies[0].rows);
    more.hidden = next.next_offset === null;
  } }, "More sessions");
  view.replaceChildren(
    el("h1", {}, `${number(found.value, definition.unit)} at ${moment(found.at_ms)}`),
    el("p", {}, el("a", { href: address(query, at_ms - MINUTE_MS) }, "a minute earlier"), " · ",
      el("a", { href: address(query, at_ms + MINUTE_MS) }, "a minute later")),
    el("div", { class: "two" },
      el("div", { class: "card" }, el("h2", {}, "What it is"), facts([
        ["metric", definition.metric], ["means", definition.meaning], ["formula", definition.formula], ["source", definition.source],
        ["expression", el("code", {}, found.query)],
      ])),
      el("div", { class: "card" }, el("h2", {}, "How sure"), facts([
        ["sum", el("span", { class: found.agrees === false ? "bad" : found.agrees ? "good" : "warn" }, AGREES[found.agrees])],
        ["because", found.differences.join("; ")],
        ["minutes", found.completeness.text],
        ["ledger", `${ledger.buckets} buckets, ${ledger.balanced ? "balanced" : "NOT balanced"}, ${ledger.lost} lost, ${ledger.double} double`],
        ["heartbeats", Object.entries(heartbeats).filter(([, count]) => count).map(([name, count]) => `${count} ${name.replaceAll("_", " ")}`).join(", ")],
        ["read from", `${found.source.cube === null ? "no cube" : `cube ${found.source.cube}`}: ${found.source.tables.join(", ")}`],
      ])),
    ),
    el("div", { class: "card below" }, el("h2", {}, "Parts"), table(
      [["Part"], ["Sum", "n"], ["Of sessions", "n"], ["Means"]],
      found.parts.map(part => [el("code", {}, part.name), `${amount(part.sum)} ${part.unit}`, amount(part.sum_of_sessions), part.meaning]))),
    el("div", { class: "card below" }, el("h2", {}, `${found.sessions_total.toLocaleString()} sessions`), sessions, more));
}
