// Import and export: Afanasy's own pools.

import { html, useState } from "../html.js";
import { read, write } from "../api.js";
import { breakable, number, plural } from "../format.js";
import { may, status } from "../store.js";
import { done } from "../ui.js";

export function ExchangePage() {
  return html`<section class="page">
    <header><h2>Import, export</h2></header>
    <div class="reading wide"><div class="cards">
      <${ImportNative} />
    </div></div>
  </section>`;
}

function ImportNative() {
  const [found, setFound] = useState(null);
  const [left, setLeft] = useState(() => new Set());
  const [error, setError] = useState("");
  const possible = status.value.operations.includes("pools.import_native");
  const look = async () => {
    setError("");
    try {
      setFound((await read("native")).pools);
      setLeft(new Set());
    } catch (problem) {
      setError(problem.message);
    }
  };
  const wanted = (found ?? []).filter(({ path, created, added }) => !left.has(path) && (created || added.count));
  const apply = async () => {
    setError("");
    try {
      const made = await write("native/import", { paths: wanted.map(({ path }) => path) });
      done(`Imported ${plural(made.pools.length, "pool")} of Afanasy`, made.pools.map(({ change }) => change));
    } catch (problem) {
      setError(problem.message);
    }
    await look();
  };
  const toggle = (path) => {
    const next = new Set(left);
    if (!next.delete(path)) next.add(path);
    setLeft(next);
  };
  return html`<article class="card" aria-label="Afanasy's own pools">
    <header><h3>Afanasy's own pools</h3></header>
    <p class="muted">Makes a pool of each that has renders, or adds the hosts that ours lack. No host is taken out of a pool.</p>
    ${!possible && html`<p class="hint">${status.value.role === "reader" ? "This takes a manager's profile." : "This broker is too old for it."}</p>`}
    <div class="buttons"><button disabled=${!may("pools.import_native")} onClick=${look}>Look at them</button></div>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${found && html`<div class="stack tight" aria-live="polite">
      ${!found.length && html`<p class="muted">No render is in one.</p>`}
      <ul class="steps">${found.map(({ path, pool, created, hosts, added }) => html`<li key=${path}><label class="check">
        <input type="checkbox" checked=${!left.has(path) && (created || added.count > 0)} disabled=${!created && !added.count}
          onChange=${() => toggle(path)} />
        <span><span class="mono">${path}</span> → <b>${pool}</b> <span class="muted">${created ? `new, with ${plural(hosts.count, "host")}`
          : added.count ? `${number(added.count)} more of ${plural(hosts.count, "host")}` : `has all ${plural(hosts.count, "host")} already`}</span>
          ${added.count > 0 && html` <span class="mono muted">${breakable(added.ranges)}</span>`}</span></label></li>`)}</ul>
      ${found.length > 0 && html`<div class="buttons"><button class="primary" disabled=${!wanted.length || !may("pools.import_native")} onClick=${apply}>
        Import ${plural(wanted.length, "pool")}</button></div>`}
    </div>`}
  </article>`;
}
