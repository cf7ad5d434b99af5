/** Suggestions for misspelt names. */

/** Insertions, deletions and replacements of one character that turn `a` into `b` (Levenshtein distance). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] as number) + 1, (current[column - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}

/** The known name closest to a misspelt one; `undefined` if even that needs more than `share` of its letters changed. */
export function nearestName(name: string, known: Iterable<string>, share = 1 / 2): string | undefined {
  let nearest: string | undefined;
  let smallest = name.length * share;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance <= smallest && (nearest === undefined || distance < smallest)) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}
