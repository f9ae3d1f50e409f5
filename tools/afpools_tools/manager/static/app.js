// The frame: navigation, what is wrong with the connection, and the page that the address names.

import { html, render, signal, useEffect } from "./html.js";
import { openSession } from "./api.js";
import { time } from "./format.js";
import { start } from "./live.js";
import { connected, isReader, isStale, loaded, sessionError, status } from "./store.js";
import { Toasts } from "./ui.js";
import { BrokerPage } from "./pages/broker.js";
import { ExchangePage } from "./pages/exchange.js";
import { HistoryPage } from "./pages/history.js";
import { HostsPage } from "./pages/hosts.js";
import { MapPage } from "./pages/map.js";
import { MasksPage } from "./pages/masks.js";
import { PoolsPage } from "./pages/pools.js";
import { ScanPage } from "./pages/scan.js";

const PAGES = [
  ["pools", "Pools", PoolsPage],
  ["hosts", "Hosts", HostsPage],
  ["masks", "Masks", MasksPage],
  ["map", "Map", MapPage],
  ["history", "History", HistoryPage],
  ["exchange", "Import, export", ExchangePage],
  ["scan", "Scan", ScanPage],
  ["broker", "Broker", BrokerPage],
];

/** The address after #: page, and what the page shows. */
function parsed() {
  const [page, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let argument = rest.join("/");
  try {
    argument = decodeURIComponent(argument);
  } catch {
    // Typed by hand, with a % that means itself.
  }
  return { page: PAGES.some(([name]) => name === page) ? page : "pools", argument };
}

const route = signal(parsed());
const theme = signal(localStorage.getItem("theme") ?? "auto");

window.addEventListener("hashchange", () => (route.value = parsed()));

function applyTheme() {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("theme", theme.value);
}

const NEXT_THEME = { auto: "light", light: "dark", dark: "auto" };
const THEME_WORDS = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

function ThemeButton() {
  return html`<button class="quiet" title="Change between light, dark and the system's theme"
    onClick=${() => { theme.value = NEXT_THEME[theme.value]; applyTheme(); }}>${THEME_WORDS[theme.value]}</button>`;
}

function Connection() {
  const { broker, name, role, reachable } = status.value;
  const state = !connected.value ? "Manager stopped" : reachable ? broker : "Broker away";
  return html`<div class="connection">
    <span class="light ${isStale.value ? "bad" : "good"}" aria-hidden="true"></span>
    <span><b>${state}</b><br /><span class="muted">${name}${role && `, ${role}`}</span></span>
  </div>`;
}

/** How many things the broker has to say of itself, beside the page that has them. */
function Problems() {
  const { problems } = status.value;
  return problems.length > 0 && html`<span class="badge" title=${problems.join("\n")}>${problems.length}<span
    class="hidden"> ${problems.length === 1 ? "problem" : "problems"}</span></span>`;
}

/** What one should know about what is shown; nothing when all is well. */
function Banner() {
  const { error, reachable, since, store_age, farm_age } = status.value;
  const lines = [];
  // A moment, not a span: this is read aloud whenever it changes.
  const ago = (seconds) => time(Date.now() - seconds * 1000);
  if (sessionError.value) lines.push(["bad", sessionError.value]);
  else if (!connected.value) {
    lines.push(["bad", "The Pool Manager does not answer. Is afpools manager still running? Shown is the last known state."]);
  } else if (!reachable && since) {
    lines.push(["bad", `The broker has been away since ${time(since * 1000)}. ${
      loaded.value ? "Shown is the last known state; nothing can be changed until it is back. " : ""}${error}`]);
  }
  if (store_age) lines.push(["warn", `The broker's database has been away since ${ago(store_age)}: shown is how things were before.`]);
  if (farm_age) lines.push(["warn", `afserver has been away since ${ago(farm_age)}: shown is the farm as it was before.`]);
  if (reachable && isReader.value) {
    lines.push(["info", "Read only: your profile is a reader's. Ask whoever runs the broker for a manager's to make changes."]);
  }
  return html`<div role="status" aria-live="polite">
    ${lines.map(([kind, text]) => html`<p key=${text} class="banner ${kind}">${text}</p>`)}
  </div>`;
}

function App() {
  const { page, argument } = route.value;
  const Page = PAGES.find(([name]) => name === page)[2];
  useEffect(() => {
    document.title = `${PAGES.find(([name]) => name === page)[1]} · Pool Manager`;
  }, [page]);
  return html`<div class="frame ${isStale.value && loaded.value ? "stale" : ""}">
    <nav aria-label="Pages">
      <h1><img src="/static/icon.svg" alt="" width="22" height="22" /> Pool Manager</h1>
      <ul>
        ${PAGES.map(([name, title]) => html`<li key=${name}>
          <a href="#/${name}" aria-current=${name === page ? "page" : undefined}>${title}${
            name === "broker" && html`<${Problems} />`}</a>
        </li>`)}
      </ul>
      <div class="foot"><${Connection} /><${ThemeButton} /></div>
    </nav>
    <main>
      <${Banner} />
      <${Page} key=${page} argument=${argument} />
    </main>
    <${Toasts} />
  </div>`;
}

// "/" goes to the page's search, as in most tools of this kind.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, textarea, select") || document.querySelector("dialog[open]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    const search = document.querySelector("[data-search]");
    search?.focus();
    search?.select();
  }
});

// A file that is dropped beside the place for it must not take the page's.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
}

applyTheme();
render(html`<${App} />`, document.getElementById("app"));
openSession().then(start, (error) => (sessionError.value = error.message));
