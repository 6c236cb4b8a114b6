// The list of jobs: looked at again every two seconds, and filtered as soon as a choice is made.
import { keepLive } from "/static/live.js";

keepLive(document.getElementById("rows"), 2000);

const filters = document.getElementById("filters");
filters.addEventListener("change", () => filters.requestSubmit());
