'use strict'

// Makes a self-signed certificate for 127.0.0.1, valid for a day, in memory: Node.js itself can only read them.

const { generateKeyPairSync, randomBytes, sign, X509Certificate } = require('crypto')

const DAY_MS = 24 * 60 * 60 * 1000

const der = (tag, ...parts) => {
  const body = Buffer.concat(parts)
  const size = body.length
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

const sequence = (...parts) => der(0x30, ...parts)
const oid = hex => der(0x06, Buffer.from(hex, 'hex'))
const bits = body => der(0x03, Buffer.from([0]), body)
const time = ms => der(0x17, Buffer.from(new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '').slice(2)))
const pem = body => `-----BEGIN CERTIFICATE-----\n${body.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`

const VERSION_3 = der(0xa0, der(0x02, Buffer.from([2])))
const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'))
const ALTERNATIVE_NAME = sequence(oid('551d11'), der(0x04, sequence(der(0x87, Buffer.from([127, 0, 0, 1])))))

const certificate = commonName => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(commonName)))))
  const body = sequence(
    VERSION_3,
    der(0x02, Buffer.from([1]), randomBytes(8)),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(Date.now() - DAY_MS), time(Date.now() + DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(ALTERNATIVE_NAME))
  )
  const cert = Buffer.from(pem(sequence(body, ECDSA_WITH_SHA256, bits(sign('sha256', body, privateKey)))))
  return {
    key: Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    cert,
    fingerprint: new X509Certificate(cert).fingerprint256
  }
}

module.exports = certificate
