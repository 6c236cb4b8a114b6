// Parts of a page that are fetched again (by htmx, on their `refresh`) while somebody looks.

/** Asks for a part now. */
export function refresh(part) {
  part?.dispatchEvent(new CustomEvent("refresh"));
}

/** Asks for a part every so many milliseconds; not while the page is hidden. */
export function keepLive(part, period) {
  setInterval(() => {
    if (!document.hidden) refresh(part);
  }, period);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh(part);
  });
}
