// The configuration of server and worker, as Vendure's guides to deployment and scaling advise: no schema
// synchronization, jobs in Redis by BullMQ, the Redis cache, and a search index that jobs keep current.
const {
  DefaultLogger, DefaultSearchPlugin, LogLevel, RedisCachePlugin, dummyPaymentHandler,
} = require('@vendure/core');
const { BullMQJobQueuePlugin } = require('@vendure/job-queue-plugin/package/bullmq');

const redis = {
  host: process.env.REDIS_HOST,
  port: Number(process.env.REDIS_PORT),
  db: Number(process.env.REDIS_DATABASE),
  maxRetriesPerRequest: null,
};

exports.config = {
  apiOptions: {
    hostname: '127.0.0.1',
    port: Number(process.env.PORT),
    shopApiPath: 'shop-api',
    adminApiPath: 'admin-api',
    shopApiPlayground: false,
    adminApiPlayground: false,
  },
  authOptions: {
    tokenMethod: 'bearer',
    requireVerification: false,
    superadminCredentials: { identifier: 'superadmin', password: process.env.ADMIN_PASSWORD },
  },
  dbConnectionOptions: {
    type: 'postgres',
    url: process.env.DATABASE_URL,
    synchronize: process.env.SYNCHRONIZE === 'true',
    migrationsRun: false,
    logging: false,
    poolSize: 20,
  },
  logger: new DefaultLogger({ level: LogLevel.Warn, timestamp: false }),
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  plugins: [
    DefaultSearchPlugin.init({ bufferUpdates: false, indexStockStatus: true }),
    BullMQJobQueuePlugin.init({ connection: redis }),
    RedisCachePlugin.init({ redisOptions: redis }),
  ],
};
