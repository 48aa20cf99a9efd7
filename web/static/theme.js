// Day or night. Loaded in the head, before any style, so that a page chosen
// dark never flashes white. Choosing what the system wants forgets the choice.
(() => {
  const KEY = "almanac-theme";
  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (night.matches ? "dark" : "light")) === "dark";

  /** @param {string | null} theme */
  function show(theme) {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
    label();
  }

  function label() {
    const button = /** @type {HTMLElement | null} */ (document.querySelector("[data-theme-button]"));
    if (!button) return;
    button.hidden = false;
    button.lastElementChild?.replaceChildren(isDark() ? "Day" : "Night");
  }

  function toggle() {
    const isNight = !isDark();
    const theme = isNight === night.matches ? null : isNight ? "dark" : "light";
    show(theme);
    if (theme) localStorage.setItem(KEY, theme);
    else localStorage.removeItem(KEY);
  }

  night.addEventListener("change", label);
  document.addEventListener("DOMContentLoaded", () => {
    label();
    document.querySelector("[data-theme-button]")?.addEventListener("click", toggle);
  });
  show(localStorage.getItem(KEY)); // Last: it throws where storage is switched off.
})();
