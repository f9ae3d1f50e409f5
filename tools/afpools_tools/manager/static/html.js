// The front end's libraries in one place: components with preact, markup with htm (no build step), state in signals.
// Text goes into the page as text nodes and attributes, never as markup: a host named <img ...> is just a host.

import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { render } from "./vendor/preact.js";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
export { batch, computed, effect, signal, useComputed, useSignal } from "./vendor/signals.js";
