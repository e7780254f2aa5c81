// A conversation: the person writes, two answers come, the person picks one, and goes on. What was typed is kept in the
// browser until it is answered; picks wait in the outbox like all judgements.
import { make, showResponse, text } from "/static/content.js";
import { visible } from "/static/controls.js";
import * as guidelines from "/static/guidelines.js";
import { forget, keep, waiting } from "/static/outbox.js";
import { countToday, showProgress } from "/static/progress.js";
import { $, project } from "/static/requests.js";
import { say } from "/static/words.js";

const MAX_SECONDS = 86400, DOUBLE_KEY_MS = 150, GIVE_UP_MS = 120000, AGAIN_MS = 2000;
const { person } = document.body.dataset, PLACE = `likelier-conversation/${person}/${project}`;
const EMPTY = { after: null, turns: [], draft: "", sent: null };
let state = { ...EMPTY, ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") };
let pair = null, last = null, shownAt = 0, pickedAt = -Infinity, sending = null, asking = 0, raw = false;

const save = () => localStorage.setItem(PLACE, JSON.stringify(state));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function trouble(words, isLate = false) {
  $("trouble").hidden = !words;
  $("trouble").textContent = words;
  $("late").hidden = !isLate;
}

// One request; what is wrong is shown, and `status` says if it makes sense to ask again.
async function post(path, body, about = project) {
  try {
    const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
    const reply = await fetch(about ? `${path}?project=${encodeURIComponent(about)}` : path, options), found = await reply.json();
    trouble(reply.ok ? "" : reply.status === 403 ? say("logged_out") : found.detail);
    return reply.ok ? { found } : { status: reply.status };
  } catch {
    trouble(say("offline"));
    return { status: 0 };
  }
}

const mayRepeat = (status) => status === 0 || status === 429 || status >= 500;

function refresh() {
  $("turns").replaceChildren(...[...state.turns, ...(state.sent ? [{ role: "user", content: state.sent.text }] : [])].map(turn));
  $("writing").hidden = !state.sent || Boolean(pair) || !$("late").hidden;
  $("choose").hidden = !pair;
  $("write").hidden = Boolean(state.sent);
  $("undo-last").hidden = !last;
  $("fresh").hidden = !state.turns.length && !state.sent;
  $("hello").hidden = Boolean(state.turns.length || state.sent);
}

const turn = ({ role, content }) =>
  make("li", { className: role, dir: "auto" }, make("b", {}, say(role === "user" ? "you" : "the_model")), ...visible(text(content) || say("empty")));

// Asks until the answers are here; after a while the person decides whether to go on waiting.
async function ask() {
  const turn = (asking += 1), began = performance.now();
  for (;;) {
    await send();
    if (turn !== asking || !state.sent) return;
    const { found, status } = await post("/messages", { ...state.sent, after: state.after });
    if (turn !== asking || !state.sent) return;
    if (found?.refused) return takeBack(say(`refused_${found.refused}`));
    if (found?.ids) return show(found);
    if (!found && !mayRepeat(status)) return status === 403 ? refresh() : takeBack($("trouble").textContent);
    if (performance.now() - began > GIVE_UP_MS) { trouble($("trouble").textContent || say("slow_model"), true); return refresh(); }
    if (!found) await pause(AGAIN_MS);
  }
}

function submit() {
  const message = $("message").value;
  if (!message.trim() || state.sent) return;
  state.sent = { key: crypto.randomUUID(), text: message };
  state.draft = $("message").value = "";
  last = null;
  save();
  trouble("");
  refresh();
  $("writing").scrollIntoView({ block: "nearest" });
  ask();
}

// The message goes back to where it was written.
function takeBack(words = "") {
  asking += 1;
  state.draft = state.sent?.text ?? state.draft;
  state.sent = pair = null;
  save();
  trouble(words);
  refresh();
  $("message").value = state.draft;
  $("message").focus();
}

function show(question, supersedes = null) {
  pair = { question, supersedes };
  fill();
  $("raw").hidden = !Object.keys(question.shown.html).length;
  delete document.body.dataset.chosen;
  trouble("");
  refresh();
  shownAt = performance.now();
  $("choose").focus({ preventScroll: true });
  $("choose").scrollIntoView({ block: "start" });
}

function fill() {
  for (const side of ["left", "right"]) showResponse($(side), pair.question.shown, side, raw);
}

async function pick(choice, both_bad = false) {
  if (!pair || performance.now() - pickedAt < DOUBLE_KEY_MS) return;
  pickedAt = performance.now();
  const { question, supersedes } = pair, key = crypto.randomUUID(), sent = state.sent;
  const duration_seconds = Math.min(MAX_SECONDS, (performance.now() - shownAt) / 1000);
  pair = null;
  await keep({ ...question.ids, choice, both_bad, ...guidelines.shownVersion(), key, duration_seconds, ...(supersedes ? { supersedes } : {}) }, project, "/judgements");
  last = { question, key, sent, after: state.after };
  state.turns.push({ role: "user", content: sent.text }, { role: "assistant", content: question.shown[choice === "right" ? "right" : "left"] });
  Object.assign(state, { after: question.ids.comparison_id, sent: null });
  save();
  refresh();
  $("message").value = state.draft;
  $("message").focus();
  send();
}

// Sends the picks, oldest first, so that none overtakes the one it supersedes.
function send() {
  sending ??= (async () => {
    const refused = new Set(), read = async () => (await waiting()).filter(({ number }) => !refused.has(number));
    for (let left = await read(); left.length; left = await read()) {
      for (const { number, answer, about, path = "/judgements" } of left) {
        const { found, status } = await post(path, answer, about);
        if (status === 403) return; // kept, for a new link
        if (status === 404) { // kept, for another day; the picks in other projects do not wait for it
          refused.add(number);
          continue;
        }
        if (!found && mayRepeat(status)) { await pause(AGAIN_MS); break; }
        await forget(number);
        if (found && about === project) await count(found.progress, answer.supersedes ? 0 : 1);
      }
    }
  })().finally(() => { sending = null; });
  return sending;
}

async function count(progress, more = 0) {
  await countToday(more);
  showProgress(progress);
  guidelines.note(progress.guideline);
}

async function skip() {
  if (!pair || pair.supersedes) return;
  const { comparison_id } = pair.question.ids;
  takeBack();
  await post("/skip", { comparison_id });
}

function undo() {
  if (!last || pair || state.sent) return;
  const { question, key, sent, after } = last;
  state.draft = $("message").value;
  state.turns.splice(-2);
  Object.assign(state, { sent, after });
  last = null;
  save();
  show(question, key);
}

function begin() {
  asking += 1;
  Object.assign(state, structuredClone(EMPTY), { draft: $("message").value || state.draft });
  pair = last = null;
  save();
  trouble("");
  refresh();
  $("message").focus();
}

function toggleRaw() {
  if (!pair) return;
  raw = !raw;
  $("raw").ariaPressed = String(raw);
  fill();
}

const ACTIONS = { guide: guidelines.open, left: () => pick("left"), right: () => pick("right"), tie: () => pick("tie"), bad: () => pick("tie", true), skip, undo, raw: toggleRaw };
const KEYS = { 1: "left", 2: "right", 0: "tie", b: "bad", s: "skip", u: "undo", r: "raw", g: "guide" };
addEventListener("keydown", (event) => {
  const action = KEYS[event.key.toLowerCase()];
  if (action && !$("guide").open && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey && !["INPUT", "TEXTAREA"].includes(event.target.tagName)) {
    event.preventDefault(); // the message gets the focus, and must not get the key
    ACTIONS[action]();
  }
});
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => ACTIONS[button.dataset.choice]());
$("write").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
$("message").addEventListener("input", () => { state.draft = $("message").value; save(); });
$("fresh").addEventListener("click", begin);
$("retry").addEventListener("click", () => { trouble(""); refresh(); ask(); });
for (const id of ["take-back", "stop"]) $(id).addEventListener("click", () => takeBack());
addEventListener("online", () => send());
$("logout").addEventListener("click", async () => {
  await send();
  const { status } = await post("/logout", {});
  if (status !== undefined && status !== 403) return;
  localStorage.removeItem(PLACE);
  location.replace("/");
});

$("message").value = state.draft;
refresh();
await send();
const { found } = await post("/question");
if (found) await count(found.progress);
if (state.sent) ask();
else $("message").focus();
