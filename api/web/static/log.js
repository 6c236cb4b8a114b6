// The end of a job's log. It is fetched again as the job goes on: a browser has six connections to a
// server for all of its tabs, too few for one that stays open for each log.

const LINES = 500;

/** Shows the newest lines of a log, the last of them at the bottom where that is wished. */
export async function showLog(place, follow) {
  if (!place) return;
  const answer = await fetch(`${place.dataset.log}?tail=${LINES}`).catch(() => null);
  const text = answer?.ok ? (await answer.text()) || "Nothing yet." : "The log can't be read now.";
  if (text !== place.textContent) place.textContent = text;
  if (follow.checked) place.scrollTop = place.scrollHeight;
}
