// Loaded on the scoreboard page, after tablesort: a click on a heading, or Enter, sorts the table by that column.

document.addEventListener("DOMContentLoaded", () => {
  // Below all numbers, so that claims without one stand together at an end.
  const NONE = -1000000;
  for (const table of document.querySelectorAll("table.seelike-scoreboard")) {
    const headings = [...table.tHead.rows[0].cells];
    // The last column is not sorted by numbers.
    for (const heading of headings.slice(0, -1)) heading.dataset.sortMethod = "number";
    [...table.tBodies[0].rows].forEach((row, position) => {
      // The first column goes by the order of the paper, those of profiles by the number that their text begins with.
      row.cells[0].dataset.sort = position;
      [...row.cells].slice(1, -1).forEach((cell, profile) => {
        const number = Number.parseFloat(cell.textContent.trim().replace("−", "-"));
        cell.dataset.sort = Number.isNaN(number) ? NONE : number;
        // On a phone, where the headings are not above the cells.
        cell.dataset.heading = headings[profile + 1].textContent.trim();
      });
    });
    new Tablesort(table);
  }
});
