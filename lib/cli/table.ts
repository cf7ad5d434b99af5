/** Tables and paragraphs that fit a terminal. */
import Table from 'cli-table3';

/**
 * A table without lines, so that it is narrow; numbers are aligned right. On a narrower terminal, long names in the first column continue
 * on a second line, broken at their first space or, if they have none, anywhere.
 */
export function table(head: readonly string[], rows: readonly (readonly string[])[], columns: number): string {
  const width = (column: number) =>
    Math.max(...[head, ...rows].flatMap((row) => (row[column] ?? '').split('\n').map(({ length }) => length)));
  const gap = 2;
  const others = head.slice(1).reduce((sum, _, index) => sum + gap + width(index + 1), 0);
  const first = Math.max(12, Math.min(width(0), columns - others));
  const folded = rows.map(([name = '', ...cells]) => [name.length > first ? name.replace(' ', '\n') : name, ...cells]);
  const edges = ['top', 'bottom'].flatMap((edge) => [edge, `${edge}-mid`, `${edge}-left`, `${edge}-right`]);
  const lines = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  const drawn = new Table({
    head: [...head],
    chars: { ...Object.fromEntries([...edges, ...lines].map((name) => [name, ''])), middle: ' '.repeat(gap) },
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, column) => (column === 0 ? 'left' : 'right')),
    colWidths: [first],
    wordWrap: true,
    wrapOnWordBoundary: false,
  });
  drawn.push(...folded);
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/**
 * A table with lines between the cells, for columns of words.
 * @param numbers columns whose cells are aligned right
 * @param widths columns whose text is wrapped
 */
export function ruledTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  numbers: readonly number[] = [],
  widths: Readonly<Record<number, number>> = {},
): string {
  const drawn = new Table({
    head: [...head],
    // No colours: they would remain in a file.
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, column) => (numbers.includes(column) ? 'right' : 'left')),
    colWidths: head.map((_, column) => widths[column] ?? null),
    wordWrap: true,
  });
  drawn.push(...rows.map((row) => [...row]));
  return drawn.toString();
}

/** A paragraph in lines of at most `columns`. */
export function wrapped(paragraph: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of paragraph.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}
