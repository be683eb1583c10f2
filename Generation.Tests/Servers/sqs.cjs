// An SQS server for the tests: fauxqs, which keeps queues in memory.
//   node sqs.cjs <access key> <secret key>
// Prints its port when it listens, and ends when its standard input does, so that a killed test run leaves it not behind.
// fauxqs takes any signature; here every call that carries one is checked against Smithy's signer, and the calls of the
// client under test must carry one. Queues are made and purged by the tests without.
'use strict'

const { createHash, createHmac } = require('node:crypto')
const { Readable } = require('node:stream')
const { SignatureV4 } = require('@smithy/signature-v4')

const [, , accessKeyId, secretAccessKey] = process.argv
const unsigned = ['AmazonSQS.CreateQueue', 'AmazonSQS.DeleteQueue', 'AmazonSQS.PurgeQueue']

class Sha256 {
  constructor(key) { this.hash = key ? createHmac('sha256', key) : createHash('sha256') }
  update(data) { this.hash.update(data) }
  async digest() { return new Uint8Array(this.hash.digest()) }
}

async function refusal(request, body) {
  const { authorization = '', ...headers } = request.headers
  if (!authorization) return unsigned.includes(headers['x-amz-target']) ? null : 'MissingAuthenticationToken'
  const [, key, region, service] = authorization.match(/Credential=([^/]+)\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request/) || []
  if (key !== accessKeyId) return 'InvalidClientTokenId'
  const names = (authorization.match(/SignedHeaders=([^,]+)/) || [])[1].split(';')
  if (!['host', 'x-amz-date', 'x-amz-target'].every((name) => names.includes(name))) return 'IncompleteSignature'
  const signer = new SignatureV4({ credentials: { accessKeyId, secretAccessKey }, region, service, sha256: Sha256, applyChecksum: false })
  const date = headers['x-amz-date'].replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6Z')
  const expected = await signer.sign(
    { method: request.method, protocol: 'http:', hostname: '', path: request.raw.url, query: {}, body, headers: Object.fromEntries(names.map((name) => [name, headers[name]])) },
    { signingDate: new Date(date) })
  return service === 'sqs' && expected.headers.authorization === authorization ? null : 'SignatureDoesNotMatch'
}

async function main() {
  const { buildApp } = await import('fauxqs')
  const { SqsStore } = await import('./node_modules/fauxqs/dist/sqs/sqsStore.js')
  const sqsStore = new SqsStore()
  sqsStore.host = undefined // else queues are at sqs.<region>.localhost, which not every machine resolves
  const app = buildApp({ logger: false, stores: { sqsStore } })
  app.addHook('preParsing', async (request, reply, payload) => {
    const parts = []
    for await (const part of payload) parts.push(part)
    const body = Buffer.concat(parts)
    const code = request.method === 'POST' && await refusal(request, body)
    if (code) {
      reply.code(403).type('application/x-amz-json-1.0').send({ __type: `com.amazon.coral.service#${code}`, message: 'The request is not signed as it must be.' })
      return
    }
    return Readable.from([body])
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  console.log(app.server.address().port)
}

main()
process.stdin.on('end', () => process.exit(0)).resume()
