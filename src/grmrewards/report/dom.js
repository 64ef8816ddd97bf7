// Elements are made here, and texts get in as text alone: never as markup.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** A text with its control characters and marks of direction made visible. */
function shown(text) {
  return text.replaceAll("\r\n", "\n").replace(HIDDEN, sign); // of a lone surrogate browsers make U+FFFD themselves
}

function sign(character) {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return code < 0xa0 ? "\ufffd" : `[U+${code.toString(16).toUpperCase()}]`;
}

function byId(id) {
  return document.getElementById(id);
}

/** An element with properties and children; a child that is no node is a text. */
function el(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false).map(node));
  return made;
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(shown(String(child)));
}

function short(value) {
  if (value == null) return "\u2013";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** A text with what was searched for marked in it. */
function marked(text, wanted) {
  const lower = text.toLowerCase();
  if (!wanted || lower.length !== text.length) return [text];
  const parts = [];
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && parts.length < 400; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), el("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  return [...parts, text.slice(from)];
}

const LONGEST = 20000; // characters that are laid out before somebody asks for the rest

/** A text under its name. What is very long is shown when it is asked for. */
function textBox(label, text, wanted) {
  const box = el("pre", { tabindex: "0", role: "region", "aria-label": label, dir: "auto" });
  const fill = (part) => box.replaceChildren(...marked(part, wanted).map(node));
  fill(text.slice(0, LONGEST));
  const rest = text.length > LONGEST
    && el("button", { type: "button", class: "quiet", onclick: (event) => { fill(text); event.target.remove(); } },
      `show all ${text.length.toLocaleString("en")} characters`);
  return el("div", { class: "text" }, el("h5", {}, label), box, rest);
}
