// Records the WebSockets of an idle JupyterLab in a real browser, with a notebook and a terminal.

import { spawn } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { frame, record, write } from './record.mjs'

const [directory, jupyter] = process.argv.slice(2)
const idleMs = Number(process.env.IDLE_SECONDS ?? 75) * 1000
const home = mkdtempSync(join(tmpdir(), 'jupyter-'))
writeFileSync(join(home, 'a.ipynb'), JSON.stringify({ cells: [{ cell_type: 'code', id: 'a', source: '6*7', metadata: {}, outputs: [], execution_count: null }], metadata: { kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' } }, nbformat: 4, nbformat_minor: 5 }))
const port = 8899
const server = spawn(jupyter, ['lab', '--no-browser', '--allow-root', `--port=${port}`, '--expose-app-in-browser', '--ServerApp.token=', '--ServerApp.disable_check_xsrf=True', '--ServerApp.allow_origin=*', '--LabApp.news_url=', `--ServerApp.root_dir=${home}`], { env: { ...process.env, HOME: home }, stdio: ['ignore', 'ignore', 'inherit'] })
process.on('exit', () => server.kill())
for (let i = 0; i < 100; i++) {
  if (await fetch(`http://127.0.0.1:${port}/api`).then(it => it.ok, () => false)) break
  await sleep(300)
}
const kinds = [
  [/globalAwareness/, 'jupyter-people'],
  [/collaboration\/room/, 'jupyter-notebook'],
  [/kernels\/[^/]*\/channels/, 'jupyter-kernel'],
  [/terminals\/websocket/, 'jupyter-terminal'],
]
const start = Date.now()
let phase = 'connect'
const traces = new Map()
const relay = await record(port, (from, path, opcode, data) => {
  if (from !== 'client') return
  const kind = kinds.find(([pattern]) => pattern.test(path))?.[1]
  if (!kind) return
  if (!traces.has(kind)) traces.set(kind, [])
  traces.get(kind).push({ phase, ...frame(start, opcode, data) })
})
const chromium = spawn('chromium', ['--headless=new', '--no-sandbox', '--remote-debugging-port=9333', `--user-data-dir=${home}/chromium`, '--window-size=1400,900', 'about:blank'], { stdio: 'ignore' })
process.on('exit', () => chromium.kill())
let page
for (let i = 0; i < 100 && !page; i++) {
  await sleep(300)
  page = await fetch('http://127.0.0.1:9333/json').then(it => it.json()).then(all => all.find(it => it.type === 'page'), () => undefined)
}
const devtools = new WebSocket(page.webSocketDebuggerUrl, { perMessageDeflate: false })
await new Promise(resolve => devtools.once('open', resolve))
let id = 0
const call = (method, params = {}) => new Promise(resolve => {
  const mine = ++id
  const listener = data => { const it = JSON.parse(data); if (it.id === mine) { devtools.off('message', listener); resolve(it.result ?? it.error) } }
  devtools.on('message', listener)
  devtools.send(JSON.stringify({ id: mine, method, params }))
})
const evaluate = expression => call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
await call('Page.enable')
await call('Page.navigate', { url: `http://127.0.0.1:${relay}/lab/tree/a.ipynb` })
for (let i = 0; i < 60; i++) {
  const { result } = await evaluate('!!(window.jupyterapp && document.querySelector(".jp-Notebook"))')
  if (result?.value) break
  await sleep(500)
}
await sleep(4000)
console.log(await evaluate('window.jupyterapp.commands.execute("terminal:create-new").then(() => "terminal")'))
await sleep(6000)
phase = 'idle'
await sleep(idleMs)
phase = 'active'
await call('Input.insertText', { text: 'ls' })
console.log(await evaluate(`(async () => { const app = window.jupyterapp; const it = [...app.shell.widgets('main')]; app.shell.activateById(it.find(w => w.id.includes('notebook') || w.content?.model?.cells)?.id ?? it[0].id); await app.commands.execute('notebook:run-cell'); return it.map(w => w.id) })()`))
await sleep(2500)
mkdirSync(directory, { recursive: true })
const version = name => execFileSync(join(dirname(jupyter), 'python'), ['-c', `import importlib.metadata as m; print(m.version("${name}"))`]).toString().trim()
const client = `jupyterlab ${version('jupyterlab')}, jupyter-collaboration ${version('jupyter-collaboration')}`
for (const [application, frames] of traces) {
  write(directory, { application, preset: 'jupyter', client, server: client, idle_seconds: idleMs / 1000, frames })
}
process.exit()
