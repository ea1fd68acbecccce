// The configuration of server and worker, as Medusa's guide to deployment advises: events, workflows, locks and the
// cache in Redis, and the processes apart. The administration is not served.
const { defineConfig } = require('@medusajs/framework/utils');

const redisUrl = process.env.REDIS_URL;
const ownOrigin = 'http://127.0.0.1';

const redisProvider = (module) => ({
  resolve: `@medusajs/medusa/${module}`,
  options: {
    providers: [{ resolve: `@medusajs/${module}-redis`, id: `${module}-redis`, is_default: true, options: { redisUrl } }],
  },
});

module.exports = defineConfig({
  admin: { disable: true },
  featureFlags: { caching: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { pool: { min: 2, max: 20 } },
    redisUrl,
    workerMode: process.env.WORKER_MODE,
    http: {
      storeCors: ownOrigin,
      adminCors: ownOrigin,
      authCors: ownOrigin,
      jwtSecret: process.env.JWT_SECRET,
      cookieSecret: process.env.COOKIE_SECRET,
    },
  },
  modules: [
    redisProvider('caching'),
    redisProvider('locking'),
    { resolve: '@medusajs/medusa/event-bus-redis', options: { redisUrl } },
    { resolve: '@medusajs/medusa/workflow-engine-redis', options: { redis: { redisUrl } } },
  ],
});
