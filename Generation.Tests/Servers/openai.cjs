// Drives the provider simulator with OpenAI's own client, and prints what the client made of it as one JSON object.
//   node openai.cjs <base url> <key>
'use strict'

const OpenAI = require('openai')

const [baseURL, apiKey] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 })
const model = 'gpt-image-2'

// The class of the error that a call ends with, and what the client has read from it.
async function errorOf(call) {
  try {
    await call()
    return { name: 'none' }
  } catch (e) {
    return { name: e.constructor.name, status: e.status ?? null, code: e.code ?? null, type: e.type ?? null, param: e.param ?? null, hasRequestId: Boolean(e.requestID) }
  }
}

async function image() {
  const { data: reply, request_id: requestId } = await client.images
    .generate({ model, prompt: 'an official lighthouse', size: '1024x1024', quality: 'low', output_format: 'jpeg', n: 2 })
    .withResponse()
  return {
    requestId,
    pictures: reply.data.map((picture) => picture.b64_json),
    size: reply.size,
    format: reply.output_format,
    usage: reply.usage,
  }
}

async function stream() {
  const events = []
  const parameters = { model, prompt: 'an official harbour', size: '1536x1024', quality: 'high', stream: true, partial_images: 3 }
  for await (const event of await client.images.generate(parameters)) {
    events.push({ type: event.type, index: event.partial_image_index ?? null, picture: event.b64_json, size: event.size, usage: event.usage ?? null })
  }
  return events
}

async function video() {
  const created = await client.videos.create({ prompt: 'an official boat [queued=100][latency=400]', seconds: '4', size: '1280x720' })
  const early = await errorOf(() => client.videos.downloadContent(created.id))
  const seen = [created]
  while (!['completed', 'failed'].includes(seen.at(-1).status)) {
    await new Promise((next) => setTimeout(next, 20))
    seen.push(await client.videos.retrieve(created.id))
  }

  const content = await client.videos.downloadContent(created.id)
  const bytes = Buffer.from(await content.arrayBuffer())
  const thumbnail = await client.videos.downloadContent(created.id, { variant: 'thumbnail' })
  const listed = []
  for await (const one of client.videos.list({ limit: 1 })) listed.push(one.id)
  return {
    early,
    states: [...new Set(seen.map((one) => one.status))],
    progress: seen.map((one) => one.progress),
    last: seen.at(-1),
    contentType: content.headers.get('content-type'),
    film: bytes.toString('base64'),
    thumbnailBytes: (await thumbnail.arrayBuffer()).byteLength,
    listed,
    deleted: await client.videos.delete(created.id),
    after: await errorOf(() => client.videos.retrieve(created.id)),
  }
}

async function errors() {
  const errors = {}
  for (const word of ['moderation-input', 'unauthorized', 'forbidden', 'not-found', 'rate-limit', 'quota', 'overload', 'server-error', 'bad-gateway', 'cut-reply']) {
    errors[word] = await errorOf(() => client.images.generate({ model, prompt: `official [fault=${word}]` }))
  }

  errors.key = await errorOf(() => new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 }).images.generate({ model, prompt: 'p' }))
  errors.response_format = await errorOf(() => client.images.generate({ model, prompt: 'p', response_format: 'b64_json' }))
  errors.streamed = await errorOf(async () => {
    for await (const event of await client.images.generate({ model, prompt: 'official [fault=moderation-output]', stream: true })) if (!event.type) throw new Error('no type')
  })
  errors.seconds = await errorOf(() => client.videos.create({ prompt: 'p', seconds: '5' }))
  return errors
}

async function main() {
  console.log(JSON.stringify({ image: await image(), stream: await stream(), video: await video(), errors: await errors() }))
}

main().catch((e) => {
  console.error(e)
  process.exit(1)
})
