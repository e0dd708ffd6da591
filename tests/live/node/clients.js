'use strict'

// Checks the Node.js clients of Grenache with running grapes:
//
//   node clients.js '{"grapes":["http://127.0.0.1:<api>",...],"which":"link","mutable":true}'
//
// `which` is link, link-0.7 (the link of older services), http, ws or ws-tls. Services and items are stored through the
// first grape and read through the last one. `mutable: false` leaves out mutable items, which the command of the
// reference cannot store. Prints {"check","ok","detail"}, one line per check; exits with 0 if all are ok.

const assert = require('assert')
const { createHash, generateKeyPairSync, randomBytes, randomInt, randomUUID, sign } = require('crypto')
const { once } = require('events')
const { createRequire } = require('module')
const { setTimeout: sleep } = require('timers/promises')
const { promisify } = require('util')
const certificate = require('./certificate')

const TIME_LIMIT_MS = 28000
const RPC_TIMEOUT_MS = 5000

const { grapes, which = 'link', mutable = true } = JSON.parse(process.argv[2])

// Each client runs with the link that npm installed for it: ws-tls has one of its own.
const CLIENTS = {
  http: 'grenache-nodejs-http',
  'link-0.7': 'grenache-nodejs-ws-tls',
  ws: 'grenache-nodejs-ws',
  'ws-tls': 'grenache-nodejs-ws-tls'
}
const Link = (which === 'link' ? require : createRequire(require.resolve(CLIENTS[which])))('grenache-nodejs-link')

process.exitCode = 1 // until the last check has been made
let failed = false
let running = 'start'
const cleanups = []

const report = (check, ok, detail = null) => {
  failed ||= !ok
  console.log(JSON.stringify({ check, ok, detail }))
}

const giveUp = detail => {
  report(running, false, detail)
  process.exit(1)
}

const check = async (name, run) => {
  running = name
  try {
    report(name, true, await run())
  } catch (err) {
    report(name, false, err.code ? `${err.code}: ${err.message}` : err.message)
  }
}

const timed = async (run) => {
  const began = performance.now()
  const what = await run()
  return `${what} in ${Math.round(performance.now() - began)} ms`
}

const times = (count, run) => Array.from({ length: count }, (_, n) => run(n))
const call = (target, method, ...args) => promisify(target[method]).call(target, ...args)
const until = async (holds) => {
  while (!holds()) await sleep(10)
}
const newName = () => `live:${which}:${randomUUID()}`
const newPort = () => randomInt(1024, 65536)
const address = port => `127.0.0.1:${port}`

const openLink = grape => {
  const link = new Link({ grape })
  link.start()
  cleanups.push(() => link.stop())
  return link
}

const announce = async (link, name, port) => {
  const count = await call(link, 'announce', name, port)
  assert(Number.isInteger(count) && count >= 1, `announce answered ${JSON.stringify(count)}`)
  return count
}

const refused = async (called, expected) => {
  const reason = called.then(JSON.stringify, err => err.message)
  await assert.rejects(called, expected)
  return reason
}

// The link

const checkServices = async (near, far) => {
  const name = newName()
  const port = newPort()

  await check('announce', () => announce(near, name, port))

  await check('lookup through another grape', async () => {
    const found = await call(far, 'lookup', name)
    assert.deepStrictEqual(found, [address(port)])
    return found
  })

  await check('lookup of nothing', () => refused(call(far, 'lookup', newName()), { message: 'ERR_GRAPE_LOOKUP_EMPTY' }))

  await check('startAnnouncing, stopAnnouncing', async () => {
    const name = newName()
    const link = openLink(grapes[0])
    let announced = 0
    const announceOnce = link.announce
    link.announce = (...args) => {
      announced++
      return announceOnce.apply(link, args)
    }

    await call(link, 'startAnnouncing', name, port, { interval: 50 })
    assert.strictEqual(link.startAnnouncing(name, port), false)
    assert.deepStrictEqual(await call(far, 'lookup', name), [address(port)])
    await until(() => announced >= 3)
    link.stopAnnouncing(name, port)
    assert.strictEqual(link.stopAnnouncing(name, port), false)
    const last = announced
    await sleep(200)
    assert.strictEqual(announced, last)
    return `${announced} announces`
  })

  await check('concurrent lookups', () => timed(async () => {
    const services = times(20, () => ({ name: newName(), port: newPort() }))
    await Promise.all(services.map(({ name, port }) => announce(near, name, port)))
    const links = grapes.map(openLink)
    const found = await Promise.all(links.flatMap(link => services.map(({ name }) => call(link, 'lookup', name))))
    const expected = links.flatMap(() => services.map(({ port }) => [address(port)]))
    assert.deepStrictEqual(found, expected)
    return `${found.length} lookups`
  }))

  await check('100 announce and lookup pairs', () => timed(async () => {
    for (let n = 0; n < 100; n++) {
      const name = newName()
      const port = newPort()
      await announce(near, name, port)
      assert.deepStrictEqual(await call(far, 'lookup', name), [address(port)])
    }
    return '100 pairs'
  }))
}

const sha1 = (...parts) => createHash('sha1').update(Buffer.concat(parts)).digest('hex')
const bencode = text => `${Buffer.byteLength(text)}:${text}`
// Returns what the link passes on for an empty body, which means "not found".
const NOTHING = which === 'link' ? '' : undefined

const checkImmutable = async (near, far) => {
  const v = `${randomUUID()} – grape ✓`
  const hash = sha1(Buffer.from(bencode(v)))

  await check('put immutable', async () => {
    assert.strictEqual(await call(near, 'put', { v }), hash)
    return hash
  })

  await check('get immutable through another grape', async () => {
    const item = await call(far, 'get', hash)
    assert.strictEqual(item.v, v)
    assert.match(item.id, /^[0-9a-f]{40}$/)
    return item
  })

  await check('get of an unknown hash', async () => {
    assert.strictEqual(await call(far, 'get', randomBytes(20).toString('hex')), NOTHING)
  })
}

const newSigner = salt => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url')
  const hash = sha1(key, Buffer.from(salt || ''))
  return {
    hash,
    query: salt ? { hash, salt } : hash,
    item: (seq, v, cas) => {
      const signed = `${salt ? '4:salt' + bencode(salt) : ''}3:seqi${seq}e1:v${bencode(v)}`
      return { v, seq, cas, salt, k: key.toString('hex'), sig: sign(null, Buffer.from(signed), privateKey).toString('hex') }
    }
  }
}

const checkMutable = async (near, far, label, salt) => {
  const { hash, query, item } = newSigner(salt)
  const seq = Date.now() * 1000 // grenache-cli counts microseconds: 16 digits must come back exactly
  const latest = item(seq + 1, 'second ✓', seq)

  const getItem = async (link, { v, seq, k, sig }) => {
    const got = await call(link, 'get', query)
    assert.deepStrictEqual({ v: got.v, seq: got.seq, k: got.k, sig: got.sig }, { v, seq, k, sig })
    if (got.salt !== undefined) assert.strictEqual(got.salt, salt)
    return got
  }

  await check(`${label}: put, get through another grape`, async () => {
    const first = item(seq, 'first')
    assert.strictEqual(await call(near, 'put', first), hash)
    return getItem(far, first)
  })

  await check(`${label}: update with cas`, async () => {
    assert.strictEqual(await call(near, 'put', latest), hash)
    return getItem(far, latest)
  })

  await check(`${label}: cas mismatch`, () =>
    refused(call(near, 'put', item(seq + 2, 'third', seq)), { code: 301, message: /^301 / }))

  await check(`${label}: old seq`, () =>
    refused(call(near, 'put', item(seq - 1, 'older')), { code: 302, message: /^302 / }))

  await check(`${label}: as it was after the refused puts`, async () => {
    for (const grape of grapes) await getItem(openLink(grape), latest)
  })
}

const checkForged = async (near, far) => {
  await check('mutable: a forged signature is not stored', async () => {
    const { hash, item } = newSigner()
    const forged = { ...item(1, 'signed'), v: 'forged' }
    const answer = await call(near, 'put', forged).catch(err => err.message)
    assert.notStrictEqual(answer, hash)
    assert.strictEqual(await call(far, 'get', hash), NOTHING)
    return answer
  })
}

const checkLink = async (near, far) => {
  await checkServices(near, far)
  await checkImmutable(near, far)
  if (!mutable) return
  await checkMutable(near, far, 'mutable')
  await checkMutable(near, far, 'mutable with salt', 'salt ✓')
  await checkForged(near, far)
}

// RPC between two peers that find each other through the grapes

const newSecure = () => {
  const server = certificate('server')
  const client = certificate('client')
  const ca = Buffer.concat([server.cert, client.cert])
  return {
    server: {
      key: server.key,
      cert: server.cert,
      ca,
      requestCert: true,
      verifyClient: ({ req }) => req.socket.getPeerCertificate().fingerprint256 === client.fingerprint
    },
    client: { key: client.key, cert: client.cert, ca },
    fingerprint: client.fingerprint
  }
}

const open = (Peer, link, conf) => {
  const peer = new Peer(link, conf)
  peer.init()
  cleanups.push(() => peer.stop())
  return peer
}

const listen = async (Peer, link, name, conf) => {
  const service = open(Peer, link, conf).transport('server')
  service.listen(0)
  const server = service.socket
  cleanups.push(() => {
    service.stop()
    server.close()
    // The client does not close the HTTPS server of a WebSocket server over TLS.
    if (server.options?.server) server.options.server.close()
  })
  await once(server, 'listening')
  const { port } = server.address()
  await announce(link, name, port)
  return { service, port }
}

const checkRequests = async (client, near, far, label = '', secure) => {
  const name = newName()
  const ports = []
  const requester = open(client.PeerRPCClient, far, secure ? { secure: secure.client } : {})

  await check(`${label}two servers announced`, async () => {
    for (let n = 0; n < 2; n++) {
      const { service, port } = await listen(client.PeerRPCServer, near, name, secure ? { secure: secure.server } : {})
      service.on('request', (rid, key, payload, handler, cert) =>
        handler.reply(null, { key, payload, port, fingerprint: cert?.fingerprint256 }))
      ports.push(port)
    }
    return ports
  })

  const expect = (answer, payload) => {
    const { key, fingerprint } = answer
    assert.deepStrictEqual({ key, payload: answer.payload, fingerprint }, { key: name, payload, fingerprint: secure?.fingerprint })
    return answer.port
  }

  const request = async (n, opts) => {
    const payload = { n, text: 'grape ✓' }
    return expect(await call(requester, 'request', name, payload, { timeout: RPC_TIMEOUT_MS, ...opts }), payload)
  }

  await check(`${label}100 requests`, () => timed(async () => {
    const answered = new Set()
    for (let n = 0; n < 100; n++) answered.add(await request(n))
    assert.deepStrictEqual([...answered].sort(), [...ports].sort())
    return '100 requests'
  }))

  await check(`${label}map`, async () => {
    const answers = await call(requester, 'map', name, 'to all', { timeout: RPC_TIMEOUT_MS })
    assert.deepStrictEqual(answers.map(answer => expect(answer, 'to all')).sort(), [...ports].sort())
    return `${answers.length} answers`
  })

  if (which === 'http') await check(`${label}gzip`, () => request(0, { compress: true }))
}

const checkStream = (client, near, far, label = '', secure) => check(`${label}stream`, () => timed(async () => {
  const name = newName()
  const conf = secure ? { secure: secure.server } : {}
  const { service } = await listen(client.PeerRPCServer, near, name, { ...conf, disableBuffered: true })
  service.on('stream', (req, res, meta) => {
    assert.strictEqual(meta.infoHeaders[1], name)
    req.pipe(res)
  })
  const requester = open(client.PeerRPCClient, far, secure ? { secure: secure.client } : {})

  const sent = randomBytes(1 << 20)
  const stream = requester.stream(name, { timeout: RPC_TIMEOUT_MS })
  stream.end(sent)
  const received = []
  for await (const chunk of stream) received.push(chunk)
  assert(sent.equals(Buffer.concat(received)))
  return `${sent.length} bytes there and back`
}))

const checkPubSub = (client, near, far) => check('pub/sub', () => timed(async () => {
  // The client does not keep the transport of a subscription, so it could not stop it.
  class Sub extends client.PeerSub {
    newTransport (conf) {
      const transport = super.newTransport(conf)
      cleanups.push(() => transport.stop())
      return transport
    }
  }

  const name = newName()
  const { service } = await listen(client.PeerPub, near, name, {})
  const sub = open(Sub, far, {})
  sub.sub(name, { timeout: RPC_TIMEOUT_MS })
  await once(sub, 'connected')

  const sent = times(20, n => `message ${n} ✓`)
  const received = []
  const all = new Promise(resolve => sub.on('message', message => {
    received.push(message)
    if (received.length === sent.length) resolve()
  }))
  sent.forEach(message => service.pub(message))
  await all
  assert.deepStrictEqual(received, sent)
  return `${received.length} messages`
}))

const checkPeers = async (near, far) => {
  const client = require(CLIENTS[which])
  const secure = newSecure()
  if (which !== 'ws-tls') await checkRequests(client, near, far)
  await checkRequests(client, near, far, 'TLS: ', secure)
  if (which === 'ws') await checkPubSub(client, near, far)
  if (which === 'http') {
    await checkStream(client, near, far)
    await checkStream(client, near, far, 'TLS: ', secure)
  }
}

const main = async () => {
  const near = openLink(grapes[0])
  const far = openLink(grapes[grapes.length - 1])
  await (which.startsWith('link') ? checkLink : checkPeers)(near, far)
  running = 'end by itself'
  cleanups.reverse().forEach(cleanup => cleanup())
  process.exitCode = failed ? 1 : 0
}

process.on('uncaughtException', err => giveUp(err.stack))
setTimeout(() => giveUp(`still under way after ${TIME_LIMIT_MS} ms`), TIME_LIMIT_MS).unref()
main()
