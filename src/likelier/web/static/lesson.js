// Training items: they are named as such, and after the answer stands the owner's, before the next question comes.
import { $ } from "/static/requests.js";
import { say } from "/static/words.js";

// `training` is {number, of}, or null; `lesson` is what the owner chose and why; `given` the side that was answered.
export function teach(training, lesson, given = "") {
  $("practice").hidden = !training;
  if (training) $("practice").textContent = say("practice", training);
  $("skip").hidden = Boolean(training);
  $("lesson").hidden = $("go-on").hidden = !lesson;
  delete document.body.dataset.better;
  if (!lesson) return;
  const side = { left: say("left"), right: say("right"), tie: say("tie") }[lesson.better];
  $("lesson-title").textContent = say(lesson.better === given ? "lesson_same" : "lesson_other", { side });
  $("lesson-text").innerHTML = lesson.html; // of our own server, which lets through no more than words in frames
  document.body.dataset.better = lesson.better;
  $("go-on").focus();
}
