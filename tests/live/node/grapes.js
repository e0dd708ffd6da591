'use strict'

// Runs several reference grapes from npm in one process:
//
//   node grapes.js '{"ports":[[<dht>,<api>],...],"bootstrap":["127.0.0.1:<dht>",...],"host":"127.0.0.1","verify":true}'
//
// Without `bootstrap` the grapes know each other. Prints {"ready":n} when all are ready; ends on SIGTERM or when
// stdin closes.

const crypto = require('crypto')
const { once } = require('events')
const { promisify } = require('util')
const { Grape } = require('grenache-grape')

const verifyEd25519 = (signature, message, publicKey) => {
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') }
    return crypto.verify(null, message, crypto.createPublicKey({ key: jwk, format: 'jwk' }), signature)
  } catch (err) {
    return false
  }
}

const start = async (conf) => {
  const grape = new Grape(conf)
  const ready = once(grape, 'ready')
  await promisify(grape.start).call(grape)
  await ready
}

const main = async ({ ports, bootstrap, host, verify }) => {
  const nodes = bootstrap || ports.map(([dhtPort]) => `127.0.0.1:${dhtPort}`)
  await Promise.all(ports.map(([dhtPort, apiPort]) => start({
    host: host || null,
    dht_port: dhtPort,
    api_port: apiPort,
    dht_bootstrap: nodes.filter(node => node !== `127.0.0.1:${dhtPort}`),
    verify: verify ? verifyEd25519 : undefined
  })))
  console.log(JSON.stringify({ ready: ports.length }))
}

const end = () => process.exit()
process.on('SIGTERM', end)
process.stdin.on('close', end).resume()

main(JSON.parse(process.argv[2]))
