// Loaded on the scoreboard page, after tablesort: a click on a heading, or Enter, sorts the table by that column.

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.seelike-scoreboard")) {
    const [claim, here] = table.tHead.rows[0].cells;
    claim.dataset.sortMethod = here.dataset.sortMethod = "number";
    [...table.tBodies[0].rows].forEach((row, position) => {
      // The first column goes by the order of the paper, the second by the number that its text begins with.
      row.cells[0].dataset.sort = position;
      row.cells[1].dataset.sort = Number.parseFloat(row.cells[1].textContent.trim().replace("−", "-")) || 0;
    });
    new Tablesort(table);
  }
});
