// Prompts and responses on the page: turns with their roles, Markdown or the text as it was written, media files.
import { visible } from "/static/controls.js";
import { say } from "/static/words.js";

// Without blank lines around it; the indentation of the first line stays.
export const text = (content) => content.replace(/^(\s*\n)+|\s+$/g, "");
export const make = (tag, fields = {}, ...content) => { const element = Object.assign(document.createElement(tag), fields); element.append(...content); return element; };

export function showPrompt(element, { turns, prompt }) {
  element.replaceChildren(...(turns ? turns.map((turn) => make("div", { className: "turn", dir: "auto" }, make("b", {}, turn.role), ...words(turn))) : visible(text(prompt))));
}

// A turn's text with its pictures, each where U+FFFC stands in it.
export function words({ content, pictures }) {
  if (!pictures) return visible(text(content));
  return content.split("\ufffc").flatMap((part, place) => [...(place ? [picture(pictures[place - 1])] : []), ...visible(text(part))]);
}

function picture(file) {
  const frame = make("span", { className: "picture" });
  frame.append(player(frame, file, say("prompt_picture")));
  return frame;
}

export function showResponse(element, shown, name, raw) {
  const media = shown.media[name], content = text(shown[name]);
  if (media) return void element.replaceChildren(player(element, media, mediaLabel(name, media)));
  const notes = [content ? "" : say("empty"), shown.cut.includes(name) ? say("cut") : ""].filter(Boolean);
  const html = raw ? "" : shown.html[name];
  element.classList.toggle("rendered", Boolean(html));
  if (html) element.innerHTML = html; // of our own server, which lets through no more than words in frames
  else element.replaceChildren(...visible(content));
  element.append(...notes.map((note) => make("i", {}, ` ${note}`)));
}

// The media files of a question that is not shown yet, so that the browser has them by then.
export const preload = ({ media, turns }) => [...Object.values(media), ...(turns ?? []).flatMap(({ pictures }) => pictures ?? [])].map((file) => player(make("div"), file, ""));

function mediaLabel(name, { kind }) {
  const [family] = kind.split("/");
  if (name === "left") return say("left_media", { kind: family });
  return name === "right" ? say("right_media", { kind: family }) : say("answer_media", { kind: family });
}

function player(element, media, label) {
  const family = media.kind.split("/")[0], part = document.createElement(family === "image" ? "img" : family);
  if (family === "image") part.alt = label;
  else Object.assign(part, { controls: true, preload: "metadata", playsInline: true, ariaLabel: label });
  part.addEventListener("error", () => { element.textContent = say("no_media"); });
  part.src = media.url;
  return part;
}
