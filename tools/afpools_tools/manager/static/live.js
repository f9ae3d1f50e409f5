// The stream of changes, one JSON line each. Closed while the page is hidden: a browser allows six connections to one
// address, and a page in the background needs none.

import { batch } from "./html.js";
import { ask } from "./api.js";
import { apply, closed, connected } from "./store.js";

// Milliseconds. The Pool Manager sends something every fifteen seconds; a laptop that slept may never notice that the
// connection is gone.
const SILENCE = 40_000;
const [SHORTEST, LONGEST] = [500, 8_000]; // between two attempts

let aborter = null;
let retry = null;
let pause = SHORTEST;

/** Reads the stream's lines until it ends. */
async function follow(signal, heard) {
  const reader = (await ask("live", { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = `${rest}${value}`.split("\n");
    rest = lines.pop();
    batch(() => {
      connected.value = true;
      for (const line of lines) if (line) apply(JSON.parse(line));
    });
    pause = SHORTEST;
  }
}

async function open() {
  if (aborter || closed.value) return;
  clearTimeout(retry);
  const mine = (aborter = new AbortController());
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => mine.abort(), SILENCE);
  };
  heard();
  try {
    await follow(mine.signal, heard);
  } catch {
    // Whatever the error was, there is no stream.
  }
  clearTimeout(silence);
  if (aborter !== mine) return; // closed by us
  aborter = null;
  connected.value = false;
  retry = setTimeout(followVisibility, pause);
  pause = Math.min(2 * pause, LONGEST);
}

function close() {
  clearTimeout(retry);
  const mine = aborter;
  aborter = null;
  mine?.abort();
}

export function followVisibility() {
  if (document.visibilityState === "visible") open();
  else close();
}

export function start() {
  document.addEventListener("visibilitychange", followVisibility);
  // The stream would delay the next page in this tab.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && followVisibility());
  followVisibility();
}
