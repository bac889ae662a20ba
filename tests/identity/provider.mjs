// An OpenID provider for tests, based on oidc-provider. People sign in without a password, and tests can rotate keys.
// The provider can also issue security events, which oidc-provider does not support.
//
// The client `curfew` gets a new refresh token with each refresh.
//
// The environment variable PROVIDER is a JSON object with these keys:
// - `port`: the port of the provider.
// - `control`: the port for the test controls below (/rotate, /event, /account, /unavailable, /stop-refresh-tokens,
//   /refreshes).
// - `clients`: the settings of the clients.
// - `host`: the public host name.
// - `conforms`: if true, only the UserInfo endpoint returns the email address and the groups.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

// The packages of tests/packages/package.json are in target/proxies/node_modules.
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

// The first key signs tokens.
let keys = [newKey()];

// For each person whose account a test has changed: the groups, or `disabled` for a disabled account.
const accounts = new Map();
const defaultGroups = (id) => (id === 'root' ? ['staff', 'admins'] : ['staff']);
// The numbers of granted and refused refreshes, and all issued refresh tokens.
const refreshes = { granted: 0, refused: 0, issued: [] };
let isUnavailable = false;
let givesRefreshTokens = true;

const createProvider = () => {
  const provider = new Provider(issuer, {
    clients,
    // A key rotation creates a new provider, but the content of this storage stays.
    adapter: (model) => new MemoryAdapter(model),
    jwks: { keys },
    cookies: { keys: ['not a secret'] },
    features: { backchannelLogout: { enabled: true } },
    claims: { openid: ['sub', 'groups'], email: ['email'] },
    conformIdTokenClaims: conforms,
    ttl: { IdToken: 600, AccessToken: 600 },
    findAccount: (_, id) => {
      const groups = accounts.get(id) ?? defaultGroups(id);
      if (groups === 'disabled') return undefined;
      return { accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, groups }) };
    },
    // Grants access to applications without asking people for consent.
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
    issueRefreshToken: (_, client) => givesRefreshTokens && client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: (ctx) => ctx.oidc.client.clientId === 'curfew',
    // oidc-provider blocks requests to the local machine, but logout notices go there. So this line replaces its
    // `fetch`.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  });
  const isRefresh = (ctx) => ctx.oidc.params?.grant_type === 'refresh_token';
  provider.on('grant.success', (ctx) => {
    if (ctx.body.refresh_token) refreshes.issued.push(ctx.body.refresh_token);
    if (isRefresh(ctx)) refreshes.granted += 1;
  });
  provider.on('grant.error', (ctx) => {
    if (isRefresh(ctx)) refreshes.refused += 1;
  });
  return provider;
};

let currentProvider = createProvider();
const listen = (callback, at) => createServer(callback).listen(at, '127.0.0.1');
listen((request, response) => {
  if (isUnavailable) request.socket.destroy();
  else currentProvider.callback()(request, response);
}, port);

// GET /rotate: signs with a new key, and keeps the previous key in the set.
// GET /rotate?alone: signs with a new key, and removes the previous key from the set.
// GET /event?aud=…&sid=… or &sub=…: returns a security event for a revoked session.
// GET /account?id=…&groups=…: sets the groups of a person, separated by commas. `disabled` disables the account.
// GET /unavailable?true: closes all connections. GET /unavailable?false: accepts connections again.
// GET /stop-refresh-tokens: stops issuing refresh tokens.
// GET /refreshes: returns the numbers of refreshes, and all issued refresh tokens.
const actions = {
  '/account': async (query) => {
    const groups = query.get('groups');
    accounts.set(query.get('id'), groups === 'disabled' ? groups : groups.split(',').filter(Boolean));
    return '';
  },
  '/unavailable': async (query) => {
    isUnavailable = query.has('true');
    return '';
  },
  '/stop-refresh-tokens': async () => {
    givesRefreshTokens = false;
    return '';
  },
  '/refreshes': async () => JSON.stringify(refreshes),
  '/rotate': async (query) => {
    keys = [newKey(), ...(query.has('alone') ? [] : keys)];
    currentProvider = createProvider();
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
