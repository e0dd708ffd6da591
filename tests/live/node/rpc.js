'use strict'

// Runs a worker and a client of Grenache's RPC:
//
//   node rpc.js '{"grape":"http://127.0.0.1:<api>","which":"http","name":"rest:util:net","announce":true}'
//
// `which` is http or ws. The worker listens on a free port and answers each request with what it was asked; with
// `announce` it announces itself under `name`, as services do. Prints {"port":n} once it listens and is announced. Each
// line on stdin is the name of a service, which the client looks up and calls: prints {"answer":[name,payload]} or
// {"error":text}. Ends when stdin closes.

const { once } = require('events')
const { createRequire } = require('module')
const { createInterface } = require('readline')
const { promisify } = require('util')

const TIMEOUT_MS = 5000
const ANNOUNCE_MS = 1000

const { grape, which, name, announce } = JSON.parse(process.argv[2])
const { PeerRPCClient, PeerRPCServer } = require(`grenache-nodejs-${which}`)
const Link = createRequire(require.resolve(`grenache-nodejs-${which}`))('grenache-nodejs-link')

const print = what => console.log(JSON.stringify(what))

const open = Peer => {
  const link = new Link({ grape })
  link.start()
  const peer = new Peer(link, {})
  peer.init()
  return { link, peer }
}

const main = async () => {
  const worker = open(PeerRPCServer)
  const service = worker.peer.transport('server')
  service.listen(0)
  service.on('request', (rid, key, payload, handler) => handler.reply(null, [key, payload]))
  await once(service.socket, 'listening')
  const { port } = service.socket.address()
  if (announce) await promisify(worker.link.startAnnouncing).call(worker.link, name, port, { interval: ANNOUNCE_MS })
  print({ port })

  const client = open(PeerRPCClient).peer
  for await (const asked of createInterface({ input: process.stdin })) {
    client.request(asked, 'grape ✓', { timeout: TIMEOUT_MS }, (err, answer) =>
      print(err ? { error: err.message } : { answer }))
  }
  process.exit()
}

main()
