"use strict";
// Tables of class "sortable": every heading with data-sort becomes a button that orders the rows by its column.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  for (const [column, heading] of headings.entries()) {
    if (!("sort" in heading.dataset)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    if (!heading.hasAttribute("aria-sort")) heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const first = heading.dataset.sort === "down" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", order);
      sort(table.tBodies[0], column, order === "ascending" ? 1 : -1);
    });
  }
}

function sort(body, column, direction) {
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is undefined stays last
    return direction * a.localeCompare(b, undefined, { numeric: false }) * (isNaN(a) || isNaN(b) ? 1 : 0)
      || direction * (a - b || 0);
  });
  body.append(...rows.map(([, row]) => row));
}

// A printed page has no lids to lift.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
