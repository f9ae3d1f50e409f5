// Which hosts match a typed filter. Pure functions.
//
// Words separated by spaces must all match; of words separated by commas, one must. A word with brackets is a range, as
// ClusterShell writes it, and must match the whole name: gpu-[1-8,12], pc-[01-40]. Any other word may be anywhere in
// name, address, engine or native pool.

const REGEX_SPECIAL = /[\\^$.*+?()[\]{}|]/g;

/** What a piece like `1-8` or `01-40` allows: [first, last, width], width 0 for numbers without leading zeros. */
function span(text) {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text.trim());
  if (!match) return null;
  const [, first, last = first] = match;
  return [Number(first), Number(last), first.length > 1 && first.startsWith("0") ? first.length : 0];
}

function rangeMatcher(word) {
  const spans = [];
  const parts = word.split(/\[([^\]]*)\]/);
  let pattern = "^";
  for (const [index, part] of parts.entries()) {
    if (index % 2 === 0) {
      pattern += part.replace(REGEX_SPECIAL, "\\$&");
      continue;
    }
    const allowed = part.split(",").map(span);
    if (allowed.includes(null)) return null;
    spans.push(allowed);
    pattern += "(\\d+)";
  }
  const regex = new RegExp(`${pattern}$`, "i");
  return (host) => {
    const digits = regex.exec(host.name)?.slice(1);
    return digits !== undefined && digits.every((text, at) => spans[at].some(([first, last, width]) => {
      const padded = text.length > 1 && text.startsWith("0");
      const value = Number(text);
      return value >= first && value <= last && (width ? text.length === Math.max(width, String(value).length) : !padded);
    }));
  };
}

function wordMatcher(word) {
  // An unfinished bracket counts as text.
  const range = word.includes("[") ? rangeMatcher(word) : null;
  if (range) return range;
  const wanted = word.toLowerCase();
  return (host) =>
    [host.name, host.address, host.engine, host.native].some((value) => value.toLowerCase().includes(wanted));
}

const outsideBrackets = (separator) => new RegExp(`${separator}+(?![^[]*\\])`);

/** A function that says whether a host matches the text. */
export function matcher(text) {
  const choices = text.split(outsideBrackets(",")).map((choice) =>
    choice.trim().split(outsideBrackets("\\s")).filter(Boolean).map(wordMatcher));
  const meant = choices.filter((words) => words.length);
  if (!meant.length) return () => true;
  return (host) => meant.some((words) => words.every((fits) => fits(host)));
}

/** Whether a host is in the filter's state. */
export function inState(host, state) {
  if (!state) return true;
  if (state === "online") return host.states.includes("online");
  if (state === "blocked") return ["nimby", "paused", "sick"].includes(host.state);
  return host.state === state;
}
