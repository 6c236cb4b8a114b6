// Tables that are sorted by pressing the head of a column, and stay so when they are fetched again.

const NUMBER = /^[+-]?[\d,.]+(e[+-]?\d+)?/i;

/** Makes the table in an element sortable; what htmx puts in its place is sorted the same way. */
export function keepSortable(place) {
  const order = { column: null, isFalling: true };
  const renew = () => {
    const table = place.querySelector("[data-sortable]");
    if (!table) return;
    addButtons(table, order);
    if (order.column !== null) sort(table, order);
  };
  place.addEventListener("htmx:after:swap", renew);
  renew();
}

function addButtons(table, order) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent.trim();
    if (head.querySelector("button, .unseen") || text === "More") return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorter";
    button.textContent = text;
    button.addEventListener("click", () => {
      order.isFalling = order.column === column ? !order.isFalling : true;
      order.column = column;
      sort(table, order);
    });
    head.replaceChildren(button);
  });
}

function sort(table, { column, isFalling }) {
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((row) => !row.classList.contains("detail"));
  const details = new Map(rows.map((row) => [row, row.nextElementSibling]));
  const keys = new Map(rows.map((row) => [row, readKey(row.cells[column])]));
  rows.sort((a, b) => compare(keys.get(a), keys.get(b), isFalling));
  for (const row of rows) {
    body.append(row);
    const detail = details.get(row);
    if (detail?.classList.contains("detail")) body.append(detail);
  }
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", isFalling ? "descending" : "ascending");
}

/** A cell's number, or its text; null for a dash, which stands last either way. */
function readKey(cell) {
  const text = cell?.textContent.trim() ?? "";
  if (text === "" || text === "\u2013") return null;
  const number = text.match(NUMBER);
  return number ? Number.parseFloat(number[0].replaceAll(",", "")) : text;
}

function compare(a, b, isFalling) {
  if (a === null || b === null) return (a === null) - (b === null);
  const isText = typeof a === "string" || typeof b === "string";
  const order = isText ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;
  return isFalling ? -order : order;
}
