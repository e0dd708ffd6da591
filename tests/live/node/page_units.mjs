// The pure functions of the page, by node:test in a folder that has the page's files beside this one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { path, roundUp, span } from './chart.js'
import { advice, scales } from './contacts.js'
import { brief, counted, duration, quoted, shortTime, trimmed } from './format.js'
import { verdict } from './header.js'
import { problem, valueText } from './lookup.js'
import { distance, medianRoundTrip, Model } from './model.js'
import { within } from './pager.js'
import { lookupsText } from './rates.js'
import { Parser } from './stream.js'
import { quantile } from './times.js'
import { marks, outcome } from './trace.js'

const ID = '8' + '0'.repeat(39)

function snapshot (uptime, changes = {}, start = 1) {
  const status = {
    uptime,
    node_id: ID,
    contacts: { good: 1, questionable: 0 },
    readiness: { status: 'ready', checks: [] },
    ...changes
  }
  const counts = { calls: 10 * uptime, queries_in: uptime, queries_out: 0, lookups: uptime }
  // From the fifth second on one a second, of 2 ms.
  const looked = Math.max(uptime - 5, 0)
  const times = { count: looked, sum: 0.002 * looked, bounds: [0.001, 0.004, 0.01], cumulative: [0, looked, looked] }
  return { start, status, counts, lookup_times: times, limits: [] }
}

test('numbers have units and few digits', () => {
  assert.deepEqual([0, 0.004, 0.42, 4.2, 42, 1234].map(brief), ['0', '< 0.01', '0.42', '4.2', '42', '1,234'])
  assert.deepEqual([null, NaN, 0.00042, 0.0123, 1.3].map(shortTime), ['–', '–', '0.42 ms', '12 ms', '1.3 s'])
  assert.deepEqual([0, 3, 60, 125, 15000, 1047600].map(duration), ['0 s', '3 s', '1 min', '2 min 5 s', '4 h 10 min', '12 d 3 h'])
  assert.deepEqual([counted(1, 'peer'), counted(2000, 'peer')], ['1 peer', '2,000 peers'])
})

test('lookups are told by their mean in each second and by their shares since the page was opened', () => {
  const model = new Model()
  for (const uptime of [4, 5, 6, 8]) model.take('snapshot', snapshot(uptime), 0)
  assert.deepEqual(model.samples.map(({ lookup }) => lookup), [NaN, 0.002, 0.002])
  assert.equal(lookupsText(model.lookups()), '3 lookups took 2.0 ms on average')
  const many = (count) => lookupsText({ ...model.lookups(), count, sum: 0.002 * count, cumulative: [0, count, count] })
  assert.equal(many(1), '1 lookup took 2.0 ms')
  assert.equal(many(100), 'half of 100 lookups took up to 2.5 ms')
  assert.equal(many(1000), 'half of 1,000 lookups took up to 2.5 ms, 99 % up to 4.0 ms')
  model.take('snapshot', snapshot(4, {}, 2), 0)
  assert.equal(lookupsText(model.lookups()), 'none was made')
})

test('shares of times are between the bounds', () => {
  const times = { count: 4, sum: 1, bounds: [1, 2, 4], cumulative: [0, 2, 3] }
  assert.deepEqual([0.25, 0.5, 0.75, 0.9].map((share) => quantile(times, share)), [1.5, 2, 4, 4])
  assert.ok(Number.isNaN(quantile({ count: 0, sum: 0, bounds: [1], cumulative: [0] }, 0.5)))
})

test('marks of scales have no zeros that say nothing', () => {
  const texts = ['5.0 ms', '0.50 /s', '10 ms', '0.25 s', '1,000 /s', '0 ms', '1.0']
  assert.deepEqual(texts.map(trimmed), ['5 ms', '0.5 /s', '10 ms', '0.25 s', '1,000 /s', '0 ms', '1'])
})

test('a shell takes an address as it is and quotes anything else', () => {
  assert.deepEqual(['10.0.0.1:20001', "a'; b"].map(quoted), ['10.0.0.1:20001', "'a'\\''; b'"])
})

test('events are read however the text is cut', () => {
  const text = 'event: a\ndata: {"b":1}\n\nevent: c\ndata: [2]\n\n'
  for (let size = 1; size < text.length; size++) {
    const parser = new Parser()
    const events = []
    for (let at = 0; at < text.length; at += size) events.push(...parser.read(text.slice(at, at + size)))
    assert.deepEqual(events, [{ name: 'a', value: { b: 1 } }, { name: 'c', value: [2] }])
  }
})

test('distances are logarithms of the XOR', () => {
  assert.equal(distance(ID, ID), 0)
  assert.equal(distance(ID, '0'.repeat(40)), 159)
  assert.equal(distance('0'.repeat(39) + '1', '0'.repeat(40)), 0)
  assert.ok(distance('f'.repeat(40), '0'.repeat(40)) > 159.9)
})

test('rates are differences of counts over the time of the grape', () => {
  const model = new Model()
  for (const uptime of [5, 6, 8]) model.take('snapshot', snapshot(uptime), 0)
  assert.deepEqual(model.samples.map(({ at, calls, queriesIn }) => [at, calls, queriesIn]), [[0, 10, 1], [2, 10, 1]])
})

test('ten minutes are kept', () => {
  const model = new Model()
  for (let uptime = 0; uptime < 1000; uptime++) model.take('snapshot', snapshot(uptime), 0)
  assert.equal(model.samples.length, 601)
})

test('rows are changed, removed and begun anew', () => {
  const model = new Model()
  const rows = [['61', 'a', 1, [['h:1', 2]]], ['62', 'b', 1, []]]
  model.take('services', { is_whole: true, rows, gone: [], total: 2 }, 0)
  model.take('services', { is_whole: false, rows: [['61', 'a', 7, []]], gone: ['62'], total: 1 }, 0)
  assert.deepEqual(model.sortedServices(), [{ key: '61', name: 'a', count: 7, peers: [] }])
  model.take('services', { is_whole: true, rows: [], gone: [], total: 0 }, 0)
  assert.deepEqual(model.sortedServices(), [])
})

test('a restart is seen, also when the grape has run no longer before it', () => {
  const model = new Model()
  model.take('snapshot', snapshot(100), 1)
  model.lose('', 2)
  assert.equal(verdict(model)[1], 'Not reachable')
  model.take('snapshot', snapshot(101, {}, 2), 3)
  assert.equal(model.restartedAt, 3)
  assert.equal(model.samples.length, 0)
  assert.equal(verdict(model)[1], 'Well')
})

test('each state has its word', () => {
  const words = ['ready', 'joining', 'isolated', 'degraded', 'stopping'].map((status) => {
    const model = new Model()
    model.take('snapshot', snapshot(1, { readiness: { status, checks: [] } }), 0)
    return verdict(model)[1]
  })
  assert.deepEqual(words, ['Well', 'Joining', 'Isolated', 'Degraded', 'Stopping'])
  const alone = new Model()
  alone.take('snapshot', snapshot(1, { contacts: { good: 0, questionable: 0 } }), 0)
  assert.equal(verdict(alone)[1], 'Alone')
  const isolated = new Model()
  isolated.take('snapshot', snapshot(1, { readiness: { status: 'isolated', is_ready: true, checks: [] } }), 0)
  assert.match(verdict(isolated)[2], /--ready-isolated/)
  for (const [reason, word] of [['stopping', 'Stopped'], ['fault', 'Disconnected'], ['503 ERR_GRAPE_STREAMS', 'Too many pages']]) {
    alone.lose(reason, 5)
    assert.equal(verdict(alone)[1], word)
  }
})

test('charts are whole minutes wide and have gaps where nothing was measured', () => {
  assert.deepEqual([0, 59, 61, 700].map(span), [60, 60, 120, 600])
  assert.deepEqual([0, 0.3, 7, 20, 21].map(roundUp), [1, 0.5, 10, 20, 50])
  const points = [{ at: 0, value: 0 }, { at: 30, value: NaN }, { at: 60, value: 1 }]
  assert.equal(path(points, 1, 60), 'M0 55.0h0M300 1.0h0')
  assert.equal(path([], 1, 60), '')
})

test('plots have room for what is measured', () => {
  assert.deepEqual(scales([]), { nearest: 156, bottom: -4, top: -2 })
  const points = [{ bits: 140.2, roundTrip: 0.002 }, { bits: 159, roundTrip: 3 }, { bits: 158, roundTrip: null }]
  assert.deepEqual(scales(points), { nearest: 139, bottom: -3, top: 1 })
  assert.equal(medianRoundTrip(points), 3)
})

test('pages stay within the list', () => {
  assert.deepEqual([within(40, 20, 50), within(40, 20, 40), within(40, 20, 0)], [40, 20, 0])
})

test('a grape that knows no other says what to do', () => {
  const status = { readiness: { status: 'ready' }, dht_address: '127.0.0.1:20001', api_address: '127.0.0.1:30001' }
  const told = (changes, base = 'http://127.0.0.1:30001/') => advice({ ...status, ...changes }, new URL(base)).command
  assert.equal(told({}), 'grape -b 127.0.0.1 --dp 20002 --aph 30002 --bn 127.0.0.1:20001')
  const open = { dht_address: '0.0.0.0:20001', api_address: '[::]:30001' }
  assert.equal(told(open, 'http://localhost:30001/'), 'grape --dp 20002 --aph 30002 --bn localhost:20001')
  assert.equal(told(open, 'http://10.0.0.1:30001/'), 'grape --bn 10.0.0.1:20001')
  assert.equal(told(open, 'http://[fd00::1]:30001/'), 'grape --bn HOST:20001')
  assert.equal(told({ advertised: '10.0.0.9:20001' }), 'grape --bn 10.0.0.9:20001')
  assert.equal(told({ readiness: { status: 'isolated' } }), 'grape doctor --url http://127.0.0.1:30001')
  assert.equal(told({ readiness: { status: 'joining' } }), '')
})

test('values of items are shown as they are, or as JSON', () => {
  assert.deepEqual(['words', [1, 'a']].map(valueText), ['words', '[\n  1,\n  "a"\n]'])
})

test('steps of a lookup are told in words', () => {
  const step = { state: 'answered', asked_at: 0, answered_at: 0.001, error: null, peers: ['a'], seq: null, nodes: 3 }
  assert.equal(outcome(step), 'answered in 1.0 ms, 1 peer, named 3 nodes')
  assert.equal(outcome({ ...step, state: 'silent', answered_at: null, peers: [], nodes: 0 }), 'no answer in the usual time')
  assert.deepEqual(marks(1).length, 3)
})

test('a hash is judged before it is asked for', () => {
  assert.equal(problem('get', ID), '')
  assert.notEqual(problem('get', 'x'), '')
  assert.equal(problem('lookup', 'x'), '')
  assert.notEqual(problem('lookup', ''), '')
})
