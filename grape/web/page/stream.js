/**
 * Reads the grape's server-sent events by fetch, which unlike EventSource tells why a request was refused.
 */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 4000;
/** The grape tells something each second; after so many milliseconds of silence the connection is given up. */
const SILENCE = 10000;

/** Splits the text of a stream into events. */
export class Parser {
  #rest = "";

  /**
   * Returns the events that are whole now that some more text has come.
   * @param {string} text
   * @returns {{name: string, value: any}[]}
   */
  read(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(parse).filter((event) => event !== null);
  }
}

function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { name, value: JSON.parse(data.join("\n")) } : null;
}

/**
 * Follows the events for ever, over as many connections as that takes.
 * @param {URL} url
 * @param {(name: string, value: any) => void} take called with each event
 * @param {(reason: string) => void} lost called when a connection has ended or failed; "" if nobody says why
 */
export async function follow(url, take, lost) {
  let pause = FIRST_PAUSE;
  for (;;) {
    let reason = "";
    try {
      await readOnce(url, (name, value) => {
        pause = FIRST_PAUSE;
        take(name, value);
      });
    } catch (error) {
      reason = error instanceof Refused ? error.message : "";
    }
    lost(reason);
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

class Refused extends Error {}

function taken(take, event) {
  try {
    take(event.name, event.value);
  } catch (error) {
    // A fault of the page, which would look like a lost connection.
    reportError(error);
    throw error;
  }
}

async function readOnce(url, take) {
  const aborted = new AbortController();
  let timer = setTimeout(() => aborted.abort(), SILENCE);
  try {
    const answer = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      signal: aborted.signal,
      cache: "no-store",
    });
    if (!answer.ok || !answer.body) throw new Refused(`${answer.status} ${(await answer.text()).slice(0, 200)}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => aborted.abort(), SILENCE);
      for (const event of parser.read(value)) taken(take, event);
    }
  } finally {
    clearTimeout(timer);
    aborted.abort();
  }
}
