// What the owner sets up: settings, guidelines, prompts and files, gold items, projects.
import { $, ask, button, make } from "/static/ask.js";
import { say } from "/static/words.js";

const NUMBERS = ["per_comparison", "responses_per_ranking"], SHARES = ["repeat_share", "gold_share"];
const SWITCHES = ["strength", "comment", "show_totals"], CHOICES = ["ask", "rating"];
let start = 0;

function show(found) {
  if (!found) return;
  const { settings, guidelines } = found;
  for (const name of [...NUMBERS, ...CHOICES]) $(name).value = settings[name];
  for (const name of SHARES) $(name).value = Number((100 * settings[name]).toFixed(2));
  for (const name of SWITCHES) $(name).checked = settings[name];
  $("tags").value = settings.tags.join(", ");
  $("version").textContent = guidelines ? say("guidelines_version", { version: guidelines.version }) : say("no_guidelines");
  $("guidelines").value = guidelines?.text ?? "";
  $("preview").hidden = !found.guidelines_html;
  $("preview").innerHTML = found.guidelines_html ?? ""; // of our own server, which lets through no more than words in frames
  $("contents").textContent = say("contents", found);
  $("gold-count").textContent = say("gold_count", found);
}

const read = () => ({
  ...Object.fromEntries(CHOICES.map((name) => [name, $(name).value])),
  ...Object.fromEntries(NUMBERS.map((name) => [name, Number($(name).value)])),
  ...Object.fromEntries(SHARES.map((name) => [name, Number($(name).value) / 100])),
  ...Object.fromEntries(SWITCHES.map((name) => [name, $(name).checked])),
  tags: $("tags").value.split(/[,，]/).map((tag) => tag.trim()).filter(Boolean),
});

function submit(id, act) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const sender = $(id).querySelector("button");
    sender.disabled = true;
    try { await act(); } finally { sender.disabled = false; }
  });
}

submit("settings", async () => show(await ask("/owner/settings", read())));
submit("guide", async () => show(await ask("/owner/guidelines", { text: $("guidelines").value })));
submit("type", async () => {
  const found = await ask("/owner/prompts", { texts: $("prompts").value.split("\n").filter((line) => line.trim()) });
  if (!found) return;
  $("prompts").value = "";
  $("sent").textContent = say("prompts_added", { count: found.stored });
  show(found);
});
submit("send", async () => {
  const [file] = $("file").files;
  if (!file) return;
  const found = await ask("/owner/import", { name: file.name, content: await file.text() });
  if (!found) return;
  $("sent").textContent = say("file_added", { ...found.counts, passed_over: found.counts.passed_over.join(", ") || "–" });
  show(found);
  list();
});
submit("create", async () => {
  const name = $("new-project").value;
  if (await ask("/owner/projects", { name })) location.assign(`/owner?project=${encodeURIComponent(name.trim())}`);
});

async function list() {
  const found = await ask(`/owner/comparisons?start=${start}`);
  if (!found) return;
  const end = start + found.comparisons.length;
  $("place").textContent = found.total ? `${start + 1}–${end} / ${found.total}` : "–";
  $("back").disabled = start === 0;
  $("forth").disabled = end >= found.total;
  $("comparisons").replaceChildren(...found.comparisons.map(describe));
}

function describe({ comparison_id, prompt, responses, gold }) {
  const kind = make("select", ...["", "gold", "training"].map((name) => Object.assign(make("option", say(name ? `kind_${name}` : "kind_none")), { value: name })));
  const better = make("select", ...responses.map(({ id }, place) => Object.assign(make("option", say("answer_number", { number: place + 1 })), { value: id })), Object.assign(make("option", say("tie")), { value: "" }));
  const explanation = Object.assign(make("input"), { placeholder: say("explanation"), maxLength: 2000, value: gold?.explanation ?? "" });
  kind.value = gold?.kind ?? "";
  better.value = gold ? (gold.better ?? "") : responses[0].id;
  kind.ariaLabel = say("gold_title");
  better.ariaLabel = say("better_answer");
  explanation.ariaLabel = say("explanation");
  const save = button(say("save"), async () => show(await ask("/owner/gold", { comparison_id, kind: kind.value || null, better: better.value || null, explanation: explanation.value })));
  const texts = responses.map(({ text, model }, place) => make("div", make("b", `${place + 1}. `), make("small", model ? `${model} ` : ""), make("p", text || say("empty"))));
  const item = make("article", make("p", prompt), ...texts, make("div", kind, better, explanation, save));
  item.lastChild.className = "row";
  item.className = "known";
  return item;
}

const turn = (step) => { start = Math.max(0, start + step); list(); };
$("back").addEventListener("click", () => turn(-10));
$("forth").addEventListener("click", () => turn(10));
$("known").addEventListener("toggle", () => { if ($("known").open) list(); });

show(await ask("/owner/project"));
