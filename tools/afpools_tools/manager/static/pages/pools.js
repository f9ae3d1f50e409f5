// Pools: the list, how busy each is; create, change, delete.

import { html, useMemo, useState } from "../html.js";
import { read, write } from "../api.js";
import { UsageChart } from "../chart.js";
import { breakable, byName, duration, number, plural, stateWord } from "../format.js";
import { cannotRun, counted, hostByName, isAbsent, isStale, limits, loaded, members, may, nothing, poolByName, pools, whyFixed } from "../store.js";
import { areJobsKnown, fenceWords, jobsOf, jobWords, spillWords, tasksOf } from "../jobs.js";
import { ANYWAY, Dialog, Meanwhile, Search, Swatch, UsageBar, VirtualList, done, failed, make, toast, useAnswer, useDecision } from "../ui.js";
import { askFirst, concernsJobs, useWhatIf } from "../whatif.js";

const PALETTE = ["#3f7ae0", "#2aa583", "#d9902f", "#d2554f", "#8a63d2", "#4ba3c3", "#7a9a3a", "#c65d9b"];

const go = (hash) => (location.hash = hash);
// Moving through the list does not add to the browser's history.
const moveTo = (hash) => location.replace(hash);
export const poolAddress = (name) => `#/pools/${encodeURIComponent(name)}`;

const ORDERS = {
  name: byName,
  hosts: (a, b) => b.hosts - a.hosts || byName(a, b),
  online: (a, b) => b.online - a.online || byName(a, b),
  busy: (a, b) => b.busy - a.busy || byName(a, b),
  free: (a, b) => b.free - a.free || byName(a, b),
};

export function PoolsPage({ argument }) {
  const [text, setText] = useState("");
  const [order, setOrder] = useState("name");
  // Kept here, not in the pool's own panel: if somebody deletes the pool, the panel is gone, but what was typed stays.
  const [dialog, setDialog] = useState(null);
  const close = () => setDialog(null);
  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const found = pools.value.filter((pool) =>
      !wanted || pool.name.toLowerCase().includes(wanted) || pool.description.toLowerCase().includes(wanted));
    return order === "name" ? found : found.sort(ORDERS[order]);
  }, [pools.value, text, order]);
  const selected = poolByName.value.get(argument);
  const cursor = shown.findIndex((pool) => pool.name === argument);
  const move = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !shown.length) return;
    event.preventDefault();
    moveTo(poolAddress(shown[Math.max(0, Math.min(shown.length - 1, cursor + step))].name));
  };
  const heading = (key, word, kind = "") => html`<span role="columnheader" class=${kind}
      aria-sort=${order === key ? (key === "name" ? "ascending" : "descending") : "none"}>
    <button class="heading" onClick=${() => setOrder(key)}>${word}</button></span>`;
  return html`<section class="page split">
    <div class="list">
      <header>
        <h2>Pools <small>${counted(pools.value.length)}</small></h2>
        <${Search} value=${text} onInput=${setText} label="Search pools" placeholder="Search (press /)" />
        <button class="primary" disabled=${!may("pools.create")} onClick=${() => setDialog({ kind: "create" })}>New pool</button>
      </header>
      <div class="table pools" role="grid" aria-label="Pools" aria-rowcount=${shown.length + 1} tabindex="0" onKeyDown=${move}
          aria-activedescendant=${cursor >= 0 ? `pool-${cursor}` : undefined}>
        <div class="row head" role="row">
          ${heading("name", "Pool")}${heading("hosts", "Hosts", "count")}${heading("online", "On the farm")}
          ${heading("busy", "Busy", "count")}${heading("free", "Free", "count")}
          <span role="columnheader" class="use">Use</span><span role="columnheader">Description</span>
        </div>
        <${VirtualList} items=${shown} cursor=${cursor} role="rowgroup" tabindex="-1"
          empty=${text ? "No pool matches the search." : nothing("There are no pools yet. Make the first with New pool.")}
          row=${(pool, index, style) => html`<div key=${pool.name} id="pool-${index}" role="row" style=${style}
              class="row ${pool.name === argument ? "selected current" : ""}" aria-rowindex=${index + 2}
              aria-selected=${pool.name === argument} onClick=${() => go(poolAddress(pool.name))}>
            <span role="gridcell" class="name" title=${pool.name}><${Swatch} colour=${pool.colour} /><span>${pool.name}</span
              >${pool.follows && html` <span class="tag" title=${whyFixed(pool)}>follows</span>`}</span>
            <span role="gridcell" class="count">${number(pool.hosts)}</span>
            <span role="gridcell" class="cut ${cannotRun(pool) ? "stuck" : ""}" title=${pool.machines}>${pool.machines}</span>
            <span role="gridcell" class="count busy">${pool.known ? number(pool.busy) : "–"}</span>
            <span role="gridcell" class="count free">${pool.known ? number(pool.free) : "–"}</span>
            <span role="gridcell" class="use"><${UsageBar} pool=${pool} /></span>
            <span role="gridcell" class="muted cut" title=${pool.description}>${pool.description}</span>
          </div>`} />
      </div>
    </div>
    ${selected ? html`<${PoolDetail} key=${selected.name} pool=${selected} open=${(kind) => setDialog({ kind, name: selected.name })} />`
      : html`<aside class="detail none"><p class="muted">${argument && loaded.value
        ? `There is no pool ${argument}.`
        : "Choose a pool to see its hosts or change it."}</p></aside>`}
    ${dialog?.kind === "create" && html`<${CreateDialog} onClose=${close} />`}
    ${dialog?.kind === "edit" && html`<${EditDialog} name=${dialog.name} onClose=${close} />`}
    ${dialog?.kind === "delete" && html`<${DeleteDialog} name=${dialog.name} onClose=${close} />`}
  </section>`;
}

function PoolDetail({ pool, open }) {
  const [typed, setTyped] = useState("");
  const { value: details, error } = useAnswer((signal) => read("pool", { pool: pool.name }, signal), pool.revision);
  const { value: past, error: pastError } = useAnswer((signal) => read("usage", { pool: pool.name }, signal), pool.name, 15);
  const own = members.value.get(pool.name) ?? [];
  const fixed = whyFixed(pool);
  const absent = own.filter(isAbsent);
  const known = (count) => (pool.known ? number(count) : "–");
  const whatIf = useWhatIf(concernsJobs(pool.name) && typed.trim() ? { pools: [pool.name], typed } : null);
  const add = async (event) => {
    event.preventDefault();
    const text = `Added ${typed.trim()} to ${pool.name}`;
    if (await assign({ typed, add: [pool.name] }, text, { seen: true })) setTyped("");
  };
  return html`<aside class="detail" aria-label="Pool ${pool.name}">
    <header>
      <h2><${Swatch} colour=${pool.colour} /> ${pool.name}</h2>
      <div class="buttons">
        <button disabled=${!may("pools.update")} onClick=${() => open("edit")}>Edit</button>
        <button disabled=${!may("pools.delete")} onClick=${() => open("delete")}>Delete</button>
      </div>
    </header>
    ${pool.description && html`<p class="description">${pool.description}</p>`}
    ${pool.follows && html`<div class="follows" role="note"><span>Follows <b class="mono">${breakable(pool.follows)}</b> in Afanasy, where its hosts are
      changed.</span> <button disabled=${!may("pools.unfollow")} onClick=${() => unfollow(pool)}>Unfollow</button></div>`}
    ${pool.spillTo && html`<p class="hint">${spillSentence(pool)}</p>`}
    <dl class="numbers">
      <div><dt>Hosts</dt><dd>${number(pool.hosts)}</dd></div>
      <div><dt>Online</dt><dd>${known(pool.online)}</dd></div>
      <div><dt>Busy</dt><dd class="busy">${known(pool.busy)}</dd></div>
      <div><dt>Free</dt><dd class="free">${known(pool.free)}</dd></div>
    </dl>
    ${cannotRun(pool) && html`<p class="hint stuck">${pool.renders === 0
      ? "No host of this pool is on the farm: a job for it waits until one joins."
      : "All its machines are offline: a job for it waits until one is online."}
      ${absent.length > 0 && html` <a href="#/hosts/${encodeURIComponent(pool.name)}">Replace or forget hosts</a>`}</p>`}
    <${UsageBar} pool=${pool} />
    ${past?.pools[pool.name] && html`<${UsageChart} series=${{ when: past.when, ...past.pools[pool.name] }} hosts=${pool.hosts} label="Use of ${pool.name}" />`}
    ${pastError && !isStale.value && html`<p class="error" role="alert">Use over time is not available. ${pastError.message}</p>`}
    <nav class="links">
      <a href="#/hosts/${encodeURIComponent(pool.name)}">Show in Hosts</a>
      <a href="#/masks/${encodeURIComponent(pool.name)}">Masks</a>
    </nav>
    ${areJobsKnown.value && html`<${PoolJobs} name=${pool.name} />`}
    ${error && !isStale.value && html`<p class="error" role="alert">${error.message}</p>`}
    ${!pool.hosts && html`<p class="hint">No hosts: jobs for this pool are refused until it has some.</p>`}
    ${details?.ranges && html`<p class="ranges mono">${breakable(details.ranges)}</p>`}
    <form class="inline" onSubmit=${add}>
      <input value=${typed} onInput=${(event) => setTyped(event.target.value)} aria-label="Hosts to add"
        placeholder="Add hosts: gpu-[1-8], pc-12" spellcheck=${false} title=${fixed} disabled=${fixed || !may("pools.add_hosts")} />
      <button title=${fixed} disabled=${fixed || !typed.trim() || !may("pools.add_hosts")}>Add</button>
    </form>
    ${whatIf.shown}
    <${VirtualList} items=${own} rowRem=${2} aria-label="Hosts of ${pool.name}" role="list" tabindex="0"
      row=${(host, _index, style) => html`<div key=${host.name} role="listitem" class="row member" style=${style}>
        <span class="state ${host.state}" title=${stateWord(host, isAbsent(host))}></span><span class="cut">${host.name}</span>
        <span class="muted">${stateWord(host, isAbsent(host))}</span>
        <button class="icon" aria-label="Remove ${host.name} from ${pool.name}" title=${fixed}
          disabled=${fixed || !may("pools.remove_hosts")}
          onClick=${() => assign({ hosts: [host.name], remove: [pool.name] }, `Removed ${host.name} from ${pool.name}`)}
          >✕</button>
      </div>`} />
  </aside>`;
}

const unfollow = (pool) => make(
  () => write("native/unfollow", { pool: pool.name, if_revision: null }),
  (made) => done(`${pool.name} no longer follows ${pool.follows}, and keeps its ${plural(made.hosts, "host")}`, [made.change]),
);

const JOBS_SHOWN = 3;

/** A pool's jobs on the farm, the first few by name. */
function PoolJobs({ name }) {
  const own = jobsOf.value.get(name) ?? [];
  if (!own.length) return html`<p class="muted">No job on the farm is for this pool.</p>`;
  return html`<div class="pool-jobs">
    <a href="#/jobs/${encodeURIComponent(name)}">${plural(own.length, "job")} on the farm</a>
    <ul>${own.slice(0, JOBS_SHOWN).map((job) => html`<li key=${job.key} title=${job.why || spillWords(job) || fenceWords(job)}>
      <span class="cut">${jobWords(job)}</span> <span class="muted">${job.user}</span>
      <span class=${job.fence === "current" ? "muted" : "stuck"}>${tasksOf(job)}</span></li>`)}</ul>
  </div>`;
}

/** The sentence about names that could not be checked, if there is one. */
export const uncheckedOf = (made) => made.find((one) => one.unchecked)?.unchecked ?? "";

/** Puts hosts into pools or takes them out, and reports the outcome. If a pool has jobs on the farm, first shows what
 * would happen to them, unless that has been `seen`. */
export function assign(params, text, { seen = false } = {}) {
  const made = (answer) => sayAssigned(params, text, answer);
  const [pool] = [...(params.add ?? []), ...(params.remove ?? [])];
  if (seen || !concernsJobs(pool)) return make(() => write("hosts/assign", params), made);
  const what = params.typed?.trim() || (params.hosts.length === 1 ? params.hosts[0] : plural(params.hosts.length, "host"));
  const [title, submit, question] = params.add?.length
    ? [`Add ${what} to ${pool}?`, "Add", { pools: [pool], add: params.hosts ?? [], typed: params.typed ?? "" }]
    : [`Remove ${what} from ${pool}?`, "Remove", { pools: [pool], remove: params.hosts }];
  return askFirst({ title, submit, question, change: ["hosts/assign", params], made });
}

function sayAssigned(params, text, answer) {
  for (const { pool, code, message } of answer.failed) {
    const action = code === "unknown_host" && {
      label: ANYWAY, run: () => assign({ ...params, add: [pool], remove: [], new_hosts: true }, text, { seen: true }) };
    toast(message, { kind: "failed", action });
  }
  if (answer.done.length) {
    const changed = answer.done.some((one) => one.change);
    done(changed ? text : "Nothing to do: nothing would change.", answer.done.map((one) => one.change), uncheckedOf(answer.done));
  }
  return !answer.failed.length;
}

function ColourField({ colour, onChange }) {
  return html`<fieldset class="colours"><legend>Colour</legend>
    <label><input type="radio" name="colour" checked=${!colour} onChange=${() => onChange("")} /><span class="swatch none"></span>
      <span class="hidden">None</span></label>
    ${PALETTE.map((value) => html`<label key=${value}><input type="radio" name="colour" checked=${value === colour}
      onChange=${() => onChange(value)} /><span class="swatch" style=${{ background: value }}></span>
      <span class="hidden">${value}</span></label>`)}
    <label class="own">Other <input type="color" value=${colour || "#808080"} onInput=${(event) => onChange(event.target.value)} /></label>
  </fieldset>`;
}

const SPILL = ["spillTo", "spillAfter"];
const SPILL_AFTER = 30 * 60;
const SPILL_TIMES = [5, 15, 30, 60, 120, 240, 480, 1440].map((minutes) => minutes * 60);

/** What a pool's second pool is for, in a sentence. */
function spillSentence({ spillTo, spillAfter }) {
  const gone = poolByName.value.has(spillTo) ? "" : " There is no such pool any more, so they stay in this one.";
  return `Its jobs may also use ${spillTo} after ${duration(spillAfter)} without a running task.${gone}`;
}

/** A second pool, for jobs that wait too long. */
function SpillField({ name, to, after, set }) {
  const names = [...new Set([...pools.value.map((pool) => pool.name), to])].filter((other) => other && other !== name);
  const times = [...new Set([...SPILL_TIMES, after])].sort((a, b) => a - b);
  return html`<fieldset class="spill"><legend>Second pool for jobs that wait</legend>
    <label>Pool<select value=${to} aria-label="Second pool" onChange=${(event) => set("spillTo")(event.target.value)}>
      <option value="">none</option>
      ${names.map((other) => html`<option key=${other} value=${other}>${other}</option>`)}
    </select></label>
    <label>After<select value=${after} aria-label="Time until jobs may use it" disabled=${!to} onChange=${(event) => set("spillAfter")(Number(event.target.value))}>
      ${times.map((time) => html`<option key=${time} value=${time}>${duration(time)}</option>`)}
    </select></label>
    ${to && html`<p class="hint">A job without a running task for that long may use the hosts of ${to} too, until its work is done or it is moved.</p>`}
  </fieldset>`;
}

function CreateDialog({ onClose }) {
  const [pool, setPool] = useState("");
  const [hosts, setHosts] = useState("");
  const [description, setDescription] = useState("");
  const [colour, setColour] = useState("");
  const create = async (change, anyway) => {
    const made = await change("pools/create", { pool, hosts, description, colour, ...anyway });
    done(`Created ${pool} with ${plural(made.hosts, "host")}`, [made.change], made.unchecked);
    go(poolAddress(pool));
  };
  return html`<${Dialog} title="New pool" submit="Create pool" onSubmit=${create} onClose=${onClose}>
    <label>Name<input value=${pool} required maxlength=${limits.value.pool} autofocus spellcheck=${false} onInput=${(event) => setPool(event.target.value)} /></label>
    <label>Hosts <small>optional</small>
      <input value=${hosts} placeholder="gpu-[1-8], pc-12" spellcheck=${false} onInput=${(event) => setHosts(event.target.value)} /></label>
    <label>Description<input value=${description} maxlength=${limits.value.description} onInput=${(event) => setDescription(event.target.value)} /></label>
    <${ColourField} colour=${colour} onChange=${setColour} />
  </${Dialog}>`;
}

function EditDialog({ name, onClose }) {
  // Only fields that were changed here are sent: what others change meanwhile is shown, and stays.
  const { now, seen, changes, agree } = useDecision(name);
  const [typed, setTyped] = useState({});
  const field = (key) => typed[key] ?? (now ?? seen)[key];
  const set = (key) => (value) => setTyped((before) => ({ ...before, [key]: value }));
  const text = (key) => (event) => set(key)(event.target.value);
  const isMine = (key) => typed[key] !== undefined && typed[key] !== now?.[key];
  const contested = changes.filter(([key]) => isMine(key));
  const takeTheirs = () => {
    setTyped((before) => ({ ...before, ...Object.fromEntries(contested.map(([key]) => [key, undefined])) }));
    agree();
  };
  const newName = field("name");
  const whatIf = useWhatIf(newName && newName !== name ? { pools: [name], new_name: newName } : null);
  const save = async (change) => {
    const made = [];
    let { revision } = now;
    const texts = Object.fromEntries(["description", "colour"].filter(isMine).map((key) => [key, typed[key]]));
    if (SPILL.some(isMine)) Object.assign(texts, { spill_to: field("spillTo"), spill_after: field("spillAfter") || SPILL_AFTER });
    if (Object.keys(texts).length) {
      made.push(await change("pools/update", { pool: name, ...texts, if_revision: revision }));
      ({ revision } = made[0]);
    }
    if (newName !== name) {
      made.push(await change("pools/rename", { pool: name, new_name: newName, if_revision: revision }));
      go(poolAddress(newName));
    }
    whatIf.after();
    if (made.length) done(newName !== name ? `Renamed ${name} to ${newName}` : `Changed ${name}`, made.map((one) => one.change));
  };
  return html`<${Dialog} title="Edit ${name}" submit="Save" blocked=${!now || contested.length > 0} onSubmit=${save} onClose=${onClose}>
    <label>Name<input value=${newName} required maxlength=${limits.value.pool} autofocus spellcheck=${false} onInput=${text("name")} /></label>
    ${newName !== name && html`<p class="hint">Scenes that were saved with ${name}
      ask for a pool that no longer exists, and are refused until somebody chooses again.</p>`}
    ${whatIf.shown}
    <label>Description<input value=${field("description")} maxlength=${limits.value.description} onInput=${text("description")} /></label>
    <${ColourField} colour=${field("colour")} onChange=${set("colour")} />
    <${SpillField} name=${name} to=${field("spillTo")} after=${field("spillAfter") || SPILL_AFTER} set=${set} />
    <${Meanwhile} name=${name} gone=${!now} changes=${contested}>
      <button type="button" onClick=${agree}>Keep mine</button><button type="button" onClick=${takeTheirs}>Take theirs</button>
    </${Meanwhile}>
  </${Dialog}>`;
}

function DeleteDialog({ name, onClose }) {
  const { now, seen, changes, agree } = useDecision(name);
  const pool = now ?? seen;
  const count = pool.members.length;
  const lonely = pool.members.filter((host) => hostByName.value.get(host)?.pools.length === 1).length;
  const whatIf = useWhatIf({ pools: [name], delete: true });
  const remove = async (change) => {
    const gone = await change("pools/delete", { pool: name, if_revision: pool.revision });
    done(`Deleted ${name}`, [gone.change]);
    go("#/pools");
  };
  return html`<${Dialog} title="Delete ${name}?" submit="Delete pool" danger blocked=${!now || changes.length > 0}
      onSubmit=${remove} onClose=${onClose}>
    <ul class="effects">
      <li>${!count ? "It has no hosts." : `${plural(count, "host")} ${count === 1 ? "leaves" : "leave"} it; ${
        !lonely ? "each is also in another pool."
        : lonely === count ? "none is in any other pool."
        : `${number(lonely)} ${lonely === 1 ? "is" : "are"} in no other pool.`}`}</li>
      ${pool.busy > 0 && html`<li>${number(pool.busy)} ${pool.busy === 1 ? "is" : "are"} busy now.</li>`}
      <li>New jobs for ${name} are refused.</li>
      <li>You can bring it back: with Undo right afterwards, or from the history.</li>
    </ul>
    ${whatIf.shown}
    <${Meanwhile} name=${name} gone=${!now} changes=${changes}>
      <button type="button" onClick=${agree}>Continue with ${name} as it is now</button>
    </${Meanwhile}>
  </${Dialog}>`;
}
