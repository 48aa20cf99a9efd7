// The front page's date and tonight's moon, by the browser's clock.

const PHASES = ["New moon", "Waxing crescent", "First quarter", "Waxing gibbous", "Full moon", "Waning gibbous", "Last quarter", "Waning crescent"];
const HALF_A_DAY = 6.1; // degrees

/**
 * The moon's elongation, 0 <= e < 360 degrees: 0 is new, 180 full. Meeus,
 * Astronomical Algorithms, 48.4; good to a degree.
 * @param {number} ms since 1970
 */
export function elongation(ms) {
  const centuries = (ms / 86_400_000 - 10_957.5) / 36_525;
  const sin = (/** @type {number} */ degrees) => Math.sin((degrees * Math.PI) / 180);
  const d = 297.8502 + 445_267.1114 * centuries;
  const sun = 357.5291 + 35_999.0503 * centuries;
  const moon = 134.9634 + 477_198.8675 * centuries;
  const e = d + 6.289 * sin(moon) - 2.1 * sin(sun) + 1.274 * sin(2 * d - moon) + 0.658 * sin(2 * d);
  return ((e % 360) + 360) % 360;
}

/** @param {number} e elongation; a quarter keeps its name for the day around it */
export function phase(e) {
  const quarter = Math.round(e / 90);
  return PHASES[Math.abs(e - quarter * 90) < HALF_A_DAY ? (quarter % 4) * 2 : Math.floor(e / 90) * 2 + 1];
}

/** @param {number} e elongation; north is up, the centre at (60, 60) */
export function litPath(e) {
  const limb = e < 180 ? 1 : 0;
  const cos = Math.cos((e * Math.PI) / 180);
  const width = (22.5 * Math.abs(cos)).toFixed(2);
  return `M60 37.5A22.5 22.5 0 0 ${limb} 60 82.5A${width} 22.5 0 0 ${cos < 0 ? limb : 1 - limb} 60 37.5Z`;
}

const now = new Date();
const e = elongation(now.getTime());
const date = now.toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
document.querySelector("[data-today]")?.replaceChildren(`${date}. ${phase(e)}.`);
document.querySelector("[data-moon]")?.setAttribute("d", litPath(e));
