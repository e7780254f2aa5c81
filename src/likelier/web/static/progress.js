// How much is judged, in all and today, and how well the reward model guesses.
import { $, ask } from "/static/requests.js";
import { say } from "/static/words.js";

let today = null, day = "";

export function showProgress({ judged, wanted, own, guideline, ...guesses }, guess) {
  $("count").textContent = judged === null ? say("count_own", { own }) : say(wanted ? "count_of" : "count", { judged, wanted, own });
  $("bar").hidden = !wanted;
  if (wanted) $("bar").value = Math.min(1, judged / wanted);
  $("today").hidden = !today;
  $("today").textContent = today ? say("today", { count: today }) : "";
  if ($("guess")) reveal(guess, guesses);
}

// Asked once a day: the day is this browser's, and what comes then is counted here.
export async function countToday(more = 0) {
  const midnight = new Date(new Date().setHours(0, 0, 0, 0)), date = midnight.toDateString();
  if (date === day) return void (today += more);
  day = date;
  const { found } = await ask(`/today?since=${midnight.getTime() / 1000}`);
  today = found?.count ?? 0;
}

function reveal(guess, { guesses, hits }) {
  const outcome = guess && say({ true: "hit", false: "miss", null: "guess_tie" }[guess.hit]);
  $("told").textContent = guess ? say(`guess_${guess.side}`, { percent: Math.round(100 * guess.confidence), outcome }) : "";
  $("hits").replaceChildren(...hits.map((hit) => Object.assign(document.createElement("li"), { className: hit ? "hit" : "miss" })));
  $("sentence").textContent = guesses && say("guessed", { guesses, count: hits.length, right: hits.filter(Boolean).length });
  $("guess").hidden = !guesses && !guess;
}
