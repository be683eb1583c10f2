// The bookkeeping of eng/test. It reads what xunit and the steps have left, and holds these rules:
//   - a test that failed and passes when it is run once more, alone, counts as passed and is listed as flaky;
//   - more than three flaky tests fail the run: then it is not chance, and nobody reads such a list;
//   - a step that failed counts as a failure, a step of chaos that held as a test that passed.
// The last line says "N passed, N failed", and the exit code is 0 only when none failed.
//
//   node eng/test-report.mjs methods FIRST.xml                    what to run once more, one method a line; nothing when too much failed
//   node eng/test-report.mjs close STEPS [FIRST.xml [AGAIN.xml]]  the tables and the closing line
//
// STEPS has a line a step: its name, its seconds and its end, with tabs in between. Ends: ok, failed, passed (ok, and counts as a
// test), reported (the reports say what failed).
import { existsSync, readFileSync } from 'node:fs';

const MaxFlaky = 3;
const MaxFailuresToRepeat = 20; // past that it is no chance, and once more would only take as long again
const Slowest = 20;

const { bold = '', red = '', green = '', dim = '', plain = '' } = process.env; // colours, as eng/prerequisites.sh has chosen them
const [command, ...files] = process.argv.slice(2);

if (command === 'methods') {
  const failed = readReport(files[0]).tests.filter(test => test.result === 'Fail');
  const methods = new Set(failed.map(test => test.method));
  if (failed.length <= MaxFailuresToRepeat) for (const method of methods) console.log(method);
} else if (command === 'close') {
  process.exitCode = close(readSteps(files[0]), readReport(files[1]), readReport(files[2]));
} else {
  console.error('Usage: test-report.mjs methods FIRST.xml | close STEPS [FIRST.xml [AGAIN.xml]]');
  process.exitCode = 2;
}

function close(steps, first, again) {
  const { failed, flaky, passed, skipped } = judge(first.tests, again.tests);
  const failures = [
    ...steps.filter(step => step.end === 'failed').map(step => step.name),
    ...failed.map(test => test.name),
    ...[...first.errors, ...again.errors],
  ];
  if (flaky.length > MaxFlaky) failures.push(`${flaky.length} flaky tests; at most ${MaxFlaky} are borne`);
  const passedInAll = passed + steps.filter(step => step.end === 'passed').length;

  const slowest = first.tests.filter(test => test.seconds > 0).sort((a, b) => b.seconds - a.seconds).slice(0, Slowest);
  table('Slowest tests', slowest.map(test => row(test.seconds.toFixed(1), oneLine(test.name))));
  table('Steps', steps.map(step => row(step.seconds, step.end === 'ok' || step.end === 'passed' ? step.name
    : `${red}${step.name}: ${step.end === 'reported' ? 'some failed' : 'failed'}${plain}`)));
  table('Flaky: failed, and passed alone', flaky.flatMap(test => [oneLine(test.name),
    ...test.message.split('\n').slice(0, 10).map(line => `   ${dim}${line}${plain}`)]));
  table(`${red}What failed`, failures.map(oneLine));
  if (first.exists && first.tests.length === 0) console.log(`${red}No test was run.${plain}`);

  const isGood = failures.length === 0 && passedInAll > 0;
  console.log(`${bold}${isGood ? green : red}${passedInAll} passed, ${failures.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}${plain}`);
  return isGood ? 0 : 1;
}

// A theory's method is run again as a whole, and each row is judged by its display name. Long arguments are cut in it, so rows may share
// one: then all of them have to pass.
function judge(first, again) {
  const secondTime = new Map();
  for (const test of again) {
    const key = keyOf(test);
    secondTime.set(key, [...(secondTime.get(key) ?? []), test]);
  }

  const [failed, flaky] = [[], []];
  let [passed, skipped] = [0, 0];
  for (const test of first) {
    const later = secondTime.get(keyOf(test)) ?? [];
    if (test.result === 'Pass') {
      passed++;
      const failure = later.find(other => other.result === 'Fail');
      // A row that passed among the others and fails beside the one that is repeated. Of rows that share a name it may be another's failure.
      if (failure && !first.some(other => other.result === 'Fail' && keyOf(other) === keyOf(test))) flaky.push({ ...test, message: failure.message });
    } else if (test.result === 'Fail') {
      if (later.length > 0 && later.every(other => other.result === 'Pass')) {
        passed++;
        flaky.push(test);
      } else {
        failed.push(test);
      }
    } else if (test.result === 'Skip') {
      skipped++;
    }
  }

  return { failed, flaky, passed, skipped };
}

function keyOf(test) {
  return `${test.method}\n${test.name}`;
}

function readSteps(file) {
  return readFileSync(file, 'utf8').split('\n').filter(line => line !== '').map(line => {
    const [name, seconds, end] = line.split('\t');
    return { name, seconds, end };
  });
}

// A report of xunit, version 2 and later. One that is missing or empty says nothing: whoever wanted it says so in STEPS.
function readReport(file) {
  if (!file || !existsSync(file)) return { exists: false, tests: [], errors: [] };
  const xml = readFileSync(file, 'utf8').replace(/<!\[CDATA\[([\s\S]*?)\]\]>/g, (_, text) => escape(text)); // then every < is a tag's
  const tests = [...elements(xml, 'test')].map(({ attributes, content }) => ({
    name: attributes.name,
    method: `${attributes.type}.${attributes.method}`,
    result: attributes.result,
    seconds: Number(attributes.time ?? 0),
    message: messageIn(content),
  }));
  const errors = [...elements(xml, 'error')].map(({ attributes, content }) => `${attributes.type} ${attributes.name ?? ''}: ${messageIn(content)}`);
  return { exists: xml !== '', tests, errors };
}

function* elements(xml, tag) {
  for (const found of xml.matchAll(new RegExp(`<${tag}((?:\\s+[\\w:.-]+="[^"]*")*)\\s*(?:/>|>([\\s\\S]*?)</${tag}>)`, 'g'))) {
    const attributes = {};
    for (const [, name, value] of found[1].matchAll(/([\w:.-]+)="([^"]*)"/g)) attributes[name] = unescape(value);
    yield { attributes, content: found[2] ?? '' };
  }
}

function messageIn(content) {
  return unescape(/<message>([\s\S]*?)<\/message>/.exec(content)?.[1] ?? '').trim();
}

function escape(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function unescape(text) {
  const names = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(lt|gt|quot|apos|amp));/gi, (_, hex, decimal, name) =>
    name ? names[name] : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)));
}

function table(title, rows) {
  if (rows.length === 0) return;
  console.log(`${bold}── ${title}${plain}`);
  for (const line of rows) console.log(`   ${line}`);
}

function row(seconds, text) {
  return `${String(seconds).padStart(6)} s  ${text}`;
}

// Display names may hold line breaks: what follows would read like another test.
function oneLine(text) {
  return text.replace(/\s*\n\s*/g, ' ');
}
