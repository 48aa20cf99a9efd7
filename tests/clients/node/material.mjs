// What every file of tests here begins with: the official client, unmodified, and what all clients ask.
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

export const { ALMANAC_BASE_URL: baseURL, ALMANAC_MODEL: model, ALMANAC_EMBEDDING: embedding } = process.env;
export const material = JSON.parse(readFileSync(process.env.ALMANAC_MATERIAL, 'utf8'));
export const client = new OpenAI({ baseURL, apiKey: 'none needed', maxRetries: 0 });
export const HELLO = [{ role: 'user', content: 'Say hello.' }];
export { OpenAI };
