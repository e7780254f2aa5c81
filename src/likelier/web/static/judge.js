// Shows one question after another; an answer is sent until the server says that it is stored.
const $ = (id) => document.getElementById(id);
let current = null, shownAt = 0, busy = false;

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await fetch(path, options);
      const found = await reply.json();
      if (reply.ok) { trouble(""); return found; }
      trouble(typeof found.detail === "string" ? found.detail : "The server did not take this answer.");
      if (reply.status < 500) throw new Error("refused");
    } catch (error) {
      if (error.message === "refused") throw error;
      trouble("No connection. Your answer is kept here and sent again.");
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function show(found) {
  const { judged, wanted, guesses } = found.progress;
  $("progress").textContent = wanted ? `${judged} of ${wanted}` : `${judged} judged`;
  $("bar").hidden = !wanted;
  if (wanted) $("bar").value = Math.min(1, judged / wanted);
  if ($("guess")) $("guess").textContent = [told(found.guess), guesses && `The reward model ${guesses}.`].filter(Boolean).join(" ");
  $("who").hidden = true;
  $("question").hidden = found.done;
  $("done").hidden = !found.done;
  current = found.done ? null : found.ids;
  if (found.done) return;
  for (const part of ["prompt", "left", "right"]) $(part).textContent = found.shown[part].trim();
  shownAt = performance.now();
}

function told(guess) {
  if (!guess) return "";
  return `It had guessed ${guess.side} (${Math.round(100 * guess.confidence)} %).`;
}

async function answer(choice) {
  if (!current || busy) return;
  busy = true;
  try {
    const seconds = Math.min(86400, (performance.now() - shownAt) / 1000);
    show(await ask("/judgements", { ...current, choice, key: crypto.randomUUID(), duration_seconds: seconds }));
  } finally { busy = false; }
}

addEventListener("keydown", (event) => {
  const choice = { 1: "left", 2: "right", 0: "tie" }[event.key];
  if (choice && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "INPUT") answer(choice);
});
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => answer(button.dataset.choice));
$("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  show(await ask("/name", { name: $("name").value }));
});
if (document.body.dataset.named === "yes") show(await ask("/question")); else { $("who").hidden = false; $("name").focus(); }
