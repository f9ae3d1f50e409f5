// Import and export: pools to a file and back, and Afanasy's own pools.

import { html, useRef, useState } from "../html.js";
import { act, newName, read, readFile, readLong, write } from "../api.js";
import { breakable, number, plural } from "../format.js";
import { isStale, limits, loaded, may, nothing, pools, status } from "../store.js";
import { poolAddress } from "./pools.js";
import { Choice, Dialog, Loading, done, failed, make } from "../ui.js";
import { useWhatIf } from "../whatif.js";

export function ExchangePage() {
  return html`<section class="page">
    <header><h2>Import, export</h2></header>
    <div class="reading wide"><div class="cards">
      <${Export} /><${ImportFile} /><${ImportNative} />
    </div></div>
  </section>`;
}

/** Lets the browser save a file. */
function saveFile(content, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  // Not at once: some browsers start to read it a moment later.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function Export() {
  const save = async (format) => {
    try {
      // An incomplete or broken file would look like a backup.
      if (isStale.value) throw new Error("The broker is unreachable: nothing can be exported until it is back.");
      saveFile(await readFile("export", { format }), `pools.${format}`);
    } catch (problem) {
      failed(problem);
    }
  };
  return html`<article class="card" aria-label="Export">
    <header><h3>Export</h3></header>
    <p class="muted">${pools.value.length ? `All ${plural(pools.value.length, "pool")} with their hosts.` : nothing("There are no pools yet.")}</p>
    <p class="muted">JSON for backups. CSV for spreadsheets, with a row for each host of a pool. MongoDB: documents for mongoimport into the database of the earlier pool server. Each can be imported again.</p>
    <div class="buttons">
      ${[["json", "JSON"], ["csv", "CSV"], ["jsonl", "MongoDB"]].map(([format, word]) => html`<button key=${format} type="button"
        onClick=${() => save(format)}>${word}</button>`)}
    </div>
  </article>`;
}

function ImportFile() {
  const [name, setName] = useState("");
  const [text, setText] = useState("");
  const [mode, setMode] = useState("add");
  const [anyway, setAnyway] = useState(false);
  const [plan, setPlan] = useState(null);
  const [busy, setBusy] = useState(""); // the current request: "plan" or "import"
  const [error, setError] = useState("");
  const [over, setOver] = useState(false);
  const asked = useRef(0);
  const job = useRef("");
  const whatIf = useWhatIf(plan?.hosts.length ? { hosts: plan.hosts } : null);
  const look = async (content, { how = mode, file = name, coming = anyway } = {}) => {
    const mine = ++asked.current;
    setPlan(null);
    setError("");
    setBusy(content.trim() ? "plan" : "");
    if (!content.trim()) return;
    try {
      const found = await readLong("import/plan", { name: file, text: content, replace: how === "replace", new_hosts: coming });
      if (mine === asked.current) setPlan(found);
    } catch (problem) {
      if (mine === asked.current) setError(problem.message);
    }
    if (mine === asked.current) setBusy("");
  };
  const take = async (file) => {
    if (!file) return;
    let content;
    try {
      content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      setPlan(null);
      setError(`${file.name} is not text in UTF-8. Save it as UTF-8: spreadsheets call the format "CSV UTF-8".`);
      return;
    }
    setName(file.name);
    setText(content);
    await look(content, { file: file.name });
  };
  const apply = async () => {
    setError("");
    setBusy("import");
    job.current = newName();
    let refusal, left;
    try {
      const made = await act("import/apply", {
        name, text, replace: mode === "replace", new_hosts: anyway, shown: plan.shown, job: job.current,
      });
      refusal = made.failed;
      left = made.refused.length > 0;
      const count = plural(made.changes.length, "change");
      if (made.changes.length) {
        whatIf.after();
        const part = refusal || left ? `a part of ${name}` : name;
        done(`Imported ${part}: ${count}`, made.changes, made.unchecked);
      }
      if (refusal) refusal = `${number(made.changes.length)} of ${plural(made.steps, "change")} made before this: ${refusal}`;
    } catch (problem) {
      refusal = problem.code === "manager_gone" ? `${problem.message} It is not known how much was imported.` : problem.message;
    }
    setBusy("");
    if (refusal || left) {
      // Refused pools are shown together with the remaining steps.
      await look(text);
      if (refusal) setError(refusal);
      return;
    }
    setPlan(null);
    setName("");
    setText("");
  };
  const cancel = () => act("import/cancel", { job: job.current }).catch(failed);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  };
  return html`<article class="card" aria-label="Import a file">
    <header><h3>Import a file</h3></header>
    <p class="muted">JSON or CSV as exported here, or the pools of the earlier pool server as mongoexport writes them. You first see what would change.</p>
    <label class="drop ${over ? "over" : ""}" onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
        onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <input type="file" aria-label="File" accept=".json,.csv,.jsonl,.txt,application/json,text/csv"
        onChange=${(event) => take(event.target.files[0]).then(() => (event.target.value = ""))} />
      <span>${name || "Choose a file, or drop one here"}</span>
    </label>
    <${Choice} label="How" value=${mode} options=${[["add", "Only add"], ["replace", "Also remove what is not in the file"]]}
      onChange=${(value) => { setMode(value); look(text, { how: value }); }} />
    <label class="check"><input type="checkbox" checked=${anyway}
        onChange=${({ target }) => { setAnyway(target.checked); look(text, { coming: target.checked }); }} />
      <span>Also add machines that are not on the farm yet</span></label>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${busy === "plan" && html`<${Loading}>Checking what would change…</${Loading}>`}
    ${busy === "import" && html`<div class="buttons" role="status"><span class="muted">Importing ${name}…</span>
      <button onClick=${cancel} title="Stops after the current change">Cancel</button></div>`}
    ${plan && busy !== "import" && html`<div class="stack tight" aria-live="polite">
      ${plan.refused.length > 0 && html`<div class="stack tight error" role="alert">
        <p>${plural(plan.refused.length, "pool")} of the file cannot be imported as a whole:</p>
        <ul class="steps">${plan.refused.map(({ pool, message }) => html`<li key=${pool}><b>${breakable(pool)}</b>: ${breakable(message)}</li>`)}</ul>
        ${plan.refused.some(({ unknown }) => unknown) && html`<p>If these machines are not set up yet, tick the box above.</p>`}
      </div>`}
      ${plan.unchecked && html`<p class="hint">${plan.unchecked}</p>`}
      ${plan.steps.length ? html`<ul class="steps">${plan.steps.map((step) => html`<li key=${step} class="mono">${breakable(step)}</li>`)}</ul>
        ${whatIf.shown}
        <div class="buttons"><button class="primary" disabled=${!may("pools.create")} onClick=${apply}>Make ${plural(plan.steps.length, "change")}</button></div>`
        : !plan.refused.length && html`<p class="good">Nothing to do: ${plural(plan.pools, "pool")} as in the file.</p>`}
    </div>`}
  </article>`;
}

function ImportNative() {
  const [found, setFound] = useState(null);
  const [left, setLeft] = useState(() => new Set());
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const [following, setFollowing] = useState(null);
  const followers = new Map(pools.value.filter((pool) => pool.follows).map((pool) => [pool.follows, pool.name]));
  const possible = status.value.operations.includes("pools.import_native");
  const look = async () => {
    setError("");
    setBusy(true);
    try {
      setFound((await read("native")).pools);
      setLeft(new Set());
    } catch (problem) {
      setFound(null);
      setError(problem.message);
    }
    setBusy(false);
  };
  // A pool that is followed does not need a copy.
  const lacks = ({ path, created, added }) => !followers.has(path) && (created || added.count > 0);
  const wanted = (found ?? []).filter((one) => !left.has(one.path) && lacks(one));
  // A new pool cannot have jobs.
  const grown = wanted.filter(({ created }) => !created).map(({ pool, added }) => ({ pool, add: added.names }));
  const whatIf = useWhatIf(grown.length ? { hosts: grown } : null);
  const apply = async () => {
    await make(() => write("native/import", { paths: wanted.map(({ path }) => path) }), (made) => {
      done(`Imported ${plural(made.pools.length, "pool")} of Afanasy`, made.pools.map(({ change }) => change));
      whatIf.after();
    });
    await look();
  };
  const toggle = (path) => {
    const next = new Set(left);
    if (!next.delete(path)) next.add(path);
    setLeft(next);
  };
  return html`<article class="card" aria-label="Afanasy's own pools">
    <header><h3>Afanasy's own pools</h3></header>
    <p class="muted">Import makes a pool from each that has renders (render nodes), or adds the hosts that ours lack. No host is removed from a
      pool. With Follow…, a pool has the renders of Afanasy's own from now on: whoever joins or leaves there joins or leaves here.</p>
    ${!possible && loaded.value && html`<p class="hint">${status.value.role === "reader" ? "This needs a manager profile." : "This broker does not offer it. Update the broker."}</p>`}
    <div class="buttons"><button disabled=${!may("pools.import_native") || busy} onClick=${look}>Show them</button></div>
    ${busy && html`<${Loading}>Asking the broker for Afanasy's own pools…</${Loading}>`}
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${found && html`<div class="stack tight" aria-live="polite">
      ${!found.length && html`<p class="muted">None of them has a render node.</p>`}
      <ul class="steps native">${found.map(({ path, pool, created, hosts, added }) => html`<li key=${path}><label class="check">
        <input type="checkbox" checked=${!left.has(path) && lacks({ path, created, added })} disabled=${!lacks({ path, created, added })}
          onChange=${() => toggle(path)} />
        <span><span class="mono">${path}</span> → <b>${pool}</b> <span class="muted">${created ? `new, with ${plural(hosts.count, "host")}`
          : added.count ? `${number(added.count)} more of ${plural(hosts.count, "host")}` : `has all ${plural(hosts.count, "host")} already`}</span>
          ${added.count > 0 && html` <span class="mono muted">${breakable(added.ranges)}</span>`}</span></label>
        ${followers.has(path) ? html`<a class="tag" href=${poolAddress(followers.get(path))}>followed by ${followers.get(path)}</a>`
          : html`<button disabled=${!may("pools.follow")} aria-label="Follow ${path}…" onClick=${() => setFollowing({ path, pool })}>Follow…</button>`}</li>`)}</ul>
      ${whatIf.shown}
      ${found.length > 0 && html`<div class="buttons"><button class="primary" disabled=${!wanted.length || !may("pools.import_native")} onClick=${apply}>
        Import ${plural(wanted.length, "pool")}</button></div>`}
    </div>`}
    ${following && html`<${FollowDialog} path=${following.path} pool=${following.pool} onMade=${look} onClose=${() => setFollowing(null)} />`}
  </article>`;
}

function FollowDialog({ path: shown, pool: proposed, onMade, onClose }) {
  const [path, setPath] = useState(shown);
  const [pool, setPool] = useState(proposed);
  const follow = async (change) => {
    const made = await change("native/follow", { path, pool });
    done(`${pool} follows ${path} and has ${plural(made.hosts, "host")} now`, [made.change]);
    onMade();
  };
  return html`<${Dialog} title="Follow a pool of Afanasy" submit="Follow" onSubmit=${follow} onClose=${onClose}>
    <p class="hint">The new pool has the renders of Afanasy's and of those below it, and jobs move with it. Its hosts cannot be changed here
      until it is unfollowed.</p>
    <label>Afanasy's pool<input class="mono" value=${path} required maxlength=${limits.value.native_path} spellcheck=${false}
      onInput=${(event) => setPath(event.target.value)} /></label>
    <label>Name<input value=${pool} required maxlength=${limits.value.pool} autofocus spellcheck=${false} onInput=${(event) => setPool(event.target.value)} /></label>
  </${Dialog}>`;
}
