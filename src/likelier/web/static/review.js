// Comparisons on which people disagree, with their votes; a decision is kept on the server under a key, once.
import { $, ask, make } from "/static/ask.js";
import { words } from "/static/content.js";
import { visible } from "/static/controls.js";
import { say } from "/static/words.js";

const text = (content) => content.replace(/^(\s*\n)+|\s+$/g, "");

function show(found) {
  if (!found) return;
  $("list").replaceChildren(...found.disagreements.map(describe));
  $("none").hidden = found.disagreements.length > 0;
}

function describe({ ids, shown, votes }) {
  const began = performance.now();
  const prompt = make("div", ...(shown.turns ? shown.turns.map((turn) => make("p", make("b", turn.role), " ", ...words(turn))) : visible(text(shown.prompt))));
  Object.assign(prompt, { className: "prompt", dir: "auto" });
  const sides = ["left", "right"].map((side) => {
    const part = make("article", make("h2", say("votes", { side: say(side), count: votes[side] })), answer(shown, side));
    return part;
  });
  const answers = make("div", ...sides);
  answers.className = "answers";
  const choices = ["left", "tie", "right"].map((choice) => {
    const label = choice === "tie" ? say("votes", { side: say("tie"), count: votes.tie }) : say(`decide_${choice}`);
    const element = make("button", label);
    element.addEventListener("click", async () => {
      const duration_seconds = Math.min(86400, (performance.now() - began) / 1000);
      show(await ask("/review", { ...ids, choice, key: crypto.randomUUID(), duration_seconds }));
    });
    return element;
  });
  const row = make("div", ...choices), section = make("section", prompt, answers, row);
  row.className = "row";
  section.className = "disagreement";
  return section;
}

function answer(shown, side) {
  const part = make("div"), media = shown.media[side];
  Object.assign(part, { className: "text", dir: "auto" });
  if (media) {
    const family = media.kind.split("/")[0], element = document.createElement(family === "image" ? "img" : family);
    if (family === "image") element.alt = say(`${side}_media`, { kind: family });
    else element.controls = true;
    element.src = media.url;
    part.append(element);
  } else if (shown.html[side]) {
    part.classList.add("rendered");
    part.innerHTML = shown.html[side]; // of our own server, which lets through no more than words in frames
  } else part.append(...visible(text(shown[side]) || say("empty")));
  return part;
}

show(await ask("/review/state"));
