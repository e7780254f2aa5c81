// Uses an invitation: by a request of its own, so that a chat program that looks at a link does not use it up.
import { say } from "/static/words.js";

const $ = (id) => document.getElementById(id);

// Until here the browser itself would send the form, and to the wrong place.
const button = $("who").querySelector("button");
button.disabled = false;
($("name") ?? button).focus(); // one's own account needs no name; `autofocus` would come at a moment of the browser's own
$("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  let told = say("no_connection");
  try {
    const reply = await fetch("/name", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: $("name")?.value ?? "" }),
    });
    if (reply.ok) return void location.replace("/");
    told = (await reply.json()).detail;
  } catch { /* the line above says it */ }
  $("trouble").textContent = told;
  $("trouble").hidden = false;
});
