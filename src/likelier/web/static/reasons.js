// Reasons for an answer, which nobody has to give: tags of the owner's, and a line of text.
import { $ } from "/static/requests.js";

const tags = [...document.querySelectorAll("[data-tag]")], line = $("comment");
const press = (tag, on) => { tag.ariaPressed = String(on); };

export function read() {
  const chosen = tags.filter((tag) => tag.ariaPressed === "true").map((tag) => tag.dataset.tag), comment = line?.value.trim();
  return { ...(chosen.length ? { tags: chosen } : {}), ...(comment ? { comment } : {}) };
}

export function write({ tags: chosen = [], comment = "" } = {}) {
  for (const tag of tags) press(tag, chosen.includes(tag.dataset.tag));
  if (!line) return;
  line.value = comment;
  line.hidden = !comment;
}

export function open() {
  line.hidden = false;
  line.focus();
}

for (const tag of tags) tag.addEventListener("click", () => press(tag, tag.ariaPressed !== "true"));
// Back to where the keys answer; an empty line goes away again.
line?.addEventListener("keydown", (event) => {
  if ((event.key !== "Enter" && event.key !== "Escape") || event.isComposing) return;
  event.preventDefault();
  line.blur();
  line.hidden = !line.value.trim();
});
