// Begins when the page is there: fills the controls, listens, and opens the row that the address names.

const LABEL = 60; // characters of a name in a list

async function begin() {
  if (!byId("rows")) return;
  if (typeof DecompressionStream === "undefined") {
    byId("loading").textContent = "This browser is too old to open the judgements: it has no DecompressionStream.";
    return;
  }
  rows = await unpack("rows");
  const known = rows.reward.filter((reward) => reward !== null);
  rows.lowest = known.reduce((a, b) => Math.min(a, b), 0);
  rows.highest = known.reduce((a, b) => Math.max(a, b), rows.lowest);
  fillControls();
  listen();
  byId("loading").hidden = true;
  byId("browse").hidden = false;
  await refresh();
  await followAddress();
}

function fillControls() {
  const names = [...new Set(rows.name)];
  byId("name").append(...names.map((word) => el("option", { value: word }, rows.words[word].slice(0, LABEL))));
  byId("name").closest("label").hidden = names.length < 2;
  const kinds = [...new Set(rows.notes.flatMap((own) => own.map(([kind]) => rows.words[kind])))];
  byId("where").append(...kinds.map((kind) => el("option", { value: kind }, kind.slice(0, LABEL))));
  for (const option of [...byId("only").options]) {
    const bit = BITS[option.value];
    const count = bit ? rows.bits.filter((bits) => bits & bit).length : 0;
    if (bit && !count) option.remove();
    else if (bit) option.textContent += ` (${count.toLocaleString("en")})`;
  }
}

function refresh() {
  page = 0;
  markSorted();
  return search(wishes(), show);
}

function markSorted() {
  const [column, direction] = byId("sort").value.split(" ");
  for (const button of document.querySelectorAll("#browse th button")) {
    const sort = column === button.dataset.column ? (direction === "down" ? "descending" : "ascending") : "none";
    button.closest("th").setAttribute("aria-sort", sort);
  }
}

function listen() {
  let waiting = 0;
  byId("controls").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 150);
  });
  byId("controls").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
  byId("controls").addEventListener("reset", () => setTimeout(refresh));
  byId("previous").addEventListener("click", () => { page -= 1; draw(); });
  byId("next").addEventListener("click", () => { page += 1; draw(); });
  for (const button of document.querySelectorAll("#browse th button")) {
    button.addEventListener("click", () => sortBy(button.dataset.column));
  }
  byId("before").addEventListener("click", () => stride(-1));
  byId("after").addEventListener("click", () => stride(1));
  byId("close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("close", forget);
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
  byId("detail").addEventListener("keydown", keys);
  window.addEventListener("hashchange", followAddress);
}

function sortBy(column) {
  const turned = byId("sort").value === `${column} down` ? `${column} up` : `${column} down`;
  byId("sort").value = turned;
  refresh();
}

function keys(event) {
  if (event.target.closest("input, select, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1 }[event.key];
  if (by) stride(by);
}

function forget() {
  current = -1;
  if (location.hash.startsWith("#j")) history.replaceState(null, "", location.pathname + location.search);
}

async function followAddress() {
  const named = /^#j(\d+)$/.exec(location.hash);
  const k = named ? Number(named[1]) - 1 : -1;
  if (k >= 0 && k < rows.name.length) await openRow(k);
  else if (byId("detail").open) byId("detail").close();
}

/** Say that the data cannot be opened, and let the console say why. */
function broken(error) {
  byId("loading").textContent = "The judgements cannot be opened: this file is damaged, or a part of it is missing.";
  throw error;
}

document.addEventListener("DOMContentLoaded", () => begin().catch(broken));
