// Requests of the owner's and the reviewers' pages, about the project of the page.
import { say } from "/static/words.js";

const { project } = document.body.dataset;
export const $ = (id) => document.getElementById(id);
export const make = (tag, ...content) => { const element = document.createElement(tag); element.append(...content); return element; };
export const address = (path) => (project ? `${path}${path.includes("?") ? "&" : "?"}project=${encodeURIComponent(project)}` : path);

let isPassing = false; // the trouble is of a look at the server, and over with the next that succeeds

export async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  try {
    const reply = await fetch(address(path), options), found = await reply.json();
    if (!reply.ok) trouble(found.detail);
    else if (body || isPassing) trouble("");
    isPassing = !reply.ok && !body;
    return reply.ok ? found : null;
  } catch {
    isPassing = true;
    trouble(say("stale"));
    return null;
  }
}

export function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

export function button(label, act) {
  const element = make("button", label);
  Object.assign(element, { className: "plain", type: "button" });
  element.addEventListener("click", act);
  return element;
}
