// The guidelines, one key away; a version that this browser has not opened yet is announced.
import { $, ask, project } from "/static/requests.js";
import { say } from "/static/words.js";

const PLACE = `likelier-guidelines/${project}`;
let version = null, newest = null;

// Which version counts as shown with the next answer; empty without guidelines.
export const shownVersion = () => (version === null ? {} : { guideline: String(version) });

// Fetches what the server says is the newest version, and says that it is new.
export async function note(number) {
  if (number === null || number === undefined || number === newest) return;
  newest = number;
  const { found } = await ask("/guidelines");
  if (!found?.version) return;
  version = newest = found.version;
  $("guide-text").innerHTML = found.html; // of our own server, which lets through no more than words in frames
  $("guide-version").textContent = say("guidelines_version", { version });
  const opened = Number(localStorage.getItem(PLACE) ?? 0);
  $("open-guide").hidden = false;
  $("new-guide").textContent = say(opened ? "new_guidelines" : "there_are_guidelines", { version });
  $("new-guide").hidden = opened >= version;
}

export function open() {
  if (version === null || $("guide").open) return;
  $("guide").showModal();
  $("guide").scrollTop = 0;
  $("new-guide").hidden = true;
  localStorage.setItem(PLACE, String(version));
}

$("close-guide").addEventListener("click", () => $("guide").close());
