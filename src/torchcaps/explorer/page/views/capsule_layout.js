/** Where the input capsules lie: a small grid for each type, as large as the space allows. */

const GAP = 10; // between grids, in sixteenths of the page's letter size
const LABEL = 15; // above each grid
const EDGE = 3; // for the ring around a cell

/** Fit `types` grids of rows × columns cells into width × height; `unit` is 1 at 16-pixel letters. */
export function layOut(types, [rows, columns], width, height, unit) {
  const [label, edge] = [LABEL * unit, EDGE * unit];
  let best = null;
  for (let across = 1; across <= types; across++) {
    const down = Math.ceil(types / across);
    const gap = (across > 3 ? GAP * 0.6 : GAP) * unit;
    const cell = Math.min(
      (width - 2 * edge - gap * (across - 1)) / (across * columns),
      (height - edge - label * down - gap * (down - 1) * 0.4) / (down * rows),
    );
    if (best === null || cell > best.cell) best = { across, down, cell, gap };
  }
  const cell = Math.max(1, Math.floor(best.cell * 2) / 2);
  const [tileWidth, tileHeight] = [cell * columns, cell * rows];
  const pitch = label + tileHeight + best.gap * 0.4;
  const top = Math.max(0, (height - edge - best.down * pitch) / 2);
  return {
    cell,
    rows,
    columns,
    types,
    width: edge + best.across * tileWidth + (best.across - 1) * best.gap,
    height: best.down * pitch,
    unit,
    labels: tileWidth >= 24 * unit,
    /** The upper left corner of type t's grid. */
    tile(t) {
      return {
        x: edge + (t % best.across) * (tileWidth + best.gap),
        y: top + Math.floor(t / best.across) * pitch + label,
      };
    },
    /** The input capsule at a point, the nearest one within reach, or null. */
    at(x, y, reach = 6) {
      for (let t = 0; t < types; t++) {
        const tile = this.tile(t);
        const [dx, dy] = [x - tile.x, y - tile.y];
        if (dx < -reach || dy < -reach || dx > tileWidth + reach || dy > tileHeight + reach)
          continue;
        const column = Math.min(columns - 1, Math.max(0, Math.floor(dx / cell)));
        const row = Math.min(rows - 1, Math.max(0, Math.floor(dy / cell)));
        return (t * rows + row) * columns + column;
      }
      return null;
    },
    /** The capsule beside i in a direction, across grids too; i itself at the edge. */
    beside(i, dx, dy) {
      const { type, row, column } = placeOf(i, [rows, columns]);
      let x = (type % best.across) * columns + column + dx;
      let y = Math.floor(type / best.across) * rows + row + dy;
      x = Math.min(best.across * columns - 1, Math.max(0, x));
      y = Math.min(best.down * rows - 1, Math.max(0, y));
      const target = Math.floor(y / rows) * best.across + Math.floor(x / columns);
      if (target >= types) return i;
      return (target * rows + (y % rows)) * columns + (x % columns);
    },
  };
}

/** Type, row and column of input capsule i (counted from 0). */
export function placeOf(i, [rows, columns]) {
  return {
    type: Math.floor(i / (rows * columns)),
    row: Math.floor(i / columns) % rows,
    column: i % columns,
  };
}

/** "type 3, row 2, column 5" (counted from 1). */
export function nameOf(i, grid) {
  const { type, row, column } = placeOf(i, grid);
  return `type ${type + 1}, row ${row + 1}, column ${column + 1}`;
}
