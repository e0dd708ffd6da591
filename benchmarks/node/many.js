'use strict'

// Runs many reference grapes in one process, as benchmarks/manygrapes.py does with ours:
//
//   node many.js '{"grapes":100,"ports":[[<dht>,<api>],...],"lookups":12,"seconds":3,"settle":1}'
//
// Prints one line of JSON: the seconds from the start to the last `ready`, the milliseconds of each lookup of a new
// name, `lookups` at a time, and the seconds of all of them. `seconds` 0: no lookups.

const { createHash } = require('crypto')
const { promisify } = require('util')
const { Grape } = require('grenache-grape')

const HOST = '127.0.0.1'
const now = () => Number(process.hrtime.bigint()) / 1e9
const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))

const main = async ({ ports, lookups, seconds, settle }) => {
  const began = now()
  const grapes = ports.map(([dhtPort, apiPort], index) => new Grape({
    host: HOST,
    dht_port: dhtPort,
    api_port: apiPort,
    dht_bootstrap: index ? [`${HOST}:${ports[0][0]}`] : []
  }))
  const ready = grapes.map(grape => new Promise(resolve => grape.once('ready', resolve)))
  await Promise.all(grapes.map(grape => promisify(grape.start).call(grape)))
  await Promise.all(ready)
  const result = { ready: now() - began }

  if (seconds) {
    await sleep(settle)
    await promisify(grapes[0].announce).call(grapes[0], 'many:check', 1337)
    const last = grapes[grapes.length - 1]
    result.check = await promisify(last.lookup).call(last, 'many:check')
    let number = 0
    const one = async () => {
      const name = createHash('sha1').update(`many:${number}`).digest('hex')
      const grape = grapes[(number++ * 7) % grapes.length]
      const from = now()
      await promisify(grape.lookup).call(grape, name)
      return (now() - from) * 1000
    }
    const all = async until => {
      const times = []
      const from = now()
      while (now() - from < until) {
        times.push(...await Promise.all(Array.from({ length: lookups }, one)))
      }
      return { times, seconds: now() - from }
    }
    await all(seconds / 3)
    Object.assign(result, await all(seconds))
  }
  process.stdout.write(JSON.stringify(result) + '\n', () => process.exit())
}

main(JSON.parse(process.argv[2])).catch(err => {
  console.error(err)
  process.exit(1)
})
