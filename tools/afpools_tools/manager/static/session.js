// The secret that this tab sends to the Pool Manager. Imports nothing, so that it runs before everything else: the
// token is removed from the address before a page is drawn.
//
// The secret is in the tab's session storage: it survives a reload, tabs that this one opens get a copy, and no other
// site or port can read it. No browser sends it by itself; api.js puts it into a header.

const ADDRESS = /^#token=([\w-]*)(\/.*)?$/;

/** Removes the token from the address and returns it; null if there is none. */
export function takeToken() {
  const [found, token, page = ""] = ADDRESS.exec(location.hash) ?? [];
  if (found === undefined) return null;
  history.replaceState(null, "", `/${page && `#${page}`}`);
  return token;
}

export const firstToken = takeToken();

export const secret = () => sessionStorage.getItem("secret");
export const keepSecret = (value) => sessionStorage.setItem("secret", value);
export const forgetSecret = () => sessionStorage.removeItem("secret");
