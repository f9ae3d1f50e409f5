// Which pools share hosts. Pure functions.

/** Hosts in an order that puts those with the same pools side by side; `first` is a pool whose hosts come first. */
export function grouped(hosts, order, first) {
  const rank = new Map(order.map((pool, at) => [pool.name, at]));
  const keyed = hosts.filter((host) => host.pools.length).map((host) => {
    const ranks = host.pools.map((name) => rank.get(name) ?? Infinity).sort((a, b) => a - b);
    return { host, ranks, front: first !== "" && host.pools.includes(first) ? 0 : 1 };
  });
  return keyed.sort((a, b) => a.front - b.front || compare(a.ranks, b.ranks)).map(({ host }) => host);
}

function compare(a, b) {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a[at] - b[at];
  }
  return b.length - a.length;
}

/** Pairs of pools that share hosts, those with the most first: [one, other, count]. `only`: only pairs with this pool. */
export function pairs(hosts, only, most = 200) {
  const counts = new Map();
  for (const { pools } of hosts) {
    if (only && !pools.includes(only)) continue;
    for (let one = 0; one < pools.length; one++) {
      for (let other = one + 1; other < pools.length; other++) {
        if (only && pools[one] !== only && pools[other] !== only) continue;
        const key = only ? (pools[one] === only ? pools[other] : pools[one]) : `${pools[one]}\n${pools[other]}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
  }
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, most)
    .map(([key, count]) => (only ? [only, key, count] : [...key.split("\n"), count]));
}
