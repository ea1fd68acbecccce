// Shoppers under load: they look around, look closer, and some of them buy. One scenario a run, chosen by SCENARIO:
//
//   smoke   one shopper, half a minute: does it work at all
//   load    a busy day: 10 visits a second for two minutes
//   stress  up in steps to 60 visits a second: where does it bend, and does it bend without breaking
//   spike   from 3 visits a second to 60 and back: does it come back
//   soak    5 visits a second for twelve minutes: does anything grow
//
// A visit is six requests or so. e2e/load/run starts it; a shop must be there and sell something (make run-all, make seed).
// Nothing but this machine is ever asked.

import { check, fail, sleep } from 'k6';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const URL = __ENV.SHOP_URL || 'http://127.0.0.1:8080';
const SCENARIO = __ENV.SCENARIO || 'smoke';
const API = `${URL}/api/v1`;
const SHOPPERS = 20; // under the shop's default limits each may write 12 times a second, and read 60 times

const shed = new Rate('shed'); // requests that the shop refused for the load, with 429 or 503
const faults = new Counter('faults'); // answers that nothing excuses: 5xx but 503, or another status than the request has
const orders = new Counter('orders');

const arrivals = (stages, startRate = 1, maxVUs = 120) => ({
  executor: 'ramping-arrival-rate', timeUnit: '1s', startRate, preAllocatedVUs: 20, maxVUs, stages, gracefulStop: '10s',
});
const SCENARIOS = {
  smoke: { executor: 'constant-vus', vus: 1, duration: '30s' },
  load: arrivals([{ target: 10, duration: '20s' }, { target: 10, duration: '100s' }]),
  stress: arrivals([10, 20, 30, 40, 50, 60].flatMap((target) => [{ target, duration: '5s' }, { target, duration: '20s' }])),
  spike: arrivals([
    { target: 3, duration: '20s' }, { target: 60, duration: '5s' }, { target: 60, duration: '15s' },
    { target: 3, duration: '5s' }, { target: 3, duration: '35s' },
  ], 3),
  soak: arrivals([{ target: 5, duration: '10s' }, { target: 5, duration: '12m' }]),
};
const BREAKS_NOTHING = { faults: ['count==0'] };
const SERVES_ALL = {
  ...BREAKS_NOTHING,
  shed: ['rate<0.001'],
  'http_req_duration{does:read}': ['p(95)<500'],
  'http_req_duration{does:buy}': ['p(95)<1500'],
};

if (!/^http:\/\/(127\.0\.0\.1|localhost)(:\d+)?$/.test(URL)) {
  throw new Error(`${URL} is not on this machine: write http://127.0.0.1:<port>`);
}
if (!(SCENARIO in SCENARIOS)) {
  throw new Error(`${SCENARIO} is no scenario: choose one of ${Object.keys(SCENARIOS).join(', ')}`);
}

export const options = {
  scenarios: { [SCENARIO]: SCENARIOS[SCENARIO] },
  thresholds: ['stress', 'spike'].includes(SCENARIO) ? BREAKS_NOTHING : SERVES_ALL,
  setupTimeout: '3m', // one address may register so many people a minute
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const found = http.get(`${API}/products?in_stock=true&sort=popular&limit=50`);
  if (found.status !== 200 || found.json('data').length === 0) {
    fail(`${URL} sells nothing (${found.status}): start a shop with make run-all, fill it with make seed`);
  }
  const products = found.json('data').map(({ id, name }) => ({ id, word: name.split(' ')[1] }));
  const count = SCENARIO === 'smoke' ? 1 : SHOPPERS;
  return { products, tokens: Array.from({ length: count }, register) };
}

function register() {
  const email = `load-${Date.now()}-${Math.random().toString(36).slice(2)}@example.com`;
  const answer = http.post(`${API}/auth/register`, JSON.stringify({ email, password: `load ${email}` }), {
    headers: { 'Content-Type': 'application/json' },
  });
  if (answer.status === 429) {
    sleep(Number(answer.headers['Retry-After']));
    return register();
  }
  if (answer.status !== 201) {
    fail(`a shopper cannot register: ${answer.status} ${answer.body}`);
  }
  return answer.json('data.access_token');
}

export default function visit({ products, tokens }) {
  const ask = asker(tokens[__VU % tokens.length]);
  const product = chosen(products);
  ask('read', 'GET', '/products?limit=20', 200);
  ask('read', 'GET', `/products?q=${encodeURIComponent(product.word)}&limit=20`, 200);
  ask('read', 'GET', `/products/${product.id}`, 200);
  ask('read', 'GET', `/products/${product.id}/recommendations`, 200);
  ask('read', 'GET', `/products/${product.id}/reviews`, 200);
  if (Math.random() < 0.25) {
    buy(ask, product.id);
  }
}

function buy(ask, product) {
  const order = ask('buy', 'POST', '/orders', 201, { items: [{ product_id: product, quantity: 1 }] }, 409);
  if (order === null) {
    return;
  }
  if (Math.random() < 0.5) { // gives the stock back, so that long runs have something to buy
    ask('buy', 'DELETE', `/orders/${order.id}`, 204);
    return;
  }
  const payment = { order_id: order.id, payment_method: 'pm_card_visa', confirm: true };
  if (Math.random() < 0.1) {
    ask('buy', 'POST', '/payments', 402, { ...payment, payment_method: 'pm_card_chargeDeclined' });
    return;
  }
  if (ask('buy', 'POST', '/payments', 201, payment) !== null) {
    orders.add(1);
    if (Math.random() < 0.1) { // thinks better of it, and is given the money back
      ask('buy', 'DELETE', `/orders/${order.id}`, 204);
    }
  }
}

// A function that sends a request as one shopper, and gives the answer's data, or null where there is none.
function asker(token) {
  return (does, method, path, expected, body = null, refused = expected) => {
    const answer = http.request(method, `${API}${path}`, body && JSON.stringify(body), {
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      tags: { does, name: path.replace(/[0-9a-f-]{36}|\d+(?=\/|$)/, '{id}').split('?')[0] },
    });
    const isShed = answer.status === 429 || answer.status === 503;
    const isRight = check(answer, { 'answered as it should be': ({ status }) => [expected, refused].includes(status) || isShed });
    shed.add(isShed);
    if (!isRight) {
      faults.add(1);
      console.error(`${method} ${path}: ${answer.status} ${answer.body || answer.error}`);
    }
    return answer.status === expected && answer.body ? answer.json('data') : null;
  };
}

function chosen(list) {
  return list[Math.floor(Math.random() * list.length)];
}
