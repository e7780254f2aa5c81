// Requests of the judging page, about the project of the page: repeated until the server answers; what is wrong is shown.
import { say } from "/static/words.js";

export const { project } = document.body.dataset;
export const $ = (id) => document.getElementById(id);

export async function ask(path, body, about = project) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const address = about ? `${path}${path.includes("?") ? "&" : "?"}project=${encodeURIComponent(about)}` : path;
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await fetch(address, options);
      const found = await reply.json();
      if (reply.ok) { trouble(""); return { found }; }
      if (reply.status === 403) trouble(say("logged_out"));
      else trouble(found.detail);
      if (reply.status < 500 && reply.status !== 429) return { status: reply.status };
    } catch {
      trouble(say("offline"));
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

export function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }
