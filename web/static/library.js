// Keeps the library page true while documents are being read: fetches the same
// page and puts its live region in place of the old one. Ends when nothing is
// left to read, and rests while nobody looks.

const REFRESH_MS = 3000;
let timer = 0;

const region = () => /** @type {HTMLElement} */ (document.querySelector("[data-live]"));

/** @param {string} html */
function renew(html) {
  const found = new DOMParser().parseFromString(html, "text/html").querySelector("[data-live]");
  const old = region();
  if (!found || old.isEqualNode(found)) return;
  const fresh = /** @type {HTMLElement} */ (document.importNode(found, true));
  // The link the reader stands on must not vanish from under them.
  const held = old.contains(document.activeElement) && document.activeElement?.getAttribute("href");
  old.replaceWith(fresh);
  if (held) [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus({ preventScroll: true });
  if (fresh.dataset.summary !== old.dataset.summary) document.querySelector("[data-live-status]")?.replaceChildren(fresh.dataset.summary ?? "");
}

async function refresh() {
  try {
    const page = await fetch(location.href, { cache: "no-store" });
    if (page.ok) renew(await page.text());
  } catch {
    // The appliance may be restarting; the next round will tell.
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if ("busy" in region().dataset && document.visibilityState === "visible") timer = window.setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", schedule);
schedule();
