// The order of several responses: picked from the best down, = lets the next share the last place, Enter sends.
import { make, showResponse } from "/static/content.js";
import { start } from "/static/judge.js";
import { $ } from "/static/requests.js";
import { say } from "/static/words.js";

let count = 0, picks = [], ties = false;

// The places, the best first, of positions on the page. The last one that is left takes the last place by itself.
function order() {
  const places = [];
  const left = [...Array(count).keys()].filter((position) => !picks.some((pick) => pick.position === position));
  for (const { position, tied } of [...picks, ...(left.length === 1 && picks.length ? [{ position: left[0], tied: ties }] : [])]) {
    if (tied && places.length) places.at(-1).push(position);
    else places.push([position]);
  }
  return places;
}

function ranks() {
  const places = order();
  return [...Array(count).keys()].map((position) => places.findIndex((place) => place.includes(position)) + 1);
}

function mark() {
  const found = ranks();
  for (const [position, button] of [...$("ranked").querySelectorAll("button")].entries()) {
    button.ariaPressed = String(found[position] > 0);
    button.querySelector(".place").textContent = found[position] ? say("place", { place: found[position] }) : "";
  }
  $("send").disabled = found.includes(0);
  $("tie").disabled = !picks.length || !found.includes(0);
  $("tie").ariaPressed = String(ties);
}

function pick(position) {
  if (picks.some((each) => each.position === position)) picks = picks.filter((each) => each.position !== position);
  else picks.push({ position, tied: ties });
  ties = false;
  mark();
  const place = ranks()[position];
  $("placed").textContent = place ? say("placed", { number: position + 1, place }) : say("not_placed", { number: position + 1 });
}

function draw(position) {
  const name = make("h2", {}, make("kbd", {}, String(position + 1)), ` ${say("answer", { number: position + 1 })}`);
  const button = make("button", { className: "pick" }, name, make("span", { className: "place" }));
  Object.assign(button.dataset, { choice: "pick", key: position + 1 });
  button.addEventListener("click", () => pick(position));
  return make("article", {}, button, make("div", { className: "text", dir: "auto" }));
}

function fill({ shown }, raw) {
  for (const [position, element] of [...$("ranked").querySelectorAll(".text")].entries()) showResponse(element, shown, String(position), raw);
}

function show(question, given, raw) {
  count = question.ids.shown.length;
  picks = given.ranks ? given.ranks.map((rank, position) => ({ rank, position })).sort((one, other) => one.rank - other.rank) : [];
  picks = picks.map(({ rank, position }, place) => ({ position, tied: place > 0 && picks[place - 1].rank === rank }));
  ties = false;
  $("ranked").replaceChildren(...[...Array(count).keys()].map(draw));
  $("placed").textContent = "";
  fill(question, raw);
  mark();
}

start({
  path: "/rankings",
  fits: (ids) => "shown" in ids,
  ids: ({ ids }) => ({ shown: ids.shown, ticket: ids.ticket }),
  questionId: ({ ids }) => ids.question_id,
  fill,
  show,
  // First the last pick, then the last answer.
  undo: () => {
    if (!picks.length) return false;
    picks.pop();
    ties = false;
    mark();
    return true;
  },
  actions: (answer) => ({
    tie: () => { ties = !ties; mark(); },
    send: () => { if (!$("send").disabled) answer({ ranks: ranks() }, "send"); },
  }),
});
