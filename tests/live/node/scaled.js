'use strict'

// Shortens times of the reference grape that no flag sets, for a test that cannot wait: `node -r scaled.js grape.js`
// divides by SCALE the five minutes for which it keeps the closest nodes of a name with their tokens, and the five
// minutes after which it changes its tokens.

const { createRequire } = require('module')

const FIVE_MINUTES = 5 * 60 * 1000
const scale = Number(process.env.SCALE)
const scaled = ms => ms === FIVE_MINUTES ? ms / scale : ms

const fromDht = createRequire(require.resolve('bittorrent-dht'))
const LRU = fromDht('lru')
require.cache[fromDht.resolve('lru')].exports = function (options) {
  return new LRU(options.maxAge ? { ...options, maxAge: scaled(options.maxAge) } : options)
}

const { setInterval } = globalThis
globalThis.setInterval = (call, ms, ...rest) => setInterval(call, scaled(ms), ...rest)
