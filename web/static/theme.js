// Day or night. Loaded before any style: a page chosen dark never flashes white.
// To choose what the system wants is to forget the choice.
(() => {
  const KEY = "almanac-theme";
  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (night.matches ? "dark" : "light")) === "dark";

  /** @param {string | null} theme */
  function show(theme) {
    root.dataset.theme = theme ?? "";
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
    const theme = isNight === night.matches ? "" : isNight ? "dark" : "light";
    show(theme);
    localStorage.setItem(KEY, theme);
  }

  night.addEventListener("change", label);
  document.addEventListener("DOMContentLoaded", () => {
    label();
    document.querySelector("[data-theme-button]")?.addEventListener("click", toggle);
  });
  show(localStorage.getItem(KEY)); // Last: it throws where storage is switched off.
})();
