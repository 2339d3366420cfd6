// Requests, results and events of real operations, written by a test in Rust.
import type { Counter } from './counter.ts';
import type { Editor } from './editor.ts';
import type { Kv } from './kv.ts';

export const samples = [
  {"by":9007199254740991} satisfies Counter['ops']['add']['req'],
  {"value":9007199254740991} satisfies Counter['ops']['add']['res'],
  {"value":9007199254740991} satisfies Counter['events']['counter'],
  {} satisfies Counter['ops']['get']['req'],
  {"value":9007199254740991} satisfies Counter['ops']['get']['res'],
  {"key":"a","value":"1"} satisfies Kv['ops']['put']['req'],
  {"previous":null} satisfies Kv['ops']['put']['res'],
  {"key":"a","value":"1"} satisfies Kv['events']['kv'],
  {"key":"a","value":"2"} satisfies Kv['ops']['put']['req'],
  {"previous":"1"} satisfies Kv['ops']['put']['res'],
  {"key":"a","value":"2"} satisfies Kv['events']['kv'],
  {"key":"b","expect":null,"value":"1"} satisfies Kv['ops']['cas']['req'],
  {"swapped":true,"value":"1"} satisfies Kv['ops']['cas']['res'],
  {"key":"b","value":"1"} satisfies Kv['events']['kv'],
  {"key":"b","expect":"0","value":"1"} satisfies Kv['ops']['cas']['req'],
  {"swapped":false,"value":"1"} satisfies Kv['ops']['cas']['res'],
  {"prefix":""} satisfies Kv['ops']['list']['req'],
  {"entries":[{"key":"a","value":"2"},{"key":"b","value":"1"}],"more":false} satisfies Kv['ops']['list']['res'],
  {"prefix":"","limit":1,"after":null} satisfies Kv['ops']['list']['req'],
  {"entries":[{"key":"a","value":"2"}],"more":true} satisfies Kv['ops']['list']['res'],
  {"key":"a"} satisfies Kv['ops']['delete']['req'],
  {"previous":"2"} satisfies Kv['ops']['delete']['res'],
  {"key":"a","value":null} satisfies Kv['events']['kv'],
  {"key":"a"} satisfies Kv['ops']['get']['req'],
  {"value":null} satisfies Kv['ops']['get']['res'],
  {"doc":"notes","base":0,"tag":"x1","spans":[{"from":0,"to":0,"insert":"hi"}]} satisfies Editor['ops']['edit']['req'],
  {"version":1} satisfies Editor['ops']['edit']['res'],
  {"version":1,"author":"07070707070707070707070707070707","tag":"x1","time":1822000,"spans":[{"from":0,"to":0,"insert":"hi"}]} satisfies Editor['events']['doc/notes'],
  {"doc":"notes"} satisfies Editor['ops']['read']['req'],
  {"version":1,"text":"hi"} satisfies Editor['ops']['read']['res'],
];
