// Words, numbers and names. Pure functions.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** pc-2 before pc-10. */
export const byName = (a, b) => collator.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);

export const number = (value) => value.toLocaleString("en");

export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** A time span in words. */
export function duration(seconds) {
  for (const [name, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= 2 * length) return `${Math.round(seconds / length)} ${name}s`;
  }
  return `${Math.round(seconds)} s`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

export const time = (when) => clock.format(new Date(when));
export const date = (when) => day.format(new Date(when));

/** Folded names with places where a line may break: between names, never inside brackets, so that text copied from
 * the page is a range that can be typed in again. */
export const breakable = (ranges) => ranges.replaceAll(/,(?![^[]*\])/g, ", ");

export const STATES = {
  free: "Free",
  busy: "Busy",
  nimby: "Nimby",
  paused: "Paused",
  sick: "Sick",
  offline: "Offline",
  unknown: "Not on the farm",
};

/** `absent`: it is known that the host is not a render. */
export function stateWord(host, absent = false) {
  if (host.state !== "unknown") return STATES[host.state];
  if (host.registered) return "Registered";
  return absent ? "Not on the farm" : "Only in pools";
}
