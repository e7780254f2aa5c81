// The owner's page: figures that are asked for again and again, invitations, and people who are let in or shut out.
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
    trouble("No connection. The figures are those of a while ago.");
    return null;
  }
}

function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function show(state) {
  const interval = state.alpha_interval ? ` (${state.alpha_interval.map((end) => end.toFixed(2)).join(" to ")})` : "";
  const figures = {
    Judgements: state.judgements.toLocaleString(),
    "Still missing": state.missing.toLocaleString(),
    Comparisons: state.comparisons.toLocaleString(),
    "People each": state.per_comparison ?? "any",
    "Agreement (Krippendorff’s alpha)": state.alpha === null || state.alpha === undefined ? "not yet known" : state.alpha.toFixed(2) + interval,
  };
  $("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => make("div", make("dt", name), make("dd", String(value)))));
  $("people").replaceChildren(...state.people.map(describePerson));
  $("newest").replaceChildren(...state.newest.map(({ annotator, choice, prompt, created_at }) =>
    make("tr", make("td", annotator), make("td", choice), make("td", prompt), make("td", created_at ? new Date(created_at).toLocaleString() : ""))));
}

function describePerson({ annotator, name, role, judgements, error_rate, flags, disabled }) {
  const invite = make("button", "Link"), change = make("button", disabled ? "Let in" : "Shut out");
  for (const button of [invite, change]) button.className = "plain";
  invite.addEventListener("click", () => offer({ annotator }, `For ${name || annotator}, on another device:`));
  change.addEventListener("click", async () => { const state = await ask("/owner/people", { annotator, disabled: !disabled }); if (state) show(state); });
  change.disabled = annotator === document.querySelector("main").dataset.self;
  invite.disabled = disabled;
  return make("tr", make("td", name || annotator), make("td", disabled ? "shut out" : role), make("td", String(judgements)),
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
  offer({ role: $("role").value }, `For one new ${$("role").value}:`);
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
