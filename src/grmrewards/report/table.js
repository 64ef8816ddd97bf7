// The table of judgements, a page of it at a time.

const BADGES = {
  unscored: "unscored", failed: "failed answer", praise: "praises itself", flagged: "flagged step", wrong: "wrong",
};
const SNIPPET = 160; // characters of a text in the table
let found = []; // the rows that pass, in order
let page = 0;
let drawing = 0;

function pages() {
  return Math.max(1, Math.ceil(found.length / size()));
}

function size() {
  return Number(byId("size").value);
}

/** Show what was found, of which `share` of the texts has been looked at. */
function show(rowsFound, share) {
  found = rowsFound;
  if (share === 1) page = Math.min(page, pages() - 1);
  const all = rows.name.length.toLocaleString("en");
  byId("status").textContent = share < 1
    ? `searching \u2026 ${Math.round(100 * share)} %, ${found.length.toLocaleString("en")} found`
    : `${found.length.toLocaleString("en")} of ${all} judgements`;
  return draw();
}

async function draw() {
  const own = ++drawing;
  page = Math.max(0, Math.min(page, pages() - 1));
  const part = found.slice(page * size(), (page + 1) * size());
  const lines = await Promise.all(part.map(line));
  if (own !== drawing) return;
  byId("lines").replaceChildren(...lines);
  byId("none").hidden = part.length > 0;
  byId("page").textContent = `page ${(page + 1).toLocaleString("en")} of ${pages().toLocaleString("en")}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages();
}

async function line(k) {
  const [prompt, response] = await Promise.all([textOf(rows.prompt[k]), textOf(rows.response[k])]);
  const open = el("a", { href: `#j${k + 1}`, class: "open" }, `#${k + 1}`);
  const several = byId("name").options.length > 2;
  return el("tr", { onclick: (event) => { if (!event.target.closest("a")) location.hash = `j${k + 1}`; } },
    el("td", { class: "number" }, open),
    el("td", { class: "number" }, rows.step[k] ?? "\u2013"),
    el("td", { class: "number" }, gauge(rows.reward[k]), badges(k)),
    el("td", { class: "snippet" }, several && el("small", {}, rows.words[rows.name[k]]), snippet(prompt)),
    el("td", { class: "snippet" }, snippet(response) || el("i", {}, "empty")));
}

function snippet(text) {
  const start = text.slice(0, 4 * SNIPPET).replace(/\s+/g, " ").trim();
  return start.length > SNIPPET ? `${start.slice(0, SNIPPET)}\u2026` : start;
}

/** A reward as a number on a bar from the lowest to the highest of the run. */
function gauge(reward) {
  const bar = el("i", { class: "bar" }, el("i"));
  const share = reward === null ? 0 : (reward - rows.lowest) / (rows.highest - rows.lowest || 1);
  bar.firstChild.style.inlineSize = `${100 * share}%`;
  return el("span", { class: "gauge" }, el("b", {}, short(reward)), bar);
}

function badges(k) {
  return Object.entries(BADGES)
    .filter(([name]) => rows.bits[k] & BITS[name])
    .map(([name, said]) => el("small", { class: `badge ${name}` }, said));
}
