// Which of two responses is better: 1, 2 or 0 answer at once; q w e and i o p say also how much better.
import { showResponse } from "/static/content.js";
import { start } from "/static/judge.js";
import { $ } from "/static/requests.js";

function fill({ shown }, raw) { for (const side of ["left", "right"]) showResponse($(side), shown, side, raw); }

start({
  path: "/judgements",
  fits: (ids) => "left" in ids,
  ids: ({ ids }) => ids,
  questionId: ({ ids }) => ids.comparison_id,
  describe: ({ choice }) => choice,
  fill,
  show: (question, given, raw) => fill(question, raw),
  actions: (answer) => ({
    left: () => answer({ choice: "left" }, "left"),
    right: () => answer({ choice: "right" }, "right"),
    tie: () => answer({ choice: "tie" }, "tie"),
    bad: () => answer({ choice: "tie", both_bad: true }, "bad"),
    ...Object.fromEntries(["left", "right"].flatMap((choice) => [1, 2, 3].map((strength) => [`${choice}-${strength}`, () => answer({ choice, strength }, choice)]))),
  }),
});
