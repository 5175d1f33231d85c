// Exit code 0 when the document has no error and no warning for the AsyncAPI initiative's own parser.
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const findings = diagnostics.filter((finding) => finding.severity <= 1);
for (const finding of findings) {
  console.log(`${finding.code} ${finding.path.join('.')}: ${finding.message}`);
}
console.log(`AsyncAPI ${document ? document.version() : 'unreadable'}, ${findings.length} findings`);
process.exit(document && findings.length === 0 ? 0 : 1);
