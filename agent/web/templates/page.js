"use strict";
const NOW_MS = 2000, LEVEL_MS = 500, DAYS_MS = 60000;

async function get(path, kind) {
  const answer = await fetch(path, { headers: { accept: kind }, cache: "no-store" });
  if (answer.status === 401 || answer.status === 503) { location.reload(); }
  if (!answer.ok) { throw new Error(answer.status); }
  return answer;
}

async function fill(path, id) {
  const text = (await (await get(path, "text/html")).text()).trim();
  const place = document.getElementById(id);
  if (place.dataset.text !== text) {
    place.dataset.text = text;
    place.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  }
}

async function level() {
  const now = await (await get("/level", "application/json")).json();
  document.getElementById("level").value = now.dbfs === null ? -60 : now.dbfs;
  document.getElementById("level-text").textContent = now.text;
}

function again(work, milliseconds) {
  const turn = async () => {
    try {
      if (document.visibilityState === "visible") { await work(); }
    } catch { /* not there at this moment; tried again */ }
    setTimeout(turn, milliseconds);
  };
  setTimeout(turn, milliseconds);
}

again(level, LEVEL_MS);
again(() => fill("/now", "now"), NOW_MS);
again(() => fill("/days", "days"), DAYS_MS);
