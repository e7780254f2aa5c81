// The owner's page: figures that are asked for again and again, invitations, and people who are let in or shut out.
import { $, ask, button, make } from "/static/ask.js";
import { say } from "/static/words.js";

const SECONDS = 5;
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
const SVG = "http://www.w3.org/2000/svg";

function show(state) {
  const interval = state.alpha_interval ? ` (${state.alpha_interval.map((end) => end.toFixed(2)).join(` ${say("to")} `)})` : "";
  const figures = {
    [say("judgements")]: state.judgements.toLocaleString(),
    [say("missing")]: state.missing.toLocaleString(),
    [say("comparisons")]: state.comparisons.toLocaleString(),
    [say("people_each")]: state.per_comparison ?? say("any"),
    ...(state.strategy && { [say("chosen_by")]: say(`strategy_${state.strategy.name}`, { share: percent(state.strategy.floor) }) }),
    [say("alpha")]: state.alpha === null || state.alpha === undefined ? say("unknown") : state.alpha.toFixed(2) + interval,
  };
  $("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => make("div", make("dt", name), make("dd", String(value)))));
  $("as-of").textContent = state.as_of ? say("as_of", { count: state.as_of.toLocaleString() }) : "";
  drawWinRates(state.win_rates);
  drawThroughput(state.throughput);
  $("people").replaceChildren(...state.people.map(describePerson));
  $("newest").replaceChildren(...state.newest.map(({ annotator, choice, prompt, created_at }) =>
    make("tr", make("td", annotator), make("td", say(`choice_${choice}`)), make("td", prompt), make("td", created_at ? new Date(created_at).toLocaleString() : ""))));
}

function describePerson({ annotator, name, role, judgements, error_rate, flags, disabled, member }) {
  const invite = button(say("link"), () => offer({ annotator }, say("for_device", { name: name || annotator })));
  const change = button(say(disabled ? "let_in" : "shut_out"), async () => { const state = await ask("/owner/people", { annotator, disabled: !disabled }); if (state) show(state); });
  const join = button(say(member ? "leave_project" : "join_project"), async () => { if (await ask("/owner/members", { annotator, member: !member })) refresh(); });
  change.disabled = annotator === document.querySelector("main").dataset.self;
  invite.disabled = disabled;
  const buttons = document.querySelector("header nav") && role !== "admin" ? [invite, join, change] : [invite, change];
  return make("tr", make("td", name || annotator), make("td", say(disabled ? "shut_out_role" : role)), make("td", String(judgements)),
    make("td", percent(error_rate)), make("td", flags.map((flag) => say(`flag_${flag}`)).join(", ")), make("td", ...buttons));
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function label(x, y, content, anchor = "start") {
  const element = shape("text", { x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}

// The win rate by the number of votes, with its interval; the dashed line is one half.
function drawWinRates(rates) {
  $("win-rate").hidden = !rates;
  if (!rates) return;
  const { model, other, points, length_controlled: controlled } = rates, last = points.at(-1), wide = 560, high = 160, left = 40;
  const x = (count) => left + (wide * count) / last.judgements, y = (rate) => 8 + high * (1 - rate);
  const title = say("win_rate_of", { model: model || "–", other: other || "–", rate: percent(last.rate), low: percent(last.low), high: percent(last.high), count: last.prompts });
  $("win-rate-title").textContent = title;
  $("win-rate-length").textContent = controlled ? say("win_rate_at_equal_length", { rate: percent(controlled.rate), low: percent(controlled.low), high: percent(controlled.high) }) : "";
  const band = [...points.map((point) => [x(point.judgements), y(point.high)]), ...points.toReversed().map((point) => [x(point.judgements), y(point.low)])];
  const chart = $("win-rate-chart");
  chart.setAttribute("viewBox", `0 0 ${left + wide + 10} ${high + 32}`);
  chart.setAttribute("aria-label", title);
  chart.replaceChildren(
    ...[0, 0.5, 1].map((rate) => label(left - 6, y(rate) + 4, percent(rate), "end")),
    shape("line", { class: "half", x1: left, x2: left + wide, y1: y(0.5), y2: y(0.5) }),
    shape("polygon", { class: "band", points: band.map((point) => point.join()).join(" ") }),
    shape("polyline", { class: "line", points: points.map((point) => [x(point.judgements), y(point.rate)].join()).join(" ") }),
    label(left, high + 26, "0"), label(left + wide, high + 26, last.judgements.toLocaleString(), "end"),
  );
}

function drawThroughput(days) {
  $("throughput").hidden = days.length === 0;
  const most = Math.max(1, ...days.map((day) => day.judgements)), chart = $("throughput-chart");
  chart.setAttribute("viewBox", "0 0 610 120");
  chart.setAttribute("aria-label", days.map((day) => `${day.day}: ${day.judgements}`).join(", "));
  chart.replaceChildren(...days.flatMap((day, place) => {
    const height = (72 * day.judgements) / most, x = place * 43;
    return [shape("rect", { class: "bar", x: x + 4, y: 90 - height, width: 35, height }), label(x + 21, 85 - height, day.judgements.toLocaleString(), "middle"), label(x + 21, 108, day.day.slice(5), "middle")];
  }));
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

async function refresh() {
  const state = await ask("/owner/state");
  if (state) show(state);
}

for (;;) {
  await refresh();
  await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS));
}
