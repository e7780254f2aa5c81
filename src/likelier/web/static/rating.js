// How good one response is: 1 to 7, or a thumb.
import { showResponse } from "/static/content.js";
import { start } from "/static/judge.js";
import { $ } from "/static/requests.js";

function fill({ shown }, raw) { showResponse($("response"), shown, "response", raw); }

function show(question, { kind, value }, raw) {
  fill(question, raw);
  for (const button of document.querySelectorAll(".ratings button")) button.ariaPressed = String(button.dataset.choice === `${kind}-${value}`);
}

const name = (kind, value) => [`${kind}-${value}`, kind, value];
const RATINGS = [...[1, 2, 3, 4, 5, 6, 7].map((value) => name("scale", value)), name("thumbs", 1), name("thumbs", 0)];

start({
  path: "/ratings",
  fits: (ids) => "response_id" in ids,
  ids: ({ ids }) => ids,
  questionId: ({ ids }) => ids.response_id,
  fill,
  show,
  actions: (answer) => Object.fromEntries(RATINGS.map(([choice, kind, value]) => [choice, () => answer({ kind, value }, choice)])),
});
