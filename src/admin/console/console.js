// Counts down the remaining times on the page, every second. Without this script, the times stay as the server sent
// them.
"use strict";
{
  const formatTime = (seconds) => {
    const twoDigits = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h ? `${h}:${twoDigits(m)}:${twoDigits(s)}` : `${m}:${twoDigits(s)}`;
  };
  const loadedAt = performance.now();
  setInterval(() => {
    const elapsed = (performance.now() - loadedAt) / 1000;
    for (const cell of document.querySelectorAll("[data-left]")) {
      cell.textContent = formatTime(Math.max(0, Math.floor(cell.dataset.left - elapsed)));
    }
  }, 1000);
}
