// Elements, facts and numbers as all views write them. Text from the server only ever becomes text nodes.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return node;
}

export const time = ms => (ms ? new Date(ms).toLocaleTimeString([], { hour12: false }) : "–");
export const moment = ms => (ms ? new Date(ms).toLocaleString([], { hour12: false }) : "–");
export const cohort = tags => Object.entries(tags ?? {}).map(([key, value]) => `${key}=${value}`).join(" · ") || "everything";

export function number(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (unit === "1") return `${(value * 100).toFixed(2)} %`;
  return `${Number(value.toPrecision(4)).toLocaleString()} ${unit ?? ""}`.trim();
}

export const facts = pairs => el("dl", {}, pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
  .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
