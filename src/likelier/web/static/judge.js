// Shows one question after another; an answer is sent again until the server says that it is stored.
const $ = (id) => document.getElementById(id);
let current = null, shownAt = 0, busy = false;

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await fetch(path, options);
      const found = await reply.json();
      trouble(reply.ok ? "" : found.detail);
      if (reply.ok) return found;
      if (reply.status < 500) return null;
    } catch {
      trouble("No connection. Your answer is kept here and sent again.");
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function show(found) {
  if (!found) return;
  const { judged, wanted } = found.progress;
  $("count").textContent = wanted ? `${judged} of ${wanted}` : `${judged} judged`;
  $("bar").hidden = !wanted;
  if (wanted) $("bar").value = Math.min(1, judged / wanted);
  if ($("guess")) reveal(found.guess, found.progress);
  $("who").hidden = true;
  $("question").hidden = found.done;
  $("done").hidden = !found.done;
  current = found.done ? null : found.ids;
  if (found.done) return;
  $("prompt").textContent = found.shown.prompt.trim();
  for (const side of ["left", "right"]) fill(side, found.shown[side], found.shown.media[side]);
  shownAt = performance.now();
}

function fill(side, text, media) {
  if (!media) return void ($(side).textContent = text.trim());
  const family = media.kind.split("/")[0], label = `${side} answer, ${family}`;
  const player = document.createElement(family === "image" ? "img" : family);
  if (family === "image") player.alt = label;
  else Object.assign(player, { controls: true, preload: "metadata", playsInline: true, ariaLabel: label });
  player.addEventListener("error", () => { $(side).textContent = "This file cannot be shown. The terminal may say why."; });
  player.src = media.url;
  $(side).replaceChildren(player);
}

function reveal(guess, { guesses, hits }) {
  const outcome = guess && { true: "It was right.", false: "It was wrong.", null: "You saw a tie." }[guess.hit];
  $("told").textContent = guess ? `Its guess: the ${guess.side} one (${Math.round(100 * guess.confidence)} %). ${outcome}` : "";
  $("hits").replaceChildren(...hits.map((hit) => Object.assign(document.createElement("li"), { className: hit ? "hit" : "miss" })));
  $("sentence").textContent = guesses && `The reward model ${guesses}.`;
  $("guess").hidden = !guesses && !guess;
}

async function answer(choice) {
  if (!current || busy) return;
  busy = true;
  document.body.dataset.chosen = choice;
  const seconds = Math.min(86400, (performance.now() - shownAt) / 1000);
  show(await ask("/judgements", { ...current, choice, key: crypto.randomUUID(), duration_seconds: seconds }));
  delete document.body.dataset.chosen;
  busy = false;
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
