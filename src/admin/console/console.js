// Updates the remaining times every second. Without this script the page shows the times of its rendering.
"use strict";
{
  const text = (seconds) => {
    const two = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const made = performance.now();
  setInterval(() => {
    const passed = (performance.now() - made) / 1000;
    for (const it of document.querySelectorAll("[data-left]")) {
      it.textContent = text(Math.max(0, Math.floor(it.dataset.left - passed)));
    }
  }, 1000);
}
