// Writes package-lock.json with names, versions and hashes only: no download addresses, no addresses of sponsors.
import { execSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('package-lock.json', import.meta.url);
execSync('npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved', {
  cwd: new URL('.', import.meta.url),
  stdio: 'inherit',
});
const lock = JSON.parse(readFileSync(file, 'utf8'));
for (const entry of Object.values(lock.packages)) {
  delete entry.funding;
  delete entry.resolved;
}
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
