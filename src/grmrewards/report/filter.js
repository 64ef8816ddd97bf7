// Which rows are shown, and in which order.

const BITS = { unscored: 1, failed: 2, praise: 4, flagged: 8, wrong: 16 };
const BREATH = 60; // milliseconds of searching before the page may draw again
let searching = 0; // the number of the latest search: an older one gives up

/** What the controls ask for. */
function wishes() {
  const number = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
  return {
    text: byId("search").value.toLowerCase(),
    where: byId("where").value,
    name: byId("name").value,
    bits: BITS[byId("only").value] ?? 0,
    step: [number("step-from"), number("step-to")],
    reward: [number("reward-from"), number("reward-to")],
    sort: byId("sort").value,
  };
}

function within(value, [low, high]) {
  if (low === null && high === null) return true;
  return value !== null && (low === null || value >= low) && (high === null || value <= high);
}

function passing(wish) {
  const name = wish.name === "" ? -1 : Number(wish.name);
  const found = [];
  for (let k = 0; k < rows.name.length; k++) {
    const fits = (name < 0 || rows.name[k] === name) && (!wish.bits || rows.bits[k] & wish.bits)
      && within(rows.step[k], wish.step) && within(rows.reward[k], wish.reward);
    if (fits) found.push(k);
  }
  return found;
}

function sorted(found, sort) {
  const [column, direction] = sort.split(" ");
  if (column === "row") return direction === "down" ? found.reverse() : found;
  const values = column === "spread" ? spreads() : rows[column];
  const sign = direction === "down" ? -1 : 1;
  const key = (k) => values[k] ?? null;
  return found.sort((a, b) => {
    if (key(a) === null || key(b) === null) return (key(a) === null) - (key(b) === null) || a - b; // unknown last
    return sign * (key(a) - key(b)) || a - b;
  });
}

/** By how much the rewards of each row's group differ. */
function spreads() {
  const ends = new Map();
  rows.group.forEach((group, k) => {
    const reward = rows.reward[k];
    if (reward === null) return;
    const [low, high] = ends.get(group) ?? [reward, reward];
    ends.set(group, [Math.min(low, reward), Math.max(high, reward)]);
  });
  return rows.group.map((group) => (ends.has(group) ? ends.get(group)[1] - ends.get(group)[0] : null));
}

/** The texts of a row that a search looks at. */
function searched(k, where) {
  const notes = rows.notes[k].filter(([kind]) => where === "all" || rows.words[kind] === where);
  const said = where === "all" ? rows.votes[k].flatMap((v) => [votes[v][0], votes[v][1], votes[v][2]]) : [];
  return [
    ...(where === "all" || where === "prompt" ? [rows.prompt[k]] : []),
    ...(where === "all" || where === "response" ? [rows.response[k]] : []),
    ...notes.flatMap(([, ...ids]) => ids), ...said,
  ];
}

/** Search all texts, chunk by chunk, and tell `show` what is found so far; false where another search has begun. */
async function search(wish, show) {
  const own = ++searching;
  const left = passing(wish);
  if (!wish.text) return show(sorted(left, wish.sort), 1);
  byId("status").textContent = "searching \u2026";
  votes ??= await unpack("votes");
  const has = new Uint8Array(rows.texts);
  const hits = () => left.filter((k) => searched(k, wish.where).some((id) => id >= 0 && has[id]));
  let told = performance.now();
  for (let at = 0; at < rows.firsts.length; at++) {
    const texts = await chunk(at);
    if (own !== searching) return false;
    texts.forEach((text, k) => { has[rows.firsts[at] + k] = text.toLowerCase().includes(wish.text) ? 1 : 0; });
    if (performance.now() - told < BREATH) continue;
    if (at % 16 === 0) show(sorted(hits(), wish.sort), (at + 1) / rows.firsts.length);
    await new Promise((done) => setTimeout(done));
    told = performance.now();
  }
  return own === searching && show(sorted(hits(), wish.sort), 1);
}
