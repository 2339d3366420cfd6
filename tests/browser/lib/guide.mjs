// The files and commands of a Markdown guide, as a reader would take them from it.

/**
 * A file is a fenced block below its name in bold: **`src/main.rs`**. The commands are the lines of
 * blocks of `sh`, under the word that follows it (`sh page`), or the empty word.
 */
export function readGuide(markdown) {
  const files = new Map();
  const commands = new Map();
  const block = /(?:^\*\*`([^`]+)`\*\*\n\n)?^```(\w*)(?: (\w+))?\n([\s\S]*?)^```$/gm;
  for (const [, name, language, word = '', text] of markdown.matchAll(block)) {
    if (name) {
      if (files.has(name)) throw new Error(`the guide has ${name} twice`);
      files.set(name, text);
    } else if (language === 'sh') {
      commands.set(word, [...(commands.get(word) ?? []), ...text.trim().split('\n')]);
    }
  }
  return { files, commands };
}
