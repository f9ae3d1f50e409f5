// The secret that this tab shows to the Pool Manager. Imports nothing, so that it runs before anything else: the token
// is out of the address before a page is drawn.
//
// The secret is in the tab's session storage: it survives a reload, tabs that this one opens get a copy, and no other
// site or port can read it. No browser sends it by itself; api.js puts it into a header.

const ADDRESS = /^#token=([\w-]*)(\/.*)?$/;

/** The token in the address, which is taken out of it at once; null if there is none. */
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
