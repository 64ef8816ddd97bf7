// One judgement, opened: its prompt and principles above, it and another response of its group side by side.

let current = -1;
let against = -1;

function siblings(k) {
  const own = [];
  for (let j = 0; j < rows.group.length; j++) if (rows.group[j] === rows.group[k]) own.push(j);
  return own.sort((a, b) => (rows.reward[b] ?? -Infinity) - (rows.reward[a] ?? -Infinity) || a - b);
}

/** The sibling that differs most: the best one, or beside the best the worst. */
function contrast(k, group) {
  const others = group.filter((j) => j !== k && rows.reward[j] !== null);
  if (!others.length) return group.find((j) => j !== k) ?? -1;
  const [best, worst] = [others[0], others.at(-1)];
  const far = (j) => Math.abs((rows.reward[k] ?? 0) - rows.reward[j]);
  return far(best) >= far(worst) ? best : worst;
}

async function openRow(k, beside) {
  const group = siblings(k);
  [current, against] = [k, beside ?? contrast(k, group)];
  const wanted = wishes().text;
  const shownRows = against < 0 ? [k] : [k, against];
  const texts = await Promise.all(shownRows.map(textsOf));
  const given = await Promise.all(shownRows.map(votesOf));
  const answers = await Promise.all(shownRows.map((j, at) => votesShown(j, given[at], wanted)));
  if (current !== k) return;
  const common = [...texts[0].notes.keys()].filter(
    (kind) => kind !== "critique" && texts.every((one) => one.notes.get(kind) === texts[0].notes.get(kind)));
  const dialog = byId("detail");
  byId("detail-title").textContent = `Judgement #${k + 1}`;
  byId("detail-place").textContent = place(k);
  byId("detail-body").replaceChildren(
    el("div", { class: "common" }, textBox("prompt", texts[0].prompt, wanted),
      common.map((kind) => textBox(kind, texts[0].notes.get(kind), wanted))),
    chips(group),
    el("div", { class: "beside" }, shownRows.map((j, at) => openCard(j, texts[at], common, answers[at], wanted))));
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".body").scrollTop = 0;
}

function place(k) {
  const step = rows.step[k] === null ? "" : `, step ${rows.step[k].toLocaleString("en")}`;
  return rows.words[rows.name[k]] + step;
}

function chips(group) {
  if (group.length < 2) return el("p", { class: "chips" }, "No other response of this group is in the record.");
  const listed = group.slice(0, 64);
  return el("div", { class: "chips", role: "group", "aria-label": "responses to this prompt in one group" },
    el("span", {}, `${group.length} responses, beside:`),
    listed.map((j) => el("button", {
      type: "button", "aria-pressed": String(j === against), disabled: j === current,
      "data-row": j + 1, onclick: () => openRow(current, j),
    }, short(rows.reward[j]), el("small", {}, j === current ? " this one" : ` #${j + 1}`))));
}

function openCard(k, texts, common, answers, wanted) {
  const own = [...texts.notes].filter(([kind, text]) => text && !common.includes(kind));
  const order = own.sort(([a], [b]) => (a === "critique") - (b === "critique"));
  const score = rows.score[k] === rows.reward[k] ? "" : ` (score ${short(rows.score[k])})`;
  return el("article", { class: k === current ? "card this" : "card" },
    el("header", {}, el("b", {}, k === current ? "this one" : "beside it"),
      el("span", {}, `reward ${short(rows.reward[k])}${score}`), badges(k),
      el("small", {}, k === current ? `#${k + 1}` : el("a", { href: `#j${k + 1}` }, `#${k + 1}`))),
    textBox("response", texts.response, wanted),
    order.map(([kind, text]) => textBox(kind, text, wanted)),
    answers);
}

/** The answers of the judge: what was read in each, and its text where the critique does not have it. */
async function votesShown(k, own, wanted) {
  const noted = new Set(rows.notes[k].flatMap(([, ...ids]) => ids));
  const items = await Promise.all(own.map((vote) => voteShown(vote, noted, wanted)));
  const head = items.length === 1 ? "vote" : `${items.length} votes`;
  return items.length > 0 && el("div", { class: "votes" }, el("h5", {}, head), el("ol", {}, items));
}

async function voteShown(vote, noted, wanted) {
  const [text, reasoning, error] = vote;
  const [said, thought, why] = await Promise.all([textOf(text), textOf(reasoning), textOf(error)]);
  return el("li", { class: why ? "lost" : "" },
    el("span", {}, facts(vote)),
    why && el("p", { class: "why" }, why),
    !noted.has(text) && said && textBox("answer", said, wanted),
    thought && el("details", {}, el("summary", {}, "reasoning"), textBox("reasoning", thought, wanted)));
}

function facts([, , , value, kind, judge, round, tokens]) {
  const values = [value].flat(9).map((one) => (typeof one === "number" ? short(one) : one));
  const listed = [
    rows.words[kind],
    value !== null && `read: ${values.join(", ")}`,
    round > 0 && `asked again, ${round}`,
    tokens && `${tokens[0]} + ${tokens[1]} tokens`,
    rows.words[judge],
  ];
  return listed.filter(Boolean).join(" \u00b7 ");
}

/** Go to the row before or after this one, in the order of the table. */
function stride(by) {
  const at = found.indexOf(current);
  const next = found[(at < 0 ? 0 : at) + by];
  if (next !== undefined) location.hash = `j${next + 1}`;
}
