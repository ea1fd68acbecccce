// Creates the schema and the catalogue: node seed.js <initial data in JSON> <products in CSV>. Ends when the search
// index has every variant.
const { bootstrap, JobQueueService, TransactionalConnection } = require('@vendure/core');
const { populate } = require('@vendure/core/cli');
const fs = require('node:fs');
const { config } = require('./config');

const POLL_MILLISECONDS = 500;
const ATTEMPTS = 240;

async function main([initialData, products]) {
  const app = await populate(startWithJobs, JSON.parse(fs.readFileSync(initialData, 'utf8')), products);
  await untilIndexed(app.get(TransactionalConnection).rawConnection);
  await app.close();
}

async function startWithJobs() {
  const app = await bootstrap(config);
  await app.get(JobQueueService).start();
  return app;
}

async function untilIndexed(connection) {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const [{ missing }] = await connection.query(
      'SELECT count(*)::int AS missing FROM product_variant WHERE "deletedAt" IS NULL'
        + ' AND id NOT IN (SELECT "productVariantId" FROM search_index_item WHERE "collectionSlugs" <> \'\')',
    );
    if (missing === 0) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  throw new Error('the search index lacks variants or their collections');
}

main(process.argv.slice(2)).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
