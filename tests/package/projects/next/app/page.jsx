'use client';
// Rendered by the build too, where there is no page: a client may be created there, and no more.
import { useEffect } from 'react';
import { createClient } from 'webbft';
import { start } from '../../entries.js';

const idle = createClient({ view: () => Promise.reject(new Error('nobody connects')) });

export default function Page() {
  useEffect(start, []);
  return <p>{idle.status.phase}</p>;
}
