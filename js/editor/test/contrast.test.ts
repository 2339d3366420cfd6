import { describe, expect, test } from 'vitest';
import { contrast } from '../src/contrast.ts';

describe('contrast', () => {
  test('is nothing for equal texts', () => {
    expect(contrast('same', 'same')).toBeNull();
  });

  test('shows a little before the difference, and what follows in both', () => {
    const before = 'a long beginning that both texts share: ';
    expect(contrast(`${before}right\nand more`, `${before}wrong`)).toEqual({
      before: '…exts share: ',
      voted: 'right and more',
      claimed: 'wrong',
    });
    expect(contrast('abc', 'abcdef')).toEqual({ before: 'abc', voted: '', claimed: 'def' });
  });

  test('cuts long texts, and never inside a character', () => {
    const faces = '😀'.repeat(100);
    const shown = contrast(`${faces}`, `${faces.slice(0, 100)}😁${faces.slice(102)}`);
    expect(shown).toEqual({
      before: `…${'😀'.repeat(6)}`,
      voted: `${'😀'.repeat(30)}…`,
      claimed: `😁${'😀'.repeat(29)}…`,
    });
  });
});
