// An S3 server for the tests: s3rver (the fork that verifies V4 signatures), keeping objects in a folder.
//   node --openssl-legacy-provider s3.cjs <folder>
// Prints its port when it listens, and ends when its standard input does, taking the folder with it, so that
// a killed test run leaves neither behind.
// s3rver knows neither AbortMultipartUpload nor ListMultipartUploads; both are added here, over its own store and behind
// its own signature check. (The legacy provider is for its continuation tokens, which are DES.)
'use strict'

const { rmSync } = require('node:fs')
const fs = require('node:fs/promises')
const path = require('node:path')
const S3rver = require('@20minutes/s3rver')
const authentication = require('@20minutes/s3rver/lib/middleware/authentication')()
const S3Error = require('@20minutes/s3rver/lib/models/error')

// Signatures are over RFC 3986 escapes; s3rver uses this function, which leaves five characters alone.
const escape = globalThis.encodeURIComponent
globalThis.encodeURIComponent = (text) => escape(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

const folder = process.argv[2]
const server = new S3rver({
  address: '127.0.0.1', port: 0, directory: folder, silent: true, vhostBuckets: false, allowMismatchedSignatures: true,
})
const uploadsOf = (bucket) => server.store.getResourcePath(bucket, undefined, 'uploads')

async function abortUpload(ctx) {
  const upload = path.join(uploadsOf(ctx.params.bucket), path.basename(ctx.query.uploadId))
  await fs.access(upload).catch(() => {
    throw new S3Error('NoSuchUpload', 'The specified multipart upload does not exist.')
  })
  await fs.rm(upload, { recursive: true })
  ctx.status = 204
}

async function listUploads(ctx) {
  const { bucket } = ctx.params
  const markers = [ctx.query['key-marker'] || '', ctx.query['upload-id-marker'] || '']
  const maxUploads = Number(ctx.query['max-uploads'] || 1000)
  const uploads = []
  for (const id of await fs.readdir(uploadsOf(bucket)).catch(() => [])) {
    const keyFile = path.join(uploadsOf(bucket), id, 'key')
    const stat = await fs.stat(keyFile).catch(() => null)
    if (stat) uploads.push({ Key: await fs.readFile(keyFile, 'utf8'), UploadId: id, Initiated: stat.mtime.toISOString() })
  }

  const after = ({ Key, UploadId }) => Key > markers[0] || (Key === markers[0] && UploadId > markers[1])
  uploads.sort((a, b) => (`${a.Key}\n${a.UploadId}` < `${b.Key}\n${b.UploadId}` ? -1 : 1))
  const rest = uploads.filter((upload) => !markers[0] || after(upload))
  const page = rest.slice(0, maxUploads)
  const last = page.at(-1)
  ctx.body = {
    ListMultipartUploadsResult: {
      '@': { xmlns: 'http://s3.amazonaws.com/doc/2006-03-01/' },
      Bucket: bucket,
      IsTruncated: rest.length > page.length,
      ...(rest.length > page.length && { NextKeyMarker: last.Key, NextUploadIdMarker: last.UploadId }),
      Upload: page,
    },
  }
}

// s3rver signs "/bucket" where the .NET SDK has signed "/bucket/", as it is sent, and serves whoever shows no signature at
// all. So its check runs here, strictly and over the path as sent; the one behind its router is told to let things pass.
async function verify(ctx) {
  if (!ctx.headers.authorization && !ctx.query['X-Amz-Signature']) throw new S3Error('AccessDenied', 'Access Denied')
  const strict = Object.create(ctx)
  strict.app = { allowMismatchedSignatures: false }
  strict.params = { bucket: decodeURIComponent(ctx.path.slice(1)) }
  strict.state = {}
  await authentication(strict, async () => {})
}

const additions = async (ctx, next) => {
  await verify(ctx)
  const [bucket, ...key] = ctx.path.slice(1).split('/')
  ctx.params = { bucket, key: key.join('/') }
  if (ctx.method === 'DELETE' && 'uploadId' in ctx.query) return abortUpload(ctx)
  if (ctx.method === 'GET' && 'uploads' in ctx.query) return listUploads(ctx)
  return next()
}

server.middleware.splice(server.middleware.length - 1, 0, additions) // before the router, inside the XML writer
server.run().then(({ port }) => console.log(port))
process.stdin
  .on('end', () => {
    rmSync(folder, { recursive: true, force: true })
    process.exit(0)
  })
  .resume()
