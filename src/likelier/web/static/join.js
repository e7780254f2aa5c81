// Uses an invitation: by a request of its own, so that a chat program that looks at a link does not use it up.
const $ = (id) => document.getElementById(id);

$("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  let told = "No connection. Try again.";
  try {
    const reply = await fetch("/name", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: $("name").value }),
    });
    if (reply.ok) return void location.replace("/");
    told = (await reply.json()).detail;
  } catch { /* the line above says it */ }
  $("trouble").textContent = told;
  $("trouble").hidden = false;
});
