'use strict'

// grenache-nodejs-base takes these two functions from a package that only a git address has.

const sample = list => list[Math.floor(Math.random() * list.length)]

const shuffle = list => {
  const shuffled = [...list]
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    ;[shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]]
  }
  return shuffled
}

module.exports = { sample, shuffle }
