import { fileURLToPath } from 'node:url';

/** The cases that come with the project. They are data: compiled tests run from dist/ and read them from test/. */
export const casesFolder = fileURLToPath(new URL('../../../test/golden/cases/', import.meta.url));
