// A small client of the Api, compiled against the types that openapi-typescript makes of its description; it is not run. Where a line
// has to be an error, @ts-expect-error stands above it, and fails when the line compiles after all.
import type * as admin from './admin'
import type * as v1 from './v1'

type Answer<Operation extends keyof v1.operations, Status extends keyof v1.operations[Operation]['responses'], Type extends string> =
  v1.operations[Operation]['responses'][Status] extends { content: Record<Type, infer Body> } ? Body : never
type Accepted = Answer<'submitGeneration', 202, 'application/json'>
type Ended = Answer<'submitGeneration', 200, 'application/json'>
type Event = Answer<'watchGeneration', 200, 'text/event-stream'>
type NotPaid = Answer<'submitGeneration', 402, 'application/problem+json'>
type Problem = v1.components['schemas']['Problem']
type Submit = v1.paths['/api/generations']['post']['requestBody']['content']['application/json']
type Flat = v1.paths['/api/images/{tool}/generate']['post']['requestBody']['content']['application/json']
type Grant = admin.paths['/api/admin/credits/grants']['post']['requestBody']['content']['application/json']

const picture: Submit = { model: 'seedream-4', params: { prompt: 'a lighthouse at dusk', size: '2K' }, priority: 'batch' }
// @ts-expect-error: without a model
const nothing: Submit = { params: {} }
// @ts-expect-error: a priority that there is not
const hurried: Submit = { ...picture, priority: 'urgent' }
const flat: Flat = { prompt: 'a lighthouse at dusk', size: '2K' }
// @ts-expect-error: a prompt is text
const number: Flat = { prompt: 7 }

export async function submit(base: string, key: string): Promise<Accepted | Ended> {
  const reply = await fetch(`${base}/api/generations`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', Prefer: 'wait=30' },
    body: JSON.stringify(picture),
  })
  if (reply.ok) return (await reply.json()) as Accepted | Ended
  const problem = (await reply.json()) as Problem
  throw new Error(advice(problem.code))
}

function advice(code: Problem['code']): string {
  switch (code) {
    case 'insufficient_credits':
      return 'Buy credits.'
    case 'rate_limited':
    case 'overloaded':
      return 'Wait for Retry-After.'
    // @ts-expect-error: a code that there is not
    case 'insufficient_money':
      return ''
    default:
      return code
  }
}

export function accepted(answer: Accepted): [session: string, held: number, watch: string] {
  const status: 'queued' = answer.status
  // @ts-expect-error: the answer has no such field
  answer.sessionID
  return [answer.sessionId, answer.creditsHeld, `${status}: ${answer.links.events}`]
}

// The four events differ by their fields, so a client without their names can tell them apart.
export function shown(event: Event): string {
  if ('percent' in event) return `${event.percent} %, ${event.phase}, ${event.preview?.url ?? 'no preview'}`
  if ('media' in event && 'receipt' in event) return `${event.status}: ${event.receipt?.captured ?? 0} credits`
  // @ts-expect-error: not every event has a receipt
  event.receipt
  return `${event.sessionId} ${event.version}`
}

const missing: NotPaid['code'] = 'insufficient_credits'
// @ts-expect-error: a 402 has a code of its own
const other: NotPaid['code'] = 'not_found'

const grant: Grant = { user: 'demo', amount: 100, kind: 'bonus', reason: 'sorry for the outage' }
// @ts-expect-error: credits are numbers
const words: Grant = { ...grant, amount: 'a hundred' }
export const all = [flat, number, nothing, hurried, missing, other, words]
