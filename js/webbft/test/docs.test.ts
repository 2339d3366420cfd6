// The package's documentation says what the code says.
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { type Code, WebBftError } from '../src/index.js';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(PACKAGE, path), 'utf8');
const readme = read('README.md');

/** The declaration of a type or interface in a source file. */
function declaration<T extends ts.Node>(
  path: string,
  name: string,
  is: (node: ts.Node) => node is T,
) {
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);
  const found = source.statements.find(
    (node) => is(node) && 'name' in node && (node.name as ts.Identifier).text === name,
  );
  if (!found) throw new Error(`${path} declares no ${name}`);
  return found as unknown as T;
}

function codes(): Code[] {
  const { type } = declaration('src/errors.ts', 'Code', ts.isTypeAliasDeclaration);
  if (!ts.isUnionTypeNode(type)) throw new Error('Code is no union');
  return type.types.map((member) => member.getText().slice(1, -1) as Code);
}

/** The names in the first column of the README's table below a heading. */
function table(heading: string): string[] {
  const section = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| \[?`([^`]+)`/gm)].map(([, name]) => name as string);
}

describe('every error code', () => {
  it('has a page, and every page is of a code', () => {
    const pages = readdirSync(join(PACKAGE, 'docs/errors')).map((file) => basename(file, '.md'));
    expect(pages.sort()).toEqual(codes().sort());
  });

  it('is in the README’s table', () => {
    expect(table('Errors').sort()).toEqual(codes().sort());
  });

  it.each(codes())('%s names its page, which has every part', (code) => {
    const { docs } = new WebBftError(code, 'message');
    expect(docs).toBe(`webbft/docs/errors/${code}.md`);
    const path = docs.slice('webbft/'.length);
    expect(existsSync(join(PACKAGE, path))).toBe(true);
    const page = read(path);
    expect(page.startsWith(`# ${code}\n\n`)).toBe(true);
    for (const part of [
      '\n**Who is to blame:** ',
      '\n**Outcome:** ',
      '\n## What to do\n',
      '\n## Example\n',
    ]) {
      expect(page).toContain(part);
    }
  });
});

describe('the README', () => {
  it('has every option, and no other', () => {
    const { members } = declaration('src/types.ts', 'Options', ts.isInterfaceDeclaration);
    const options = members.map((member) => (member.name as ts.Identifier).text);
    expect(table('Options').sort()).toEqual(options.sort());
  });
});

/** The anchors that GitHub gives the headings of a Markdown file. */
function anchors(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

it('every link in the documentation leads somewhere', () => {
  const root = join(PACKAGE, '../..');
  const folders = ['.', 'docs', 'docs/guides', 'examples', 'js/webbft', 'js/webbft/docs/errors'];
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(root, folder, name)),
  );
  const broken: string[] = [];
  let links = 0;
  for (const file of files) {
    const text = readFileSync(file, 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
    for (const [, path, anchor] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)/g)) {
      links += 1;
      const target = path ? join(dirname(file), path) : file;
      const leads =
        existsSync(target) && (!anchor || anchors(readFileSync(target, 'utf8')).includes(anchor));
      if (!leads) broken.push(`${relative(root, file)}: ${path}${anchor ? `#${anchor}` : ''}`);
    }
  }
  expect(broken).toEqual([]);
  expect(links).toBeGreaterThan(60);
});

it('the guide to React type-checks', { timeout: 60_000 }, () => {
  const guide = read('../../docs/guides/react.md');
  const files = [...guide.matchAll(/^\*\*`([^`]+)`\*\*\n\n```\w+\n([\s\S]*?)^```$/gm)];
  expect(files.map(([, name]) => name)).toEqual(['webbft-hooks.ts', 'tally.tsx']);
  // Inside the workspace, so that its packages are found.
  const folder = mkdtempSync(join(PACKAGE, '../node_modules/.docs-'));
  try {
    for (const [, name, text] of files) writeFileSync(join(folder, name as string), text as string);
    copyFileSync(join(PACKAGE, '../../examples/typescript/counter.ts'), join(folder, 'counter.ts'));
    const program = ts.createProgram([join(folder, 'tally.tsx')], {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      exactOptionalPropertyTypes: true,
      jsx: ts.JsxEmit.ReactJSX,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.esnext.disposable.d.ts'],
      types: [],
      paths: { webbft: [join(PACKAGE, 'src/index.ts')] },
    });
    const found = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
      return `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    expect(found).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
