// Scan: find machines in the network that are not render nodes yet, and add them to a pool.

import { html, useEffect, useMemo, useState } from "../html.js";
import { act, read, write } from "../api.js";
import { date, duration, number, plural, time } from "../format.js";
import { may, poolByName, pools, whyFixed } from "../store.js";
import { Choice, Pending, Swatch, VirtualList, done, make } from "../ui.js";
import { assign } from "./pools.js";

const KINDS = [["new", "New"], ["all", "All"], ["render", "Renders"], ["pool", "In a pool"]];

const isNew = (machine) => !machine.known;
const fits = { new: isNew, all: () => true, render: (machine) => machine.render, pool: (machine) => machine.pools.length > 0 };

export function ScanPage() {
  const [state, setState] = useState(null);
  const [network, setNetwork] = useState(null);
  const [error, setError] = useState(""); // of the button that was pressed
  const [failure, setFailure] = useState(null); // of the request for the scan's progress
  const [kind, setKind] = useState("new");
  const [chosen, setChosen] = useState(() => new Set());
  const [target, setTarget] = useState("");
  const load = () => read("scan").then((found) => {
    setState(found);
    setFailure(null);
  }, setFailure);
  const running = state?.running ?? false;
  // The progress while it runs, else the last result compared with the farm.
  useEffect(() => {
    load();
    const timer = setInterval(load, running ? 400 : 3000);
    return () => clearInterval(timer);
  }, [running]);

  const press = (name, params) => async (event) => {
    event?.preventDefault();
    setError("");
    try {
      await act(name, params);
    } catch (problem) {
      setError(problem.message);
    }
    await load();
  };
  const result = state?.result;
  const machines = result?.machines ?? [];
  const shown = useMemo(() => machines.filter(fits[kind]), [result, kind]);
  const named = machines.filter((machine) => machine.name && chosen.has(machine.name)).map((machine) => machine.name);
  // The text beside the button says that these are not on the farm.
  const coming = new Set(machines.filter((machine) => chosen.has(machine.name) && !machine.render).map((machine) => machine.name)).size;
  const toggle = (name) => {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  };
  const selectable = shown.filter((machine) => machine.name).map((machine) => machine.name);
  const all = selectable.length > 0 && selectable.every((name) => chosen.has(name));
  const add = async () => {
    if (target) {
      await assign({ hosts: named, add: [target], new_hosts: coming > 0 }, `Added ${plural(named.length, "host")} to ${target}`);
    } else {
      await make(() => write("hosts/register", { typed: named.join(" ") }), (made) =>
        done(`Registered ${plural(made.added.length, "host")}`, [made.change]));
    }
    setChosen(new Set());
    await load();
  };
  const { tried = 0, addresses = 1, found = 0 } = state?.progress ?? {};
  const remaining = running ? Math.max(1, state.expected_seconds * (1 - tried / addresses)) : 0;
  return html`<section class="page">
    <header>
      <h2>Scan</h2>
      <form class="inline" onSubmit=${press("scan/start", { network: network ?? state?.own ?? "" })}>
        <label class="pool-filter"><span class="muted">Network</span>
          <input class="mono" value=${network ?? state?.own ?? ""} aria-label="Network" placeholder="10.0.0.0/24" spellcheck=${false}
            disabled=${running || !state} onInput=${(event) => setNetwork(event.target.value)} /></label>
        ${running ? html`<button type="button" class="danger" onClick=${press("scan/cancel", {})}>Cancel</button>`
          : html`<button class="primary" disabled=${!(network ?? state?.own)}>Scan</button>`}
      </form>
    </header>
    <p class="muted pad-x">Finds machines that answer in your own network, at most a /20, gently: 200 connections a second.
      Nothing is scanned before you press Scan.</p>
    ${(error || (state?.own_error && network === null)) && html`<p class="error pad-x" role="alert">${error || state.own_error}</p>`}
    ${running && html`<div class="progress">
      <progress max=${addresses} value=${tried} aria-label="Scan"></progress>
      <span class="muted">${number(tried)} of ${number(addresses)} addresses, ${number(found)} found; ${duration(remaining)} left at most</span>
    </div>`}
    <div class="filters">
      <${Choice} label="Machines" value=${kind} onChange=${setKind}
        options=${KINDS.map(([value, word]) => [value, word, result ? machines.filter(fits[value]).length : undefined])} />
      ${result && html`<span class="muted">${result.network}, ${time(result.started)} on ${date(result.started)}${
        running ? "" : `, took ${duration(result.seconds)}`}${!running && result.tried < result.addresses
        ? `; cancelled after ${number(result.tried)} of ${number(result.addresses)} addresses` : ""}</span>`}
    </div>
    ${state?.warning && html`<p class="warning pad-x" role="alert">${state.warning}</p>`}
    ${result?.trouble && html`<p class="warning pad-x">Some connections could not be opened: ${result.trouble}. Machines may be missing.</p>`}
    <div class="table scan" role="grid" aria-label="Machines" aria-rowcount=${shown.length + 1}>
      <div class="row head" role="row">
        <span role="columnheader"><input type="checkbox" aria-label="Select all" checked=${all} disabled=${!selectable.length}
          onChange=${() => setChosen(all ? new Set() : new Set(selectable))} /></span>
        ${["Name", "Address", "On the farm", "Pools"].map((word) => html`<span key=${word} role="columnheader">${word}</span>`)}
      </div>
      <${VirtualList} items=${shown} rowRem=${2.25} role="rowgroup" tabindex="-1"
        empty=${!state ? html`<${Pending} value=${state} error=${failure}>Loading the last scan…</${Pending}>`
          : result ? "None of this kind." : state.result_error ? html`<span class="error">${state.result_error}</span>` : "Nothing has been scanned yet."}
        row=${(machine, index, style) => html`<div key=${machine.address} class="row" role="row" aria-rowindex=${index + 2} style=${style}>
          <span role="gridcell"><input type="checkbox" aria-label="Select ${machine.name || machine.address}" disabled=${!machine.name}
            checked=${machine.name !== "" && chosen.has(machine.name)} onChange=${() => toggle(machine.name)} /></span>
          <span role="gridcell" class="cut ${machine.name ? "strong" : ""}">${machine.name || html`<span class="muted">no name</span>`}${
            machine.resolved && machine.resolved !== machine.name && html` <span class="muted">${machine.resolved}</span>`}</span>
          <span role="gridcell" class="muted">${machine.address}</span>
          <span role="gridcell" class="cut">${machine.this_machine ? "This machine: " : ""}${machine.render ? "Render" : machine.known ? "Known, not a render node" : "New"}</span>
          <span role="gridcell" class="chips">${machine.pools.map((name) => html`<span key=${name} class="chip">
            <${Swatch} colour=${poolByName.value.get(name)?.colour} />${name}</span>`)}</span>
        </div>`} />
    </div>
    <footer class="selection">
      ${named.length ? html`<b>${plural(named.length, "machine")} selected</b>
        ${coming > 0 && html`<span class="muted">${coming === named.length ? "" : `${number(coming)} of them `}not on the farm yet: jobs run
          there once a render of that name is</span>`}
        <select value=${target} aria-label="Pool" onChange=${(event) => setTarget(event.target.value)}>
          <option value="">Only register them</option>
          ${pools.value.map((pool) => html`<option key=${pool.name} value=${pool.name} disabled=${whyFixed(pool) !== ""}
            title=${whyFixed(pool)}>Add to ${pool.name}</option>`)}
        </select>
        <button class="primary" disabled=${!may("hosts.register")} onClick=${add}>${target ? "Add" : "Register"}</button>`
        : html`<span class="muted">Select machines to add them to a pool. A machine without a name cannot be added: give it a name in your name service, and scan again.</span>`}
    </footer>
  </section>`;
}
