/** Errors of the client, told apart by name: so only main.ts needs the package when it runs. */

import type { WebBftError } from 'webbft';
import type { ServiceError } from './service.ts';

/** Whether `error` is the client's. */
export function isClientError(error: unknown): error is WebBftError {
  return error instanceof Error && error.name === 'WebBftError';
}

/** Codes after which no call can succeed. */
const FATAL: ReadonlySet<string> = new Set([
  'CLOSED',
  'VIEW',
  'WASM_UNAVAILABLE',
  'WASM_LOAD',
  'WASM_CRASH',
]);

/** Whether `error` is the client's and later calls may succeed. */
export function isSurvivable(error: unknown): error is WebBftError {
  return isClientError(error) && !FATAL.has(error.code);
}

/** The error on which the replicas agreed as the service's answer, if `error` is one. */
export function serviceError(error: unknown): ServiceError | null {
  if (!isClientError(error) || error.code !== 'SERVICE') return null;
  const detail = error.detail as Partial<ServiceError> | null | undefined;
  if (typeof detail?.code !== 'string') return { code: 'malformed', message: error.message };
  return { code: detail.code, message: detail.message ?? detail.code };
}
