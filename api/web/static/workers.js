// Who is doing what, looked at again every two seconds.
import { keepLive } from "/static/live.js";

keepLive(document.getElementById("rows"), 2000);
