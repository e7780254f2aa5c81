// Shows one question after another. The next one is here before it is needed; an answer is kept until it is acknowledged.
// What is asked, and by which keys, is the mode's: comparing.js, rating.js or ranking.js.
import { preload, showPrompt } from "/static/content.js";
import * as guidelines from "/static/guidelines.js";
import { teach } from "/static/lesson.js";
import { forget, keep, waiting } from "/static/outbox.js";
import { countToday, showProgress } from "/static/progress.js";
import * as reasons from "/static/reasons.js";
import { $, ask, project } from "/static/requests.js";
import { say } from "/static/words.js";

const MAX_SECONDS = 86400, ASK_AGAIN_MS = 30000, ASK_WRITING_MS = 2000, DOUBLE_KEY_MS = 150;
let mode = null, questions = [], shown = null, shownAt = 0, answeredAt = -Infinity, last = null, progress = null, guess = null, done = false, writing = false, run = null, sending = null, numKept = 0, raw = false, ahead = [];
const answered = new Set();
const idOf = ({ ids }) => JSON.stringify(ids);

function take(found) {
  if (found.ids && !mode.fits(found.ids)) return void location.reload(); // the owner has changed what is asked
  const known = new Set([...answered, ...questions.map(idOf), ...(shown ? [idOf(shown.question)] : [])]);
  questions.push(...[found, found.next].filter((each) => each?.ids && !known.has(idOf(each))));
  ({ progress, done, writing, run = null } = found);
  guess = found.guess;
  guidelines.note(progress.guideline);
  ahead = questions.flatMap(({ shown }) => preload(shown)); // kept, so that nothing stops their loading
  if (done) {
    questions = [];
    if (!shown?.supersedes && !shown?.answered) shown = null;
  }
}

function refresh() {
  if (progress) showProgress(progress, guess);
  $("undo").disabled = !last && !mode.undo;
  $("undo-done").hidden = !last;
  if (shown === null && questions.length) show(questions.shift(), null);
  $("question").hidden = !shown;
  const isDone = done && !sending;
  $("done").hidden = !(isDone && !shown && !writing);
  $("stored").hidden = numKept > 0; // "every answer is stored" is said when it is true
  $("kept").hidden = !numKept;
  $("kept").textContent = say("kept_here", { count: numKept });
  $("run-over").hidden = !run?.over;
  if (run?.trains === "agent") $("writing").textContent = say("agent_practises");
  $("writing").hidden = !(done && !shown && writing);
  $("wait").hidden = Boolean(shown) || isDone || (done && writing) || (numKept > 0 && !sending);
}

function show(question, supersedes, given = {}) {
  shown = { question, supersedes };
  $("again").hidden = !supersedes;
  showPrompt($("prompt"), run?.question === question.shown.prompt ? { ...question.shown, prompt: say("clip_question") } : question.shown);
  reasons.write(given);
  teach(question.training ?? null, null);
  mode.show(question, given, raw);
  $("raw").hidden = !Object.keys(question.shown.html).length;
  delete document.body.dataset.chosen;
  scrollTo(0, 0);
  shownAt = performance.now();
}

// `fields` are the mode's own; `chosen` marks the side that was taken while the next question comes.
async function answer(fields, chosen) {
  if (!shown || shown.answered || performance.now() - answeredAt < DOUBLE_KEY_MS) return;
  answeredAt = performance.now();
  const { question, supersedes } = shown, key = crypto.randomUUID(), given = { ...fields, ...reasons.read() };
  const duration_seconds = Math.min(MAX_SECONDS, (performance.now() - shownAt) / 1000);
  if (question.training) shown.answered = true;
  else shown = null;
  document.body.dataset.chosen = chosen;
  answered.add(idOf(question));
  const sent = { ...mode.ids(question), ...given, ...guidelines.shownVersion(), key, duration_seconds, ...(supersedes ? { supersedes } : {}) };
  await keep(sent, project, mode.path, idOf(question));
  last = question.training ? null : { question, key, given };
  send();
  refresh();
}

// Sends what is kept, oldest first; only one sender at a time, so that no answer overtakes the one it supersedes.
function send() {
  sending ??= (async () => {
    const refused = new Set();
    const read = async () => {
      const kept = await waiting();
      for (const { asked } of kept) answered.add(asked); // after a reload too, so that nothing is asked twice
      numKept = kept.length;
      return kept.filter(({ number }) => !refused.has(number));
    };
    for (let left = await read(); left.length; left = await read()) {
      for (const { number, answer, about, path = "/judgements" } of left) {
        let { found, status } = await ask(path, answer, about);
        if (status === 403) return; // kept, for a new link
        if (status === 404) { // kept, for another day; the answers in other projects do not wait for it
          refused.add(number);
          continue;
        }
        // A tag that the owner has taken away meanwhile must not cost the answer.
        if (status === 422 && (answer.tags || answer.comment)) ({ found, status } = await ask(path, { ...answer, tags: [], comment: "" }, about));
        await forget(number);
        numKept -= 1;
        if (about === project || about === undefined) await acknowledge(found, answer);
        refresh();
      }
    }
  })().finally(() => { sending = null; refresh(); });
  return sending;
}

async function acknowledge(found, answer) {
  if (found && !answer.supersedes && !found.lesson) await countToday(1);
  if (found) take(found);
  if (!shown?.answered) return;
  if (found?.lesson) teach(shown.question.training, found.lesson, mode.describe(answer));
  else shown = null;
}

function goOn() {
  if (!shown?.answered || $("go-on").hidden) return;
  shown = null;
  refresh();
}

async function skip() {
  if (!shown || shown.supersedes || shown.answered) return;
  const { question } = shown;
  shown = null;
  answered.add(idOf(question));
  refresh();
  const { found } = await ask("/skip", { question_id: mode.questionId(question) });
  if (found) take(found);
  refresh();
}

function undo() {
  if (mode.undo?.() || !last || shown?.answered) return;
  if (shown) questions.unshift(shown.question);
  const { question, key, given } = last;
  last = null;
  show(question, key, given);
  refresh();
}

function toggleRaw() {
  if (!shown) return;
  raw = !raw;
  $("raw").ariaPressed = String(raw);
  mode.fill(shown.question, raw);
}

// A key presses the button that names it; of other scripts than Latin by its place on the keyboard.
function findButton({ key, code }) {
  const name = key.length === 1 && !/[ -~]/.test(key) ? code.replace(/^(Key|Digit)/, "") : key;
  const named = [...document.querySelectorAll(`[data-key~="${CSS.escape(name.length === 1 ? name.toLowerCase() : name)}"]`)];
  return named.find((button) => button.getClientRects().length && !button.disabled);
}

function press(event) {
  const { target } = event, isTyping = ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping || $("guide").open) return;
  if (event.key === "Enter" && ["BUTTON", "A"].includes(target.tagName)) return; // which the browser presses itself
  const button = findButton(event);
  if (!button) return;
  event.preventDefault(); // the key must not stand in a line that it opens, nor scroll
  button.click();
}

async function begin() {
  await send();
  const { found } = await ask("/question");
  if (found) take(found);
  refresh();
}

// Whether the run beside the page is over, for who has a question on the screen.
async function hear() {
  const { found } = await ask("/question");
  if (found?.run?.over) take(found);
  refresh();
}

export async function start(chosenMode) {
  mode = chosenMode;
  const actions = { raw: toggleRaw, skip, undo, guide: guidelines.open, comment: reasons.open, go_on: goOn, ...mode.actions(answer) };
  addEventListener("click", ({ target }) => actions[target.closest?.("[data-choice]")?.dataset.choice]?.());
  addEventListener("keydown", press);
  addEventListener("online", () => send());
  $("logout").addEventListener("click", async () => {
    await send();
    const { status } = await ask("/logout", {});
    if (!status || status === 403) location.replace("/");
  });
  refresh();
  await begin();
  await countToday();
  refresh();
  // What somebody else left without an answer is asked here, as soon as it is given back.
  setInterval(() => { if (done && !run?.over && !shown && !sending) begin(); }, ASK_AGAIN_MS);
  setInterval(() => { if (writing && done && !shown && !sending) begin(); }, ASK_WRITING_MS);
  setInterval(() => { if (run && !run.over && shown && !sending) hear(); }, ASK_WRITING_MS);
}
