// Shows one question after another. The next one is here before it is needed; an answer is kept until it is acknowledged.
import { keep, forget, waiting } from "/static/outbox.js";
import { visible } from "/static/controls.js";
import { say } from "/static/words.js";

const $ = (id) => document.getElementById(id);
const MAX_SECONDS = 86400, ASK_AGAIN_MS = 30000, ASK_WRITING_MS = 2000, DOUBLE_KEY_MS = 150;
let questions = [], shown = null, shownAt = 0, answeredAt = -Infinity, last = null, progress = null, done = false, writing = false, sending = null, raw = false;
const answered = new Set(), { project } = document.body.dataset;

async function ask(path, body, about = project) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await fetch(about ? `${path}?project=${encodeURIComponent(about)}` : path, options);
      const found = await reply.json();
      if (reply.ok) { trouble(""); return { found }; }
      if (reply.status === 403) trouble(say("logged_out"));
      else trouble(found.detail);
      if (reply.status < 500 && reply.status !== 429) return { status: reply.status };
    } catch {
      trouble(say("offline"));
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function take(found) {
  const known = new Set([...answered, ...questions.map(idOf), ...(shown ? [idOf(shown.question)] : [])]);
  questions.push(...[found, found.next].filter((each) => each?.ids && !known.has(idOf(each))));
  progress = found.progress;
  ({ done, writing } = found);
  if (done) {
    questions = [];
    if (!shown?.supersedes) shown = null;
  }
  if ($("guess")) reveal(found.guess, progress);
}

const idOf = ({ ids }) => [ids.comparison_id, ids.left].join();

function refresh() {
  if (progress) {
    const { judged, wanted, own } = progress;
    $("count").textContent = say(wanted ? "count_of" : "count", { judged, wanted, own });
    $("bar").hidden = !wanted;
    if (wanted) $("bar").value = Math.min(1, judged / wanted);
  }
  $("undo").disabled = !last;
  if (shown === null && questions.length) show(questions.shift(), null);
  $("question").hidden = !shown;
  $("done").hidden = !(done && !shown && !writing);
  $("writing").hidden = !(done && !shown && writing);
  $("wait").hidden = Boolean(shown) || done;
}

function show(question, supersedes) {
  shown = { question, supersedes };
  $("again").hidden = !supersedes;
  const { turns, prompt } = question.shown;
  $("prompt").replaceChildren(...(turns ? turns.map(turn) : visible(text(prompt))));
  for (const side of ["left", "right"]) fill(side, question.shown);
  $("raw").hidden = !Object.keys(question.shown.html).length;
  delete document.body.dataset.chosen;
  scrollTo(0, 0);
  shownAt = performance.now();
}

// Without blank lines around it; the indentation of the first line stays.
const text = (content) => content.replace(/^(\s*\n)+|\s+$/g, "");

function turn({ role, content }) {
  const part = Object.assign(document.createElement("div"), { className: "turn", dir: "auto" });
  part.append(Object.assign(document.createElement("b"), { textContent: role }), ...visible(text(content)));
  return part;
}

function fill(side, shown) {
  const media = shown.media[side], content = text(shown[side]);
  if (media) return void $(side).replaceChildren(player(side, media));
  const notes = [content ? "" : say("empty"), shown.cut.includes(side) ? say("cut") : ""].filter(Boolean);
  const html = shown.html[side];
  $(side).classList.toggle("rendered", Boolean(html) && !raw);
  if (html && !raw) $(side).innerHTML = html; // of our own server, which lets through no more than words in frames
  else $(side).replaceChildren(...visible(content));
  $(side).append(...notes.map((note) => Object.assign(document.createElement("i"), { textContent: ` ${note}` })));
}

function player(side, media) {
  const family = media.kind.split("/")[0], label = say(`${side}_media`, { kind: family });
  const element = document.createElement(family === "image" ? "img" : family);
  if (family === "image") element.alt = label;
  else Object.assign(element, { controls: true, preload: "metadata", playsInline: true, ariaLabel: label });
  element.addEventListener("error", () => { $(side).textContent = say("no_media"); });
  element.src = media.url;
  return element;
}

function reveal(guess, { guesses, hits }) {
  const outcome = guess && say({ true: "hit", false: "miss", null: "guess_tie" }[guess.hit]);
  $("told").textContent = guess ? say(`guess_${guess.side}`, { percent: Math.round(100 * guess.confidence), outcome }) : "";
  $("hits").replaceChildren(...hits.map((hit) => Object.assign(document.createElement("li"), { className: hit ? "hit" : "miss" })));
  $("sentence").textContent = guesses && say("guessed", { guesses, count: hits.length, right: hits.filter(Boolean).length });
  $("guess").hidden = !guesses && !guess;
}

async function answer(choice, both_bad = false) {
  if (!shown || performance.now() - answeredAt < DOUBLE_KEY_MS) return;
  answeredAt = performance.now();
  const { question, supersedes } = shown, key = crypto.randomUUID();
  const duration_seconds = Math.min(MAX_SECONDS, (performance.now() - shownAt) / 1000);
  shown = null;
  document.body.dataset.chosen = both_bad ? "bad" : choice;
  answered.add(idOf(question));
  await keep({ ...question.ids, choice, both_bad, key, duration_seconds, ...(supersedes ? { supersedes } : {}) }, project);
  last = { question, key };
  refresh();
  send();
}

// Sends what is kept, oldest first; only one sender at a time, so that no answer overtakes the one it supersedes.
function send() {
  sending ??= (async () => {
    for (let left = await waiting(); left.length; left = await waiting()) {
      for (const { number, answer, about } of left) {
        const { found, status } = await ask("/judgements", answer, about);
        if (status === 403 || status === 404) return; // kept, for a new link or another day
        await forget(number);
        if (found && about === project) take(found);
        refresh();
      }
    }
  })().finally(() => { sending = null; });
  return sending;
}

async function skip() {
  if (!shown || shown.supersedes) return;
  const { question } = shown;
  shown = null;
  answered.add(idOf(question));
  refresh();
  const { found } = await ask("/skip", { comparison_id: question.ids.comparison_id });
  if (found) take(found);
  refresh();
}

function undo() {
  if (!last) return;
  if (shown) questions.unshift(shown.question);
  const { question, key } = last;
  last = null;
  show(question, key);
  refresh();
}

function toggleRaw() {
  if (!shown) return;
  raw = !raw;
  $("raw").ariaPressed = String(raw);
  for (const side of ["left", "right"]) fill(side, shown.question.shown);
}

const ACTIONS = { raw: toggleRaw, left: () => answer("left"), right: () => answer("right"), tie: () => answer("tie"), bad: () => answer("tie", true), skip, undo };
const KEYS = { 1: "left", 2: "right", 0: "tie", b: "bad", s: "skip", u: "undo", r: "raw" };
addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (action && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "INPUT") ACTIONS[action]();
});
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => ACTIONS[button.dataset.choice]());
addEventListener("online", () => send());
$("logout").addEventListener("click", async () => {
  await send();
  const { status } = await ask("/logout", {});
  if (!status || status === 403) location.replace("/");
});

async function begin() {
  await send();
  const { found } = await ask("/question");
  if (found) take(found);
  refresh();
}

refresh();
await begin();
// What somebody else left without an answer is asked here, as soon as it is given back.
setInterval(() => { if (done && !shown && !sending) begin(); }, ASK_AGAIN_MS);
// What the model has written meanwhile, too.
setInterval(() => { if (writing && done && !shown && !sending) begin(); }, ASK_WRITING_MS);
