// An OpenID provider for tests: oidc-provider, with people who need no password, keys that rotate when
// they are told to, and security events, which it does not have by itself.
//
// Reads one JSON object from the environment variable PROVIDER: `port`, `control` (the port of what is
// not a provider's: /rotate, /event) and `clients`; `host`, by which people know it; whether it `conforms`,
// and tells an address and groups only where it is asked for them (UserInfo).

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

// The packages of tests/packages/package.json are looked for in target/proxies/node_modules.
const modules = new URL('../../target/proxies/node_modules/', import.meta.url);
const { SignJWT, importJWK } = await import(new URL('jose/dist/webapi/index.js', modules));
const memory = new URL('oidc-provider/lib/adapters/memory_adapter.js', modules);
const { default: MemoryAdapter } = await import(memory);
const { default: Provider } = await import(new URL('oidc-provider/lib/index.js', modules));

const { port, control, clients, host = '127.0.0.1', conforms = false } = JSON.parse(process.env.PROVIDER);
const issuer = `http://${host}:${port}`;

const newKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  alg: 'RS256',
  use: 'sig',
  kid: randomUUID(),
});

// Tokens are signed by the first.
let keys = [newKey()];

const provider = () =>
  new Provider(issuer, {
    clients,
    // What is stored there outlives a rotation, after which there is another provider.
    adapter: (model) => new MemoryAdapter(model),
    jwks: { keys },
    cookies: { keys: ['not a secret'] },
    features: { backchannelLogout: { enabled: true } },
    claims: { openid: ['sub', 'groups'], email: ['email'] },
    conformIdTokenClaims: conforms,
    ttl: { IdToken: 600, AccessToken: 600 },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, groups: id === 'root' ? ['staff', 'admins'] : ['staff'] }),
    }),
    // Nobody is asked whether the application may know them.
    loadExistingGrant: async (ctx) => {
      const { Grant } = ctx.oidc.provider;
      const id = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
      const grant =
        (id && (await Grant.find(id))) ||
        new Grant({
          clientId: ctx.oidc.client.clientId,
          accountId: ctx.oidc.session.accountId,
        });
      grant.addOIDCScope('openid email offline_access');
      await grant.save();
      return grant;
    },
    issueRefreshToken: () => true,
    // Those whom it tells of a logout are on this machine, which it would not ask.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  });

let current = provider();
const listen = (callback, at) => createServer(callback).listen(at, '127.0.0.1');
listen((request, response) => current.callback()(request, response), port);

// GET /rotate: signs by another key; the one before stays in the set.
// GET /rotate?alone: and is taken out of it.
// GET /event?aud=…&sid=… or &sub=…: a security event that tells of a revoked session.
const actions = {
  '/rotate': async (query) => {
    keys = [newKey(), ...(query.has('alone') ? [] : keys)];
    current = provider();
    return keys[0].kid;
  },
  '/event': async (query) => {
    const subject = query.has('sid')
      ? { format: 'opaque', id: query.get('sid') }
      : { format: 'iss_sub', iss: issuer, sub: query.get('sub') };
    const type = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked';
    return new SignJWT({ sub_id: subject, events: { [type]: {} } })
      .setProtectedHeader({ alg: 'RS256', kid: keys[0].kid, typ: 'secevent+jwt' })
      .setIssuer(issuer)
      .setAudience(query.get('aud'))
      .setJti(randomUUID())
      .setIssuedAt()
      .sign(await importJWK(keys[0], 'RS256'));
  },
};
listen(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, issuer);
  response.end(await actions[pathname](searchParams));
}, control);
