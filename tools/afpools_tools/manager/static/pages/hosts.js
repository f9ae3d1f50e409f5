// Hosts: every known machine; puts many of them into pools, or takes them out, at once.

import { html, useMemo, useState } from "../html.js";
import { ApiError, write } from "../api.js";
import { inState, matcher } from "../filter.js";
import { number, plural, stateWord } from "../format.js";
import { counted, hostByName, hosts, isAbsent, loaded, may, nothing, poolByName, pools, whyFixed } from "../store.js";
import { runsOn } from "../jobs.js";
import { useSelection } from "../selection.js";
import { Targets, endDrag, startDrag } from "../targets.js";
import { Choice, Dialog, Search, Swatch, VirtualList, done, failed, make } from "../ui.js";
import { askFirst, concernsAnyJob, useWhatIf } from "../whatif.js";
import { assign } from "./pools.js";

const STATE_FILTERS = [
  ["", "All"],
  ["online", "Online"],
  ["free", "Free"],
  ["busy", "Busy"],
  ["blocked", "Unavailable", "Online, but nimby, paused or sick"],
  ["offline", "Offline"],
  ["unknown", "Not on the farm"],
];

// Stands for a pool in the address; no pool can have this name.
const NO_POOL = " ";

export function HostsPage({ argument }) {
  const [text, setText] = useState("");
  const [state, setState] = useState("");
  const [adding, setAdding] = useState(false);
  const [replaced, setReplaced] = useState("");
  const inPool = useMemo(() => {
    const fits = matcher(text);
    return hosts.value.filter((host) => fits(host) && (!argument || (argument === NO_POOL ? !host.pools.length : host.pools.includes(argument))));
  }, [hosts.value, text, argument]);
  const shown = useMemo(() => (state ? inPool.filter((host) => inState(host, state)) : inPool), [inPool, state]);
  const selection = useSelection(shown, hostByName);
  const options = STATE_FILTERS.map(([value, word, title]) => [
    value, word, loaded.value ? inPool.reduce((sum, host) => sum + inState(host, value), 0) : undefined, title]);
  const chosen = selection.names;
  const hidden = useMemo(() => {
    const here = new Set(shown.map((host) => host.name));
    return chosen.reduce((sum, name) => sum + !here.has(name), 0);
  }, [chosen, shown]);
  const registered = chosen.filter((name) => hostByName.value.get(name)?.registered);
  const forget = () => make(() => write("hosts/forget", { hosts: registered }), (gone) =>
    done(`Forgot ${plural(gone.removed.length, "host")}`, [gone.change]));
  return html`<section class="page split hosts-page">
    <div class="list">
      <header>
        <h2>Hosts <small>${shown.length === hosts.value.length ? counted(shown.length)
          : `${number(shown.length)} of ${number(hosts.value.length)}`}</small></h2>
        <${Search} value=${text} onInput=${setText} label="Filter hosts"
          placeholder="Filter: text or gpu-[1-8] (press /)" />
        <button disabled=${!may("hosts.register")} onClick=${() => setAdding(true)}>Add by name…</button>
      </header>
      <div class="filters">
        <${Choice} label="State" options=${options} value=${state} onChange=${setState} />
        <label class="pool-filter"><span class="muted">Pool</span>
          <select value=${argument} aria-label="Pool" onChange=${(event) => (location.hash = `#/hosts/${encodeURIComponent(event.target.value)}`)}>
            <option value="">any</option>
            <option value=${NO_POOL}>none</option>
            ${pools.value.map((pool) => html`<option key=${pool.name} value=${pool.name}>${pool.name}</option>`)}
          </select></label>
      </div>
      <div class="table hosts" role="grid" aria-label="Hosts" aria-multiselectable="true" aria-rowcount=${shown.length + 1}
          tabindex="0" onKeyDown=${selection.onKeyDown} aria-describedby="selecting"
          aria-activedescendant=${selection.cursor >= 0 ? `host-${selection.cursor}` : undefined}>
        <div class="row head" role="row">
          ${["Host", "State", "Address", "Engine", "Native pool", "Pools"].map((word) => html`<span key=${word} role="columnheader">${word}</span>`)}
        </div>
        <${VirtualList} items=${shown} rowRem=${2.25} cursor=${selection.cursor} role="rowgroup" tabindex="-1"
          empty=${hosts.value.length ? "No host matches the filter." : nothing("No hosts are known yet. They appear when afserver lists renders, or when you add them by name.")}
          row=${(host, index, style) => html`<${HostRow} key=${host.name} host=${host} index=${index} style=${style}
            selected=${selection.has(host.name)} current=${index === selection.cursor} selection=${selection} replace=${setReplaced} />`} />
      </div>
      <p class="hidden" id="selecting">Arrows move, Shift extends the selection, Space toggles, Control A selects all hosts shown.</p>
      <footer class="selection" aria-live="polite">
        ${chosen.length
          ? html`<b>${plural(chosen.length, "host")} selected${hidden > 0 && `, ${number(hidden)} not shown`}</b>
            <span class="muted">Drag them onto a pool, or use + and − there.</span>
            ${registered.length > 0 && html`<button disabled=${!may("hosts.forget")} onClick=${forget}
              title="Remove them from the registered hosts">Forget ${number(registered.length)} registered</button>`}
            <button onClick=${selection.clear}>Clear</button>`
          : html`<span class="muted">Click, Shift-click and Ctrl-click to select; Ctrl+A selects all hosts shown.</span>`}
      </footer>
    </div>
    <${PoolTargets} chosen=${chosen} />
    ${replaced && html`<${ReplaceDialog} name=${replaced} onClose=${() => setReplaced("")} />`}
    ${adding && html`<${AddDialog} onClose=${() => setAdding(false)} pool=${poolByName.value.has(argument) ? argument : ""} />`}
  </section>`;
}

/** Takes a host out of all its pools, and takes back that it was registered; once it has been shown what jobs on the farm
 * would feel of it. */
async function leave(host) {
  const question = { hosts: host.pools.map((pool) => ({ pool, remove: [host.name] })) };
  const params = { host: host.name };
  const made = (gone) => {
    if (gone.done.length) done(`Forgot ${host.name}`, gone.done);
    if (gone.failed) failed(new Error(gone.failed));
    return !gone.failed;
  };
  if (!host.pools.length || !(await concernsAnyJob(question))) return make(() => write("hosts/leave", params), made);
  return askFirst({ title: `Forget ${host.name}?`, submit: "Forget", question, change: ["hosts/leave", params], made });
}

function HostRow({ host, index, style, selected, current, selection, replace }) {
  const absent = isAbsent(host);
  const press = (event, action) => { event.stopPropagation(); action(); };
  const drag = (event) => {
    // Dragging a row that is not selected drags only that row.
    const names = selected ? selection.names : [host.name];
    if (!selected) selection.only(index);
    startDrag(event, names);
  };
  return html`<div id="host-${index}" role="row" aria-rowindex=${index + 2} aria-selected=${selected} style=${style}
      class="row ${selected ? "selected" : ""} ${current ? "current" : ""}" draggable=${may("pools.add_hosts")}
      onDragStart=${drag} onDragEnd=${endDrag} onClick=${(event) => selection.onClick(event, index)}>
    <span role="gridcell" class="cut strong" title=${host.name}>${host.name}</span>
    <span role="gridcell" class="cut ${absent ? "stuck" : ""}" title=${absent ? "It is in pools, but not on the farm" : [host.states.join(", ") || stateWord(host), ...runsOn(host.name)].join("\n")}><span
      class="state ${host.state}"></span> ${[stateWord(host, absent), ...runsOn(host.name)].join(": ")}</span>
    ${absent ? html`<span role="gridcell" class="absent">
      <button aria-label="Replace ${host.name} by another host" title="Take it out of all its pools, and put another host in"
        disabled=${!may("pools.add_hosts")} onClick=${(event) => press(event, () => replace(host.name))}>Replace by…</button>
      <button aria-label="Forget ${host.name}" title="Take it out of all its pools"
        disabled=${!may("pools.remove_hosts")} onClick=${(event) => press(event, () => leave(host))}>Forget</button>
    </span>` : html`<span role="gridcell" class="cut muted">${host.address}</span>
    <span role="gridcell" class="cut muted">${host.engine}</span>
    <span role="gridcell" class="cut muted" title=${host.native}>${host.native}</span>`}
    <span role="gridcell" class="chips" title=${host.pools.join(", ")}>${host.pools.map((name) => html`<span key=${name} class="chip">
      <${Swatch} colour=${poolByName.value.get(name)?.colour} />${name}</span>`)}</span>
  </div>`;
}

/** The pools as drop targets, with + and − buttons. */
function PoolTargets({ chosen }) {
  const counts = useMemo(() => {
    const found = new Map();
    for (const name of chosen) {
      for (const pool of hostByName.value.get(name)?.pools ?? []) found.set(pool, (found.get(pool) ?? 0) + 1);
    }
    return found;
  }, [chosen, hosts.value]);
  const what = chosen.length === 1 ? chosen[0] : plural(chosen.length, "host");
  const add = (pool, names, words) => assign({ hosts: names, add: [pool] }, `Added ${words} to ${pool}`);
  const remove = (pool) => assign({ hosts: chosen, remove: [pool] }, `Removed ${what} from ${pool}`);
  return html`<${Targets} label="Pools to add to or remove from" takesHosts=${true}
    onDrop=${(pool, names) => add(pool, names, names.length === 1 ? names[0] : plural(names.length, "host"))}
    parts=${(pool) => {
      const inside = counts.get(pool.name) ?? 0;
      const fixed = whyFixed(pool);
      return html`<span class="muted count" title=${chosen.length ? `${number(inside)} of the selected are among its ${plural(pool.hosts, "host")}` : plural(pool.hosts, "host")}>${chosen.length ? `${number(inside)} / ${number(pool.hosts)}` : number(pool.hosts)}</span>
        <button class="icon" aria-label="Add ${what} to ${pool.name}" title=${fixed || `Add ${what}`}
          disabled=${fixed || !chosen.length || inside === chosen.length || !may("pools.add_hosts")}
          onClick=${() => add(pool.name, chosen, what)}>+</button>
        <button class="icon" aria-label="Remove ${what} from ${pool.name}" title=${fixed || `Remove ${what}`}
          disabled=${fixed || !inside || !may("pools.remove_hosts")} onClick=${() => remove(pool.name)}>−</button>`;
    }} />`;
}

function ReplaceDialog({ name, onClose }) {
  const [by, setBy] = useState("");
  const [coming, setComing] = useState(false);
  // The host as it was when this was opened, so that repeating after a failure names the same change.
  const itsPools = hostByName.value.get(name)?.pools ?? [];
  const whatIf = useWhatIf(by.trim() ? { pools: itsPools, typed: by, remove: [name] } : null);
  const replace = async (change) => {
    const made = await change("hosts/replace", { host: name, by: by.trim(), new_hosts: coming });
    if (made.done.length) {
      done(`Replaced ${name} by ${by.trim()}`, made.done);
      whatIf.after();
    }
    if (made.failed) throw new Error(made.failed);
  };
  return html`<${Dialog} title="Replace ${name}" submit="Replace" onSubmit=${replace} onClose=${onClose}>
    <p class="hint">${name} is not on the farm. It leaves ${itsPools.length === 1 ? "the pool" : "the pools"} ${itsPools.join(", ")}, and
      the other host takes its place.</p>
    <label>Replace by<input value=${by} required autofocus spellcheck=${false} placeholder="pc-12"
      onInput=${(event) => setBy(event.target.value)} /></label>
    <label class="check"><input type="checkbox" checked=${coming} onChange=${(event) => setComing(event.target.checked)} />
      The farm has not seen this machine yet</label>
    ${whatIf.shown}
  </${Dialog}>`;
}

function AddDialog({ onClose, pool }) {
  const [typed, setTyped] = useState("");
  const [target, setTarget] = useState(pool);
  const whatIf = useWhatIf(target && typed.trim() ? { pools: [target], typed } : null);
  const add = async (change, anyway) => {
    if (target) {
      const answer = await change("hosts/assign", { typed, add: [target], ...anyway });
      if (answer.failed.length) throw new ApiError(answer.failed[0].code, answer.failed[0].message);
      const [made] = answer.done;
      done(made.change ? `Added ${plural(made.added.length, "host")} to ${target}` : `Nothing to do: ${target} has them already.`,
        [made.change], made.unchecked);
    } else {
      const made = await change("hosts/register", { typed });
      done(made.change ? `Registered ${plural(made.added.length, "host")}` : "Nothing to do: they are registered already.", [made.change]);
    }
  };
  return html`<${Dialog} title="Add hosts by name" submit="Add" onSubmit=${add} onClose=${onClose}>
    <p class="hint">Names that the farm does not have are refused, with a suggestion. Machines that are not set up yet can be added anyway, or only registered: spell them as their renders will report themselves.</p>
    <label>Names and ranges<input value=${typed} required autofocus spellcheck=${false} placeholder="gpu-[1-8], pc-12"
      onInput=${(event) => setTyped(event.target.value)} /></label>
    <label>Pool<select value=${target} onChange=${(event) => setTarget(event.target.value)}>
      <option value="">none: only register them</option>
      ${pools.value.map((one) => html`<option key=${one.name} value=${one.name} disabled=${whyFixed(one) !== ""} title=${whyFixed(one)}>${one.name}</option>`)}
    </select></label>
    ${whatIf.shown}
  </${Dialog}>`;
}
