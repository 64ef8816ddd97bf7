// The data of the page: base64 of deflated JSON in inert elements, opened one by one when it is needed.

const KEPT = 48; // opened chunks
const opened = new Map();
let rows = null; // numbers, column by column
let votes = null;

async function unpack(id) {
  const found = atob(byId(id).textContent);
  const bytes = new Uint8Array(found.length);
  for (let k = 0; k < found.length; k++) bytes[k] = found.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** The texts of a chunk; those that were used last stay open. */
function chunk(number) {
  const found = opened.get(number) ?? unpack(`t${number}`);
  opened.delete(number);
  opened.set(number, found);
  if (opened.size > KEPT) opened.delete(opened.keys().next().value);
  return found;
}

function chunkOf(text) {
  let low = 0;
  let high = rows.firsts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows.firsts[middle] <= text) low = middle;
    else high = middle - 1;
  }
  return low;
}

async function textOf(number) {
  if (number < 0) return "";
  const at = chunkOf(number);
  return (await chunk(at))[number - rows.firsts[at]];
}

async function votesOf(row) {
  votes ??= await unpack("votes");
  return rows.votes[row].map((number) => votes[number]);
}

/** The texts of a row by kind: prompt, response, and what the judge wrote. */
async function textsOf(row) {
  const notes = rows.notes[row].map(async ([kind, ...ids]) => {
    const parts = await Promise.all(ids.map(textOf));
    return [rows.words[kind], parts.join("\n\n")];
  });
  const [prompt, response, found] = await Promise.all(
    [textOf(rows.prompt[row]), textOf(rows.response[row]), Promise.all(notes)]);
  return { prompt, response, notes: new Map(found) };
}
