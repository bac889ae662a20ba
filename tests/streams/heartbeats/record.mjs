// Records what real client libraries send over an idle WebSocket. `scripts/record-heartbeats.sh` runs this program.
//
// Each application has its real client library. Its server is real too, or a short script that completes the
// handshake and sends the heartbeats of the server. A relay between both records all frames.

import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket, { WebSocketServer } from 'ws'

const require = createRequire(import.meta.url)
/** How long the clients are idle. The longest interval between two heartbeats of these clients is 30 seconds. */
const IDLE_MS = Number(process.env.IDLE_SECONDS ?? 75) * 1000
/** The time after the connection in which a client completes its handshakes. */
const CONNECT_MS = 4000

/** The version of an npm package. */
function version(name) {
  let directory = dirname(require.resolve(name))
  for (;;) {
    try {
      const { name: found, version } = JSON.parse(readFileSync(join(directory, 'package.json')))
      if (version) return `${found} ${version}`
    } catch { /* The file of the package is in a parent directory. */ }
    directory = dirname(directory)
  }
}

/** Starts an HTTP server on a free port, and returns the port. */
async function listen(server) {
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return server.address().port
}

/** Starts a WebSocket server that answers with this script, and returns its port. */
async function scripted(onConnection) {
  const http = createServer()
  const server = new WebSocketServer({ server: http, perMessageDeflate: false, handleProtocols: offered => [...offered][0] })
  server.on('connection', socket => onConnection(socket))
  return await listen(http)
}

/** Relays WebSockets and requests to `target`, and calls `onFrame` for each frame. Returns its port. */
export async function record(target, onFrame) {
  const http = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const body = chunks.length ? Buffer.concat(chunks) : undefined
    const headers = { ...request.headers }
    delete headers.connection
    delete headers['content-length']
    delete headers['transfer-encoding']
    delete headers.host
    try {
      const answer = await fetch(`http://127.0.0.1:${target}${request.url}`, { method: request.method, headers, body, redirect: 'manual' })
      const kept = Object.fromEntries([...answer.headers].filter(([name]) => !['content-encoding', 'content-length', 'transfer-encoding', 'connection'].includes(name)))
      response.writeHead(answer.status, kept)
      response.end(Buffer.from(await answer.arrayBuffer()))
    } catch (error) {
      response.writeHead(502).end(String(error))
    }
  })
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, handleProtocols: (offered, request) => request.chosen })
  http.on('upgrade', (request, socket, head) => {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(it => it.trim()).filter(Boolean)
    const headers = {}
    for (const name of ['cookie', 'authorization']) if (request.headers[name]) headers[name] = request.headers[name]
    const upstream = new WebSocket(`ws://127.0.0.1:${target}${request.url}`, offered, { perMessageDeflate: false, headers })
    const early = []
    let client
    const toClient = (data, binary, opcode) => {
      onFrame('server', request.url, opcode, data)
      if (opcode === 9) client.ping(data)
      else if (opcode === 10) client.pong(data)
      else client.send(data, { binary })
    }
    upstream.on('message', (data, binary) => client ? toClient(data, binary, binary ? 2 : 1) : early.push([data, binary]))
    upstream.on('ping', data => client && toClient(data, true, 9))
    upstream.on('error', () => socket.destroy())
    upstream.on('close', () => client ? client.close() : socket.destroy())
    upstream.on('open', () => {
      request.chosen = upstream.protocol || false
      server.handleUpgrade(request, socket, head, accepted => {
        client = accepted
        client.on('message', (data, binary) => {
          onFrame('client', request.url, binary ? 2 : 1, data)
          upstream.send(data, { binary })
        })
        client.on('ping', data => onFrame('client', request.url, 9, data))
        client.on('pong', data => onFrame('client', request.url, 10, data))
        client.on('close', () => upstream.close())
        early.forEach(([data, binary]) => toClient(data, binary, binary ? 2 : 1))
      })
    })
  })
  return await listen(http)
}

/** Sends a message to a server script at an interval, while the connection is open. */
function repeat(socket, seconds, message) {
  const timer = setInterval(() => socket.send(message), seconds * 1000)
  socket.on('close', () => clearInterval(timer))
}

const text = data => data.toString('utf8')

export const applications = {
  'socket.io-4': {
    preset: 'socket.io', client: () => version('socket.io-client'), server: () => version('socket.io'),
    async serve() {
      const http = createServer()
      const { Server } = require('socket.io')
      new Server(http).on('connection', socket => socket.on('say', () => {}))
      return await listen(http)
    },
    async connect(port) {
      const socket = require('socket.io-client').io(`http://127.0.0.1:${port}`, { transports: ['websocket'] })
      return () => socket.emit('say', 'hello')
    },
  },
  'socket.io-4-after-polling': {
    preset: 'socket.io', client: () => version('socket.io-client'), server: () => version('socket.io'),
    async serve() { return await applications['socket.io-4'].serve() },
    async connect(port) {
      const socket = require('socket.io-client').io(`http://127.0.0.1:${port}`)
      return () => socket.emit('say', 'hello')
    },
  },
  'socket.io-2': {
    preset: 'socket.io', client: () => version('socket.io-client-2'), server: () => version('socket.io-2'),
    async serve() {
      const http = createServer()
      require('socket.io-2')(http)
      return await listen(http)
    },
    async connect(port) {
      const socket = require('socket.io-client-2')(`http://127.0.0.1:${port}`, { transports: ['websocket'] })
      return () => socket.emit('say', 'hello')
    },
  },
  'engine.io': {
    preset: 'engine.io', client: () => version('engine.io-client'), server: () => version('engine.io'),
    async serve() {
      const http = createServer()
      require('engine.io').attach(http)
      return await listen(http)
    },
    async connect(port) {
      const { Socket } = require('engine.io-client')
      const socket = new Socket(`ws://127.0.0.1:${port}`, { transports: ['websocket'] })
      return () => socket.send('hello')
    },
  },
  'signalr-json': {
    preset: 'signalr', client: () => version('@microsoft/signalr'), server: () => 'script',
    serve: () => scripted(socket => {
      socket.once('message', () => socket.send('{}\x1e'))
      repeat(socket, 15, '{"type":6}\x1e')
    }),
    async connect(port) {
      const { HubConnectionBuilder, HttpTransportType, LogLevel } = require('@microsoft/signalr')
      const connection = new HubConnectionBuilder()
        .withUrl(`http://127.0.0.1:${port}/hub`, { skipNegotiation: true, transport: HttpTransportType.WebSockets })
        .configureLogging(LogLevel.None).build()
      await connection.start()
      return () => connection.send('Say', 'hello')
    },
  },
  'signalr-messagepack': {
    preset: 'signalr', client: () => `${version('@microsoft/signalr')}, ${version('@microsoft/signalr-protocol-msgpack')}`, server: () => 'script',
    serve: () => scripted(socket => {
      socket.once('message', () => socket.send(Buffer.from('{}\x1e')))
      repeat(socket, 15, Buffer.from([2, 0x91, 6]))
    }),
    async connect(port) {
      const { HubConnectionBuilder, HttpTransportType, LogLevel } = require('@microsoft/signalr')
      const { MessagePackHubProtocol } = require('@microsoft/signalr-protocol-msgpack')
      const connection = new HubConnectionBuilder()
        .withUrl(`http://127.0.0.1:${port}/hub`, { skipNegotiation: true, transport: HttpTransportType.WebSockets })
        .withHubProtocol(new MessagePackHubProtocol()).configureLogging(LogLevel.None).build()
      await connection.start()
      return () => connection.send('Say', 'hello')
    },
  },
  'phoenix-2': {
    preset: 'phoenix', client: () => version('phoenix'), server: () => 'script',
    serve: () => scripted(socket => socket.on('message', data => {
      const [join, ref, topic] = JSON.parse(text(data))
      socket.send(JSON.stringify([join, ref, topic, 'phx_reply', { status: 'ok', response: {} }]))
    })),
    connect: port => phoenix(port, {}),
  },
  'phoenix-1': {
    preset: 'phoenix', client: () => `${version('phoenix')} with the serializer of version 1`, server: () => 'script',
    serve: () => scripted(socket => socket.on('message', data => {
      const { topic, ref } = JSON.parse(text(data))
      socket.send(JSON.stringify({ topic, event: 'phx_reply', ref, payload: { status: 'ok', response: {} } }))
    })),
    connect: port => phoenix(port, {
      vsn: '1.0.0',
      encode: ({ topic, event, payload, ref }, done) => done(JSON.stringify({ topic, event, payload, ref })),
      decode: (raw, done) => done({ join_ref: null, ...JSON.parse(raw) }),
    }),
  },
  'graphql-ws': {
    preset: 'graphql-ws', client: () => version('graphql-ws'), server: () => version('graphql-ws'),
    async serve() {
      const { useServer } = await import('graphql-ws/use/ws')
      const http = createServer()
      const server = new WebSocketServer({ server: http, path: '/graphql', perMessageDeflate: false })
      const { buildSchema } = require('graphql')
      const schema = buildSchema('type Query { hello: String } type Subscription { never: String }')
      useServer({ schema, subscribe: () => (async function* () { await new Promise(() => {}) })() }, server)
      return await listen(http)
    },
    async connect(port) {
      const { createClient } = require('graphql-ws')
      const client = createClient({ url: `ws://127.0.0.1:${port}/graphql`, lazy: false, keepAlive: 10_000 })
      client.subscribe({ query: 'subscription { never }' }, { next() {}, error() {}, complete() {} })
      return () => client.subscribe({ query: '{ hello }' }, { next() {}, error() {}, complete() {} })
    },
  },
  'subscriptions-transport-ws': {
    preset: 'graphql-ws', client: () => version('subscriptions-transport-ws'), server: () => 'script',
    serve: () => scripted(socket => {
      socket.on('message', data => JSON.parse(text(data)).type === 'connection_init' && socket.send('{"type":"connection_ack"}'))
      repeat(socket, 10, '{"type":"ka"}')
    }),
    async connect(port) {
      const { SubscriptionClient } = require('subscriptions-transport-ws')
      const client = new SubscriptionClient(`ws://127.0.0.1:${port}/graphql`, { reconnect: true }, WebSocket)
      return () => client.request({ query: '{ hello }' }).subscribe({})
    },
  },
  stomp: {
    preset: 'stomp', client: () => version('@stomp/stompjs'), server: () => 'script',
    serve: () => scripted(socket => {
      socket.once('message', () => socket.send('CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n\0'))
      repeat(socket, 10, '\n')
    }),
    async connect(port) {
      const { Client } = require('@stomp/stompjs')
      const client = new Client({ brokerURL: `ws://127.0.0.1:${port}/stomp`, webSocketFactory: () => new WebSocket(`ws://127.0.0.1:${port}/stomp`, 'v12.stomp') })
      client.activate()
      return () => client.publish({ destination: '/queue/a', body: 'hello' })
    },
  },
  mqtt: {
    preset: 'mqtt', client: () => `${version('mqtt')} with keepalive 20 s`, server: () => version('aedes'),
    async serve() {
      const broker = require('aedes')()
      const http = createServer()
      const server = new WebSocketServer({ server: http, perMessageDeflate: false, handleProtocols: offered => [...offered][0] })
      server.on('connection', (socket, request) => broker.handle(WebSocket.createWebSocketStream(socket), request))
      return await listen(http)
    },
    async connect(port) {
      const client = require('mqtt').connect(`ws://127.0.0.1:${port}/mqtt`, { keepalive: 20 })
      return () => client.publish('a', 'hello')
    },
  },
  centrifuge: {
    preset: 'centrifuge', client: () => version('centrifuge'), server: () => 'script',
    serve: () => scripted(socket => {
      socket.once('message', data => {
        const { id } = JSON.parse(text(data))
        socket.send(JSON.stringify({ id, connect: { client: 'c', version: '1', ping: 25, pong: true } }))
      })
      repeat(socket, 25, '{}')
    }),
    async connect(port) {
      const { Centrifuge } = require('centrifuge')
      const client = new Centrifuge(`ws://127.0.0.1:${port}/connection/websocket`, { websocket: WebSocket })
      client.connect()
      return () => client.send({ text: 'hello' })
    },
  },
  pusher: {
    preset: 'pusher', client: () => `${version('pusher-js')} with activity timeout 20 s`, server: () => 'script',
    serve: () => scripted(socket => {
      socket.send(JSON.stringify({ event: 'pusher:connection_established', data: JSON.stringify({ socket_id: '1.1', activity_timeout: 20 }) }))
      socket.on('message', data => {
        if (JSON.parse(text(data)).event === 'pusher:ping') socket.send('{"event":"pusher:pong","data":{}}')
      })
      // The server may ask too. The client answers with a pong.
      repeat(socket, 47, '{"event":"pusher:ping","data":{}}')
    }),
    async connect(port) {
      const Pusher = require('pusher-js')
      const client = new Pusher('key', { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true })
      return () => client.send_event('client-say', { text: 'hello' }, 'private-a')
    },
  },
  ddp: {
    preset: 'ddp', client: () => version('simpleddp'), server: () => 'script',
    serve: () => scripted(socket => {
      socket.once('message', () => socket.send('{"msg":"connected","session":"s"}'))
      repeat(socket, 15, '{"msg":"ping"}')
    }),
    async connect(port) {
      const { default: Client } = await import('simpleddp')
      const client = new (Client.default ?? Client)({ endpoint: `ws://127.0.0.1:${port}/websocket`, SocketConstructor: WebSocket, reconnectInterval: 5000 })
      return () => { client.call('say', 'hello').catch(() => {}) }
    },
  },
  yjs: {
    preset: 'yjs', client: () => version('y-websocket'), server: () => 'script',
    serve: () => scripted(socket => socket.on('message', data => {
      // The type 1 is the state of a person, which the server sends to all others.
      if (data[0] === 1) socket.send(data)
    })),
    async connect(port) {
      const Y = require('yjs')
      const { WebsocketProvider } = require('y-websocket')
      const document = new Y.Doc()
      const provider = new WebsocketProvider(`ws://127.0.0.1:${port}`, 'room', document, { WebSocketPolyfill: WebSocket, disableBc: true })
      provider.awareness.setLocalStateField('user', { color: '#30bced' })
      return () => document.getText('a').insert(0, 'hello')
    },
  },
}

async function phoenix(port, options) {
  globalThis.WebSocket ??= WebSocket
  const { Socket } = require('phoenix')
  const socket = new Socket(`ws://127.0.0.1:${port}/socket`, { transport: WebSocket, ...options })
  socket.connect()
  const channel = socket.channel('room:lobby', {})
  channel.join()
  return () => channel.push('say', { text: 'hello' })
}

/** A frame in the form of the trace: the payload as text if it is UTF-8, otherwise as hexadecimal digits. */
export function frame(start, opcode, data) {
  const payload = opcode === 1 ? { text: text(data) } : { hex: Buffer.from(data).toString('hex') }
  return { at_ms: Date.now() - start, opcode, ...payload }
}

/** Writes a trace, one frame a line, and prints a summary. */
export function write(directory, { frames, ...head }) {
  const lines = frames.map(it => `    ${JSON.stringify(it)}`).join(',\n')
  const start = JSON.stringify(head, null, 2).replace(/\n}$/, '')
  writeFileSync(join(directory, `${head.application}.json`), `${start},\n  "frames": [\n${lines}\n  ]\n}\n`)
  const count = phase => frames.filter(it => it.phase === phase).length
  console.log(`${head.application}: ${count('connect')} frames at the start, ${count('idle')} while idle, ${count('active')} for one action`)
}

/** Records one application, and returns its trace. */
async function trace(name, { preset, client, server, serve, connect }) {
  const frames = []
  let phase = 'connect'
  const start = Date.now()
  const port = await record(await serve(), (from, path, opcode, data) => {
    if (from === 'client') frames.push({ phase, ...frame(start, opcode, data) })
  })
  const act = await connect(port)
  await sleep(CONNECT_MS)
  phase = 'idle'
  await sleep(IDLE_MS)
  phase = 'active'
  act()
  await sleep(1500)
  return { application: name, preset, client: client(), server: server(), idle_seconds: IDLE_MS / 1000, frames: [...frames] }
}

if (import.meta.main) {
  const directory = process.argv[2]
  const only = process.argv.slice(3)
  mkdirSync(directory, { recursive: true })
  process.on('uncaughtException', error => console.error('uncaught', error))
  process.on('unhandledRejection', error => console.error('unhandled', error))
  const wanted = Object.entries(applications).filter(([name]) => only.length === 0 || only.includes(name))
  await Promise.all(wanted.map(async ([name, application]) => {
    const result = await trace(name, application).catch(error => { console.error(name, error) })
    if (!result) { process.exitCode = 1; return }
    write(directory, result)
  }))
  process.exit()
}
