// Masks: a pool's mask in each style, what it does to today's farm, and a form to test any other mask.

import { html, useEffect, useMemo, useState } from "../html.js";
import { read, readLong } from "../api.js";
import { breakable, number, plural } from "../format.js";
import { loaded, nothing, poolByName, pools } from "../store.js";
import { Choice, Copy, Pending, Search, Swatch, VirtualList, useAnswer } from "../ui.js";

const STYLES = {
  complement: ["Complement", "Names the pool's own hosts, so it also keeps out hosts that register later. The plug-ins use it."],
  compact: ["Compact", "Names the hosts to keep out, shortened by their common beginnings."],
  list: ["List", "Names the hosts to keep out, one by one."],
};
const TYPE_WORDS = {
  any: "Both mask types read it alike",
  regex: "Needs hosts_mask_type regex",
  find: "Needs hosts_mask_type find",
};

export function MasksPage({ argument }) {
  const [text, setText] = useState("");
  const shown = pools.value.filter((pool) => pool.name.toLowerCase().includes(text.trim().toLowerCase()));
  const pool = poolByName.value.get(argument);
  return html`<section class="page split masks-page">
    <aside class="targets left" aria-label="Pools">
      <header><h2>Masks</h2><${Search} value=${text} onInput=${setText} label="Search pools" placeholder="Search" /></header>
      <${VirtualList} items=${shown} rowRem=${2.25} role="list" aria-label="Pools"
        empty=${pools.value.length ? "No pool matches the search." : nothing("There are no pools yet.")}
        row=${({ name, colour, hosts }, _index, style) => html`<a key=${name} href="#/masks/${encodeURIComponent(name)}" style=${style}
            class="row pick ${name === argument ? "selected" : ""}" aria-current=${name === argument ? "true" : undefined}>
          <${Swatch} colour=${colour} /><span class="cut" title=${name}>${name}</span><span class="muted count">${number(hosts)}</span></a>`} />
    </aside>
    <div class="reading">
      ${pool ? html`<${PoolMasks} pool=${pool} />` : html`<p class="muted">${argument && loaded.value
        ? `There is no pool ${argument}.` : "Choose a pool to see its masks."}</p>`}
      <${PatternBox} pool=${pool} />
    </div>
  </section>`;
}

function PoolMasks({ pool }) {
  // Masks depend on the pool and on the names on the farm, not on what its renders do.
  const { value, error } = useAnswer((signal) => read("masks", { pool: pool.name }, signal), `${pool.name} ${pool.revision}`, 30);
  return html`<div class="stack">
    <h2><${Swatch} colour=${pool.colour} /> ${pool.name} <small>${plural(pool.hosts, "host")}</small></h2>
    <${Pending} value=${value} error=${error}>Loading the masks of ${pool.name}…</${Pending}>
    ${value?.masks.map((mask) => html`<${MaskCard} key=${mask.asked} mask=${mask} pool=${pool.name} />`)}
  </div>`;
}

function MaskCard({ mask, pool }) {
  const [title, about] = STYLES[mask.asked];
  if (mask.error) {
    return html`<article class="card"><h3>${title}</h3><p class="muted">${about}</p><p class="error">${mask.error}</p></article>`;
  }
  const given = mask.mask_type === "any" ? "find" : mask.mask_type;
  const reading = mask.readings[given];
  return html`<article class="card" data-style=${mask.asked}>
    <header><h3>${title}</h3><span class="tag">${TYPE_WORDS[mask.mask_type]}</span>
      <span class="tag ${mask.covers_future_hosts ? "good" : ""}">Hosts that register later: ${mask.covers_future_hosts ? "kept out" : "not kept out"}</span></header>
    <p class="muted">${about}</p>
    ${mask.why && html`<p class="hint">${mask.why} This is ${STYLES[mask.style][0].toLowerCase()}.</p>`}
    <div class="mask">
      <code>${mask.mask || "(empty: every known host is in the pool)"}</code>
      <div class="buttons"><${Copy} text=${mask.mask} label="Copy the ${title.toLowerCase()} mask of ${pool}" />
        <small class="muted">${plural(mask.mask.length, "character")}</small></div>
    </div>
    <dl class="facts">
      <${Counted} word="Runs on" names=${reading.runs} /><${Counted} word="Kept out" names=${reading.kept_out} />
      ${Object.entries(mask.readings).map(([dialect, { right, wrong }]) => html`<dt key=${dialect}>Read as ${dialect}</dt>
        <dd class=${right ? "good" : "bad"}>${right === null ? "unknown effect"
          : right ? `right on all ${plural(mask.known_hosts, "host")}` : `wrong on ${plural(wrong.count, "host")}: set ${mask.mask_type}`}</dd>`)}
    </dl>
  </article>`;
}

/** How many hosts, and which. */
function Counted({ word, names: { count, ranges } }) {
  return html`<dt>${word}</dt><dd class="counted"><b>${number(count)}</b><span class="mono clamp" title=${breakable(ranges)}>${breakable(ranges)}</span></dd>`;
}

function PatternBox({ pool }) {
  const [pattern, setPattern] = useState("");
  const [dialect, setDialect] = useState("find");
  const [against, setAgainst] = useState(true);
  const [settled, setSettled] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setSettled(pattern), 200);
    return () => clearTimeout(timer);
  }, [pattern]);
  const name = against ? pool?.name ?? null : null;
  const key = useMemo(() => JSON.stringify([settled, dialect, name]), [settled, dialect, name]);
  const { value, error } = useAnswer(
    (signal) => (settled ? readLong("pattern", { pattern: settled, dialect, pool: name }, signal) : Promise.resolve(null)), key);
  return html`<article class="card" aria-label="Test a mask">
    <header><h3>Test a mask</h3></header>
    <p class="muted">What any exclude mask would do on today's farm, read as afserver reads it.</p>
    <textarea class="mono" rows="2" aria-label="Exclude mask" spellcheck=${false} value=${pattern}
      placeholder="pc-02|pc-04|pc-05" onInput=${(event) => setPattern(event.target.value)}></textarea>
    <div class="filters flat">
      <${Choice} label="Mask type" options=${[["find", "find"], ["regex", "regex"]]} value=${dialect} onChange=${setDialect} />
      ${pool && html`<label class="check"><input type="checkbox" checked=${against} onChange=${(event) => setAgainst(event.target.checked)} />
        meant for ${pool.name}</label>`}
    </div>
    ${settled && html`<${Pending} value=${value} error=${error}>Testing the mask…</${Pending}>`}
    ${value && html`<div aria-live="polite" class="stack tight">
      ${value.warnings.map((warning) => html`<p key=${warning} class="warning">${warning}</p>`)}
      ${!value.warnings.length && html`<p class="good">No problems found.</p>`}
      ${value.runs && html`<dl class="facts">
        <${Counted} word="Runs on" names=${value.runs} /><${Counted} word="Kept out" names=${value.kept_out} />
      </dl>`}
    </div>`}
  </article>`;
}
