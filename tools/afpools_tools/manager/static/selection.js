// Selecting rows, as in a file manager.

import { useMemo, useRef, useState } from "./html.js";

/** Which of the shown rows are selected, and how mouse and keyboard change that. `known`: a signal with every existing row,
 * by the name from `nameOf`. Cursor and anchor are names, because rows come and go with the farm. */
export function useSelection(shown, known, nameOf = (row) => row.name) {
  const [selected, setSelected] = useState(() => new Set());
  const [current, setCurrent] = useState("");
  const anchor = useRef("");
  const index = useMemo(() => new Map(shown.map((row, at) => [nameOf(row), at])), [shown]);
  const at = (name) => index.get(name) ?? -1;
  const cursor = at(current);
  const names = useMemo(() => [...selected].filter((name) => known.value.has(name)), [selected, known.value]);
  const between = (a, b) => shown.slice(Math.min(a, b), Math.max(a, b) + 1).map(nameOf);

  const only = (to) => {
    anchor.current = nameOf(shown[to]);
    setCurrent(nameOf(shown[to]));
    setSelected(new Set([nameOf(shown[to])]));
  };
  const toggle = (to) => {
    const next = new Set(selected);
    const name = nameOf(shown[to]);
    if (!next.delete(name)) next.add(name);
    anchor.current = name;
    setCurrent(name);
    setSelected(next);
  };
  const extend = (to, keep) => {
    if (at(anchor.current) < 0) anchor.current = nameOf(shown[Math.max(0, cursor)]);
    setCurrent(nameOf(shown[to]));
    setSelected(new Set([...(keep ? selected : []), ...between(at(anchor.current), to)]));
  };
  const clear = () => setSelected(new Set());

  const onClick = (event, to) => {
    if (event.shiftKey) extend(to, event.ctrlKey || event.metaKey);
    else if (event.ctrlKey || event.metaKey) toggle(to);
    else only(to);
  };
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity }[event.key];
    const command = event.ctrlKey || event.metaKey;
    if (!shown.length) return;
    if (step !== undefined) {
      const to = Math.max(0, Math.min(shown.length - 1, cursor + step));
      if (event.shiftKey) extend(to, command);
      else if (command) setCurrent(nameOf(shown[to]));
      else only(to);
    } else if (event.key === " ") {
      if (cursor >= 0) toggle(cursor);
    } else if (event.key.toLowerCase() === "a" && command) {
      setSelected(new Set(shown.map(nameOf)));
    } else if (event.key === "Escape") {
      clear();
    } else {
      return;
    }
    event.preventDefault();
  };
  return { names, cursor, has: (name) => selected.has(name), only, clear, onClick, onKeyDown };
}
