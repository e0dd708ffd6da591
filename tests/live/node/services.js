'use strict'

// Announces services and looks them up through grapes that are being replaced:
//
//   node services.js '{"grapes":["http://127.0.0.1:<api>",...],"names":["name",...],"scale":10,"seed":1}'
//
// Service n listens on port 1024 + n and has a list of two grapes, n and n + 1 (modulo their number). It announces
// itself as startAnnouncing of the link does, every 60 to 180 s divided by `scale`, through the first grape of its list
// or, if that fails, through the second. Its clients have the list n + 2, n: they ask the grape that announces the
// service only while their first one is down. They look it up all the time, without the link's cache.
//
// Prints "announced" once each service was announced for the first time, then each call that did not succeed as
// {"call","grape","name","began","ended","error","answer"}, times in seconds since 1970; at SIGTERM {"calls","requests",
// "failed"}: the number of calls, that of the requests for which they were made, one of each grape of a list at most, and
// the requests that no grape of the list served, each with its calls as they were printed. One line each.

const { setTimeout: sleep } = require('timers/promises')
const Link = require('grenache-nodejs-link')

const FIRST_PORT = 1024
const ANNOUNCE_MS = 120000
const LOOKUP_PAUSE_MS = 500

const { grapes, names, scale, seed } = JSON.parse(process.argv[2])

// The link draws its intervals with Math.random. This is mulberry32.
let state = seed
Math.random = () => {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const print = what => console.log(JSON.stringify(what))
const newLink = grape => new Link({ grape, lruMaxAgeLookup: 1 }).start()
const links = grapes.map(newLink)
let calls = 0
let requests = 0
const failed = []

const succeeded = (call, name, answer) => call === 'lookup'
  ? answer.length === 1 && answer[0] === `127.0.0.1:${FIRST_PORT + names.indexOf(name)}`
  : Number.isInteger(answer) && answer > 0

const ask = (call, grape, name, args, done) => {
  const began = Date.now() / 1000
  calls++
  Link.prototype[call].call(links[grape], ...args, { retry: 1 }, (err, answer = null) => {
    let fault = null
    if (err || !succeeded(call, name, answer)) {
      const error = err && (err.code ? `${err.code}: ${err.message}` : err.message)
      fault = { call, grape, name, began, ended: Date.now() / 1000, error, answer }
      print(fault)
    }
    done(err, answer, fault)
  })
}

// The link makes an error of an empty list, too; that grape is not down.
const isDown = err => err && err.message !== 'ERR_GRAPE_LOOKUP_EMPTY'

const askOneOf = (call, list, name, args, done) => {
  requests++
  const faults = []
  const askNext = n => ask(call, list[n], name, args, (err, answer, fault) => {
    if (fault) faults.push(fault)
    if (isDown(err) && n + 1 < list.length) return askNext(n + 1)
    if (fault) failed.push(faults)
    done(err, answer)
  })
  askNext(0)
}

const lookUp = async (name, list) => {
  for (;;) {
    await new Promise(resolve => askOneOf('lookup', list, name, [name], resolve))
    await sleep(LOOKUP_PAUSE_MS)
  }
}

const listOf = (...numbers) => numbers.map(n => n % grapes.length)
let missing = names.length

names.forEach((name, n) => {
  const link = newLink(grapes[n % grapes.length])
  link.announce = (key, port, opts, done) => askOneOf('announce', listOf(n, n + 1), key, [key, port], done)
  link.startAnnouncing(name, FIRST_PORT + n, { interval: ANNOUNCE_MS / scale }, () => {
    if (--missing) return
    print('announced')
    names.forEach((name, n) => lookUp(name, listOf(n + 2, n)))
  })
})

process.on('SIGTERM', () => {
  print({ calls, requests, failed })
  process.exit(0)
})
