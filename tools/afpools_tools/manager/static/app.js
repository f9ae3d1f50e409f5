// The frame: navigation, problems with the connection, and the page that the address names.

import { html, render, signal, useEffect } from "./html.js";
import { openSession } from "./api.js";
import { time } from "./format.js";
import { followVisibility, start } from "./live.js";
import { firstToken, secret, takeToken } from "./session.js";
import { closed, connected, isAway, isReader, isStale, loaded, status } from "./store.js";
import { Toasts, failed } from "./ui.js";
import { AskedFirst } from "./whatif.js";
import { BrokerPage } from "./pages/broker.js";
import { ExchangePage } from "./pages/exchange.js";
import { HistoryPage } from "./pages/history.js";
import { HostsPage } from "./pages/hosts.js";
import { JobsPage } from "./pages/jobs.js";
import { MapPage } from "./pages/map.js";
import { MasksPage } from "./pages/masks.js";
import { PoolsPage } from "./pages/pools.js";
import { ScanPage } from "./pages/scan.js";

const PAGES = [
  ["pools", "Pools", PoolsPage],
  ["hosts", "Hosts", HostsPage],
  ["jobs", "Jobs", JobsPage],
  ["masks", "Masks", MasksPage],
  ["map", "Map", MapPage],
  ["history", "History", HistoryPage],
  ["exchange", "Import, export", ExchangePage],
  ["scan", "Scan", ScanPage],
  ["broker", "Broker", BrokerPage],
];

/** The address after #: the page, and its argument. */
function parsed() {
  const [page, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let argument = rest.join("/");
  try {
    argument = decodeURIComponent(argument);
  } catch {
    // The address was typed by hand, with a literal %.
  }
  return { page: PAGES.some(([name]) => name === page) ? page : "pools", argument };
}

const route = signal(parsed());
const theme = signal(localStorage.getItem("theme") ?? "auto");

window.addEventListener("hashchange", () => {
  // Pasting a new address into a tab whose session has ended changes only the part after the #, which does not reload
  // the page.
  const token = takeToken();
  route.value = parsed();
  if (token !== null) openSession(token).then(followVisibility);
});

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
  const [light, state] = !connected.value ? ["bad", "Pool Manager does not answer"]
    : reachable ? ["good", broker]
    : isAway.value ? ["bad", "Broker unreachable"] : ["", "Connecting…"];
  return html`<div class="connection">
    <span class="light ${light}" aria-hidden="true"></span>
    <span><b>${state}</b><br /><span class="muted">${name}${role && `, ${role}`}</span></span>
  </div>`;
}

/** How many problems the broker reports, beside the page that lists them. */
function Problems() {
  const { problems } = status.value;
  return problems.length > 0 && html`<span class="badge" title=${problems.join("\n")}>${problems.length}<span
    class="hidden"> ${problems.length === 1 ? "problem" : "problems"}</span></span>`;
}

/** Warnings about what is shown; nothing if there is no problem. */
function Banner() {
  const { error, reachable, since, store_age, farm_age } = status.value;
  const lines = [];
  // A time, not a duration: screen readers read this aloud whenever it changes.
  const ago = (seconds) => time(Date.now() - seconds * 1000);
  if (!connected.value) {
    lines.push(["bad", `The Pool Manager does not answer. Is afpools manager still running?${
      loaded.value ? " Showing the last known state." : ""}`]);
  } else if (!reachable && since) {
    lines.push(["bad", `The broker has been unreachable since ${time(since * 1000)}. ${
      loaded.value ? "Showing the last known state. Nothing can be changed until it is back. " : ""}${error}`]);
  }
  if (store_age) lines.push(["warn", `The broker's database has been unreachable since ${ago(store_age)}. Showing the pools as they were then.`]);
  if (farm_age) lines.push(["warn", `afserver has been unreachable since ${ago(farm_age)}. Showing the farm as it was then.`]);
  if (reachable && isReader.value) {
    lines.push(["info", "Read only: you have a reader profile. To make changes, ask whoever runs the broker for a manager profile."]);
  }
  return html`<div role="status" aria-live="polite">
    ${lines.map(([kind, text]) => html`<p key=${text} class="banner ${kind}">${text}</p>`)}
  </div>`;
}

const terminal = () => html`copy the last address in the terminal where <code>afpools manager</code> runs, and open it here.`;

// What to do in a tab without a session, by the reason why it has none.
const CLOSED = {
  no_token: () => ["This tab has no session", html`<p>To open the Pool Manager here, ${terminal()} Or go to a tab where it is
    open, and press <b>Open another tab</b>.</p>`],
  no_session: () => ["This session has ended", html`<p>The Pool Manager was restarted, or the address that opened this tab was
    used a second time. To continue, ${terminal()}</p>`],
  used_token: () => ["This address was used before", html`<p>Each address opens one tab, once. Nobody can tell whether it was
    you who used it first, so the session that it opened has ended. To continue, ${terminal()}</p>
    <p>If it was not you, somebody else had the address. Look in the history for changes that you did not make.</p>`],
  unknown_token: () => ["This address is not valid", html`<p>It was mistyped, or belongs to a Pool Manager that has ended. To
    continue, ${terminal()}</p>`],
  manager_gone: () => ["The Pool Manager does not answer", html`<p>Is <code>afpools manager</code> still running? If not, start
    it again. Then ${terminal()}</p>`],
};

/** Replaces everything else if this tab has no session. */
function Closed({ code, message }) {
  const other = () => ["The Pool Manager cannot be opened", html`<p>${message}</p><p>To try again, ${terminal()}</p>`];
  const [title, words] = (CLOSED[code] ?? other)();
  return html`<main class="words" role="alert"><h1>${title}</h1>${words}</main>`;
}

/** Opens a copy of this tab, which also gets the secret. A tab that is opened independently does not. */
function openTab(address) {
  if (!window.open(address)) failed(new Error("The browser blocked the new tab. Allow pop-ups for this page."));
}

// Our own links, when they are to open in a new tab.
for (const kind of ["click", "auxclick"]) {
  document.addEventListener(kind, (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || !(event.button === 1 || (event.button === 0 && (event.ctrlKey || event.metaKey || event.shiftKey)))) return;
    event.preventDefault();
    openTab(link.href);
  });
}

function App() {
  const { page, argument } = route.value;
  const Page = PAGES.find(([name]) => name === page)[2];
  useEffect(() => {
    document.title = `${PAGES.find(([name]) => name === page)[1]} · Pool Manager`;
  }, [page]);
  if (closed.value) return html`<${Closed} code=${closed.value.code} message=${closed.value.message} />`;
  return html`<div class="frame ${isStale.value && loaded.value ? "stale" : ""}">
    <nav aria-label="Pages">
      <h1><img src="/static/icon.svg" alt="" width="22" height="22" /> Pool Manager</h1>
      <ul>
        ${PAGES.map(([name, title]) => html`<li key=${name}>
          <a href="#/${name}" aria-current=${name === page ? "page" : undefined}>${title}${
            name === "broker" && html`<${Problems} />`}</a>
        </li>`)}
      </ul>
      <div class="foot"><${Connection} />
        <button class="quiet" onClick=${() => openTab(location.href)}>Open another tab</button><${ThemeButton} /></div>
    </nav>
    <main>
      <${Banner} />
      <${Page} key=${page} argument=${argument} />
    </main>
    <${AskedFirst} />
    <${Toasts} />
  </div>`;
}

// "/" moves to the page's search field, as in most tools of this kind.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, textarea, select") || document.querySelector("dialog[open]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    const search = document.querySelector("[data-search]");
    search?.focus();
    search?.select();
  }
});

// A file that is dropped outside the drop area must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
}

applyTheme();
if (firstToken !== null) await openSession(firstToken);
else if (!secret()) closed.value = { code: "no_token", message: "" };
const frame = document.getElementById("app");
frame.replaceChildren(); // removes the placeholder in index.html
render(html`<${App} />`, frame);
start();
