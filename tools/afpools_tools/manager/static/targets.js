// Pools beside a list: rows can be dragged from the list and dropped on them.

import { html, useState } from "./html.js";
import { nothing, pools, whyFixed } from "./store.js";
import { Swatch, VirtualList } from "./ui.js";

// The rows that are being dragged: a browser tells the target only when they are dropped.
let dragged = [];

/** Call this when rows start to be dragged. `names`: the rows' names, for `onDrop`. */
export function startDrag(event, names) {
  event.dataTransfer.setData("text/plain", names.join(" "));
  event.dataTransfer.effectAllowed = "copyMove";
  dragged = names;
}

export const endDrag = () => (dragged = []);

/** The pools as targets. `parts`: what stands behind a pool's name; `onDrop` gets the pool's name and what was dropped;
 * `takesHosts`: that is hosts, which not every pool takes. */
export function Targets({ label, parts, onDrop, takesHosts = false }) {
  const [text, setText] = useState("");
  const [over, setOver] = useState("");
  const shown = pools.value.filter((pool) => pool.name.toLowerCase().includes(text.trim().toLowerCase()));
  const drop = (event, pool) => {
    event.preventDefault();
    setOver("");
    if (dragged.length) onDrop(pool, dragged);
    endDrag();
  };
  // Jobs can be dropped on a pool that follows one of Afanasy's, hosts cannot.
  const takes = (pool) => dragged.length > 0 && !(takesHosts && whyFixed(pool));
  return html`<aside class="targets" aria-label="Pools">
    <header><h2>Pools</h2>
      <input type="search" value=${text} aria-label="Search pools" placeholder="Search" spellcheck=${false}
        onInput=${(event) => setText(event.target.value)} /></header>
    <${VirtualList} items=${shown} rowRem=${2.25} role="list" aria-label=${label}
      empty=${pools.value.length ? "No pool matches the search." : nothing("There are no pools yet.")}
      row=${(pool, _index, style) => html`<div key=${pool.name} role="listitem" style=${style}
          class="row target ${over === pool.name ? "over" : ""}"
          onDragOver=${(event) => { if (takes(pool)) { event.preventDefault(); setOver(pool.name); } }}
          onDragLeave=${() => setOver("")} onDrop=${(event) => drop(event, pool.name)}>
        <${Swatch} colour=${pool.colour} /><span class="cut" title=${pool.name}>${pool.name}</span>
        ${parts(pool)}
      </div>`} />
  </aside>`;
}
