// The stream of changes. Closed while nobody looks: a browser grants six connections to one address, and a page in the
// background needs none.

import { batch } from "./html.js";
import { openSession } from "./api.js";
import { apply, connected, sessionError } from "./store.js";

let source = null;

function open() {
  if (source) return;
  source = new EventSource("/api/live");
  source.onmessage = (event) => {
    batch(() => {
      connected.value = true;
      apply(JSON.parse(event.data));
    });
  };
  source.onerror = () => {
    connected.value = false;
    // After a refusal the browser does not try again by itself. A manager that was started anew does not know us.
    if (source.readyState === EventSource.CLOSED) {
      close();
      openSession().then(
        () => (sessionError.value = ""),
        (error) => (sessionError.value = error.code === "no_session" ? error.message : ""),
      );
      setTimeout(followVisibility, 2000);
    }
  };
}

function close() {
  source?.close();
  source = null;
}

function followVisibility() {
  if (document.visibilityState === "visible") open();
  else close();
}

export function start() {
  document.addEventListener("visibilitychange", followVisibility);
  // The stream would hold back the next page of this tab.
  window.addEventListener("pagehide", close);
  followVisibility();
}
