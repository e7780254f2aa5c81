// The owner's page: figures that are asked for again and again, invitations, and people who are let in or shut out.
import { say } from "/static/words.js";

const $ = (id) => document.getElementById(id), SECONDS = 5;
const make = (tag, ...content) => { const element = document.createElement(tag); element.append(...content); return element; };
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  try {
    const reply = await fetch(path, options), found = await reply.json();
    trouble(reply.ok ? "" : found.detail);
    return reply.ok ? found : null;
  } catch {
    trouble(say("stale"));
    return null;
  }
}

function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function show(state) {
  const interval = state.alpha_interval ? ` (${state.alpha_interval.map((end) => end.toFixed(2)).join(` ${say("to")} `)})` : "";
  const figures = {
    [say("judgements")]: state.judgements.toLocaleString(),
    [say("missing")]: state.missing.toLocaleString(),
    [say("comparisons")]: state.comparisons.toLocaleString(),
    [say("people_each")]: state.per_comparison ?? say("any"),
    [say("alpha")]: state.alpha === null || state.alpha === undefined ? say("unknown") : state.alpha.toFixed(2) + interval,
  };
  $("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => make("div", make("dt", name), make("dd", String(value)))));
  $("people").replaceChildren(...state.people.map(describePerson));
  $("newest").replaceChildren(...state.newest.map(({ annotator, choice, prompt, created_at }) =>
    make("tr", make("td", annotator), make("td", say(`choice_${choice}`)), make("td", prompt), make("td", created_at ? new Date(created_at).toLocaleString() : ""))));
}

function describePerson({ annotator, name, role, judgements, error_rate, flags, disabled }) {
  const invite = make("button", say("link")), change = make("button", say(disabled ? "let_in" : "shut_out"));
  for (const button of [invite, change]) button.className = "plain";
  invite.addEventListener("click", () => offer({ annotator }, say("for_device", { name: name || annotator })));
  change.addEventListener("click", async () => { const state = await ask("/owner/people", { annotator, disabled: !disabled }); if (state) show(state); });
  change.disabled = annotator === document.querySelector("main").dataset.self;
  invite.disabled = disabled;
  return make("tr", make("td", name || annotator), make("td", say(disabled ? "shut_out_role" : role)), make("td", String(judgements)),
    make("td", percent(error_rate)), make("td", flags.join(", ")), make("td", invite, change));
}

async function offer(body, whose) {
  const invitation = await ask("/owner/invitations", body);
  if (!invitation) return;
  $("whose").textContent = whose;
  $("url").value = invitation.link;
  draw(invitation.code);
  $("link").hidden = false;
  $("url").select();
}

// The rows of a QR code, of zeros and ones, as squares; phones want a light edge of four.
function draw(rows) {
  $("code").replaceChildren();
  $("code").setAttribute("viewBox", `-4 -4 ${rows.length + 8} ${rows.length + 8}`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", rows.flatMap((row, y) => [...row].map((cell, x) => (cell === "1" ? `M${x} ${y}h1v1h-1z` : ""))).join(""));
  $("code").append(path);
}

$("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  offer({ role: $("role").value }, say("for_new", { role: say($("role").value) }));
});
$("copy").addEventListener("click", async () => {
  $("url").select();
  await navigator.clipboard?.writeText($("url").value);
});

for (;;) {
  const state = await ask("/owner/state");
  if (state) show(state);
  await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS));
}
