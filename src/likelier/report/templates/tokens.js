"use strict";
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const words = JSON.parse(byId("words").textContent);
const MIDDLE = { diverging: 0, ratio: 1, sequential: 0 };
const state = { place: 0, selected: null };

const members = (group) => data.items.filter((item) => item.group === group);
const quantity = () => data.quantities.find((each) => each.key === byId("quantity").value);

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function format(value, scale) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (scale === "flag") return value ? words.yes : words.no;
  const size = Math.abs(value);
  const text = size >= 1e5 || (size && size < 1e-4) ? size.toExponential(1) : String(Number(size.toPrecision(3)));
  return (value < 0 ? "−" : "") + text;
}

/** The colour's end and how far it goes there, from 0 to 1. */
function shade(value, { scale, limit }) {
  if (value === null || value === undefined) return ["", 0];
  if (scale === "flag") return ["--low", value ? 1 : 0];
  const distance = scale === "ratio" ? Math.log(value) : value;
  const part = limit ? Math.min(Math.abs(distance) / limit, 1) : 0;
  return [scale === "sequential" ? "--deep" : distance < 0 ? "--low" : "--high", part];
}

function drawScale() {
  const { scale, limit, about } = quantity();
  byId("about").textContent = about;
  const stops = {
    flag: ["--card", "--low"], sequential: ["--card", "--deep"], diverging: ["--low", "--card", "--high"],
    ratio: ["--low", "--card", "--high"],
  }[scale];
  byId("bar").style.background = `linear-gradient(to right in oklab, ${stops.map((stop) => `var(${stop})`)})`;
  const [low, high] = scale === "ratio" ? [Math.exp(-limit), Math.exp(limit)] : [-limit, limit];
  const ends = {
    flag: [words.no, "", words.yes], sequential: ["0", "", `≤ ${format(low)}`],
  }[scale] ?? [`≤ ${format(low)}`, format(MIDDLE[scale]), `≥ ${format(high)}`];
  [...byId("ends").children].forEach((span, i) => { span.textContent = ends[i]; });
}

/** The text of a token as it is shown, and a name of it for lists and readers. */
function spell(text) {
  if (text === "") return ["∅", words.empty];
  if (text.trim() === "") {
    return [text.replaceAll("\n", "↵\n"), text.includes("\n") ? words.newline : words.space];
  }
  return [text.replaceAll("\n", "↵\n"), text];
}

function drawToken(item, unit, place, shownText) {
  const now = quantity(), value = item.numbers[now.key]?.[place], [end, part] = shade(value, now);
  const text = item[unit][place], [shown, name] = spell(text);
  const token = make("span", { className: "t", tabIndex: -1, textContent: shownText ?? shown });
  token.setAttribute("role", "option");
  token.setAttribute("aria-selected", "false");
  token.setAttribute("aria-label", `${name}: ${format(value, now.scale)}`);
  token.dataset.number = format(value, now.scale);
  token.style.setProperty("--part", part.toFixed(3));
  if (end) token.style.setProperty("--end", `var(${end})`);
  token.classList.toggle("hit", now.scale === "flag" && Boolean(value));
  token.classList.toggle("mark", text.trim() === "");
  token.shownFor = [item, unit, place];
  return token;
}

function drawLetters(item) {
  const unit = quantity().unit;
  const letters = make("div", { className: "letters" });
  letters.setAttribute("role", "listbox");
  letters.setAttribute("aria-label", words.tokens);
  const clusters = new Map(unit === "tokens" ? item.clusters.map(([first, end, text]) => [first, [end, text]]) : []);
  for (let place = 0; place < item[unit].length; place += 1) {
    const [end, text] = clusters.get(place) ?? [];
    if (end === undefined) {
      letters.append(drawToken(item, unit, place));
      continue;
    }
    const parts = make("span", { className: "parts" });
    for (; place < end; place += 1) {
      parts.append(drawToken(item, unit, place, item[unit][place].replaceAll(/<0x(..)>/g, "$1 ").trim()));
    }
    place -= 1;
    const cluster = make("span", { className: "cluster" }, make("span", { textContent: text, ariaHidden: "true" }), parts);
    cluster.setAttribute("role", "group");
    cluster.setAttribute("aria-label", text);
    letters.append(cluster);
  }
  const first = letters.querySelector(".t");
  if (first) first.tabIndex = 0;
  else { letters.removeAttribute("role"); letters.removeAttribute("aria-label"); letters.textContent = "∅"; }
  return letters;
}

function drawResponse(group, item) {
  const name = data.groups.find((each) => each.key === group).name;
  const box = make("section", { className: "response" }, make("h2", { textContent: name }));
  box.setAttribute("aria-label", name);
  if (!item) {
    box.append(make("p", { className: "note", textContent: words.none }));
    return box;
  }
  const facts = make("dl", { className: "facts" });
  for (const [label, value] of item.facts) {
    facts.append(make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: format(value) })));
  }
  box.append(make("p", { className: "prompt", textContent: item.prompt }), facts, drawLetters(item));
  return box;
}

function draw() {
  const left = byId("left").value, right = byId("right").value;
  const shown = members(left), count = Math.max(shown.length, right ? members(right).length : 0);
  state.place = Math.max(0, Math.min(state.place, count - 1));
  const place = words.of.replace("{number}", state.place + 1).replace("{count}", count);
  byId("place").textContent = `${words.response} ${place}`;
  drawScale();
  byId("responses").replaceChildren(...[left, ...(right ? [right] : [])].map((group) => drawResponse(group, members(group)[state.place])));
  byId("responses").classList.toggle("numbered", byId("with-numbers").checked);
  byId("previous").disabled = !step(-1);
  byId("next").disabled = !step(1);
  if (state.selected) {
    const again = [...document.querySelectorAll(".t")].find((token) => isSame(token.shownFor, state.selected));
    if (again) choose(again, false);
    else { state.selected = null; showNumbers(null); }
  }
}

const isSame = (a, b) => a && b && a.every((each, i) => each === b[i]);

/** Where a response forward or back is: [group, place] of the left side, beyond a group's end in the next one. */
function step(by) {
  const groups = data.groups.map((each) => each.key), at = groups.indexOf(byId("left").value);
  const right = byId("right").value;
  const count = Math.max(members(groups[at]).length, right ? members(right).length : 0);
  if (state.place + by >= 0 && state.place + by < count) return [groups[at], state.place + by];
  if (right || !groups[at + by]) return null;
  return [groups[at + by], by < 0 ? members(groups[at + by]).length - 1 : 0];
}

function turn(by) {
  const target = step(by);
  if (!target) return;
  [byId("left").value, state.place] = target;
  draw();
}

function showNumbers(shownFor) {
  const [note, title, list] = byId("numbers").children;
  note.hidden = Boolean(shownFor);
  title.hidden = list.hidden = !shownFor;
  list.replaceChildren();
  if (!shownFor) return;
  const [item, unit, place] = shownFor;
  title.textContent = `${words.token[unit]} ${words.of.replace("{number}", place + 1).replace("{count}", item[unit].length)}: “${spell(item[unit][place])[0].replaceAll("\n", "")}”`;
  const rows = data.quantities.filter((each) => each.unit === unit && each.key in item.numbers).map((each) => {
    const value = item.numbers[each.key][place];
    return make("div", { className: each === quantity() ? "now" : "", title: each.about },
      make("dt", { textContent: each.name }), make("dd", { textContent: format(value, each.scale) }));
  });
  list.replaceChildren(...rows);
}

function choose(token, focus = true) {
  for (const other of document.querySelectorAll('.t[aria-selected="true"]')) other.setAttribute("aria-selected", "false");
  for (const other of token.closest(".letters").querySelectorAll(".t")) other.tabIndex = other === token ? 0 : -1;
  token.setAttribute("aria-selected", "true");
  state.selected = token.shownFor;
  showNumbers(token.shownFor);
  if (focus) token.focus();
}

const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
byId("responses").addEventListener("keydown", (event) => {
  const token = event.target.closest(".t");
  if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...token.closest(".letters").querySelectorAll(".t")];
  const ends = { Home: 0, End: all.length - 1 };
  const to = event.key in ends ? ends[event.key] : all.indexOf(token) + (MOVES[event.key] ?? NaN);
  if (Number.isNaN(to)) return;
  event.preventDefault();
  if (all[to]) choose(all[to]);
});
byId("responses").addEventListener("focusin", (event) => { if (event.target.matches(".t")) choose(event.target, false); });
byId("responses").addEventListener("click", (event) => { if (event.target.matches(".t")) choose(event.target); });
byId("responses").addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") showNumbers(event.target.closest(".t")?.shownFor ?? state.selected);
});
byId("responses").addEventListener("pointerleave", () => showNumbers(state.selected));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
  const by = { n: 1, p: -1 }[event.key];
  if (by) turn(by);
});
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());

byId("quantity").append(...data.quantities.map((each) => make("option", { value: each.key, textContent: each.name })));
for (const side of ["left", "right"]) {
  byId(side).append(...data.groups.map((each) => make("option", { value: each.key, textContent: each.name })));
}
[byId("left").value, byId("right").value] = data.start;
for (const id of ["quantity", "left", "right", "with-numbers"]) byId(id).addEventListener("change", draw);
draw();
