import { start } from '../entries.js';

start();
