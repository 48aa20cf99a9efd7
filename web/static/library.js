// Keeps the library page true while documents are being read, by fetching it
// again. Ends when nothing is left to read, and rests while nobody looks.

const REFRESH_MS = 3000;
let timer = 0;

const region = () => /** @type {HTMLElement} */ (document.querySelector("[data-live]"));

/** @param {string} html */
function renew(html) {
  const found = new DOMParser().parseFromString(html, "text/html").querySelector("[data-live]");
  const old = region();
  if (!found || old.isEqualNode(found)) return;
  const fresh = /** @type {HTMLElement} */ (document.importNode(found, true));
  // The link one stands on must not vanish.
  const held = old.contains(document.activeElement) && document.activeElement?.getAttribute("href");
  old.replaceWith(fresh);
  if (held) [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus({ preventScroll: true });
  const { summary = "" } = fresh.dataset;
  if (summary !== old.dataset.summary) document.querySelector("[data-live-status]")?.replaceChildren(summary);
}

async function refresh() {
  try {
    const page = await fetch(location.href, { cache: "no-store" });
    if (page.ok) renew(await page.text());
  } catch {
    // It may be restarting; the next round will tell.
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if ("busy" in region().dataset && document.visibilityState === "visible") timer = window.setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", schedule);
schedule();
