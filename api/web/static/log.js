// A job's log, as it grows.

const LINES = 500; // of what was written before
const MOST_CHARACTERS = 400_000; // kept of what comes

/** Shows a log and goes on showing what is added; scrolls with it where that is wished. */
export async function followLog(place, follow) {
  if (!place) return;
  const answer = await fetch(`${place.dataset.log}?tail=${LINES}&follow=true`);
  if (!answer.ok) {
    place.textContent = "The log can't be read now.";
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    place.append(value);
    if (place.textContent.length > MOST_CHARACTERS) {
      place.textContent = place.textContent.slice(-MOST_CHARACTERS / 2);
    }
    if (follow.checked) place.scrollTop = place.scrollHeight;
  }
}
