// Creates the shop and its catalogue: medusa exec ./seed.js <catalogue in JSON> <file for the ids in JSON>.
const fs = require('node:fs');
const { ContainerRegistrationKeys, Modules, ProductStatus } = require('@medusajs/framework/utils');
const {
  createApiKeysWorkflow, createInventoryLevelsWorkflow, createProductCategoriesWorkflow, createProductsWorkflow,
  createRegionsWorkflow, createSalesChannelsWorkflow, createShippingOptionsWorkflow, createShippingProfilesWorkflow,
  createStockLocationsWorkflow, createTaxRegionsWorkflow, linkSalesChannelsToApiKeyWorkflow,
  linkSalesChannelsToStockLocationWorkflow, updateStoresWorkflow,
} = require('@medusajs/medusa/core-flows');

const COUNTRY = 'gb';
const CURRENCY = 'eur';
const BATCH = 30;

exports.default = async function seed({ container, args: [catalogueFile, idsFile] }) {
  const catalogue = JSON.parse(fs.readFileSync(catalogueFile, 'utf8'));
  const run = async (workflow, input) => (await workflow(container).run({ input })).result;
  const link = container.resolve(ContainerRegistrationKeys.LINK);

  const [channel] = await run(createSalesChannelsWorkflow, { salesChannelsData: [{ name: 'Shop' }] });
  const [key] = await run(createApiKeysWorkflow, {
    api_keys: [{ title: 'Shop', type: 'publishable', created_by: '' }],
  });
  await run(linkSalesChannelsToApiKeyWorkflow, { id: key.id, add: [channel.id] });
  const [store] = await container.resolve(Modules.STORE).listStores();
  await run(updateStoresWorkflow, {
    selector: { id: store.id },
    update: {
      default_sales_channel_id: channel.id,
      supported_currencies: [{ currency_code: CURRENCY, is_default: true }],
    },
  });
  const [region] = await run(createRegionsWorkflow, {
    regions: [{ name: 'Shop', currency_code: CURRENCY, countries: [COUNTRY], payment_providers: ['pp_system_default'] }],
  });
  await run(createTaxRegionsWorkflow, [{ country_code: COUNTRY, provider_id: 'tp_system' }]);
  const [location] = await run(createStockLocationsWorkflow, {
    locations: [{ name: 'Warehouse', address: { city: 'London', country_code: COUNTRY, address_1: '' } }],
  });
  await run(linkSalesChannelsToStockLocationWorkflow, { id: location.id, add: [channel.id] });
  const stock = { [Modules.STOCK_LOCATION]: { stock_location_id: location.id } };
  await link.create({ ...stock, [Modules.FULFILLMENT]: { fulfillment_provider_id: 'manual_manual' } });
  const [profile] = await run(createShippingProfilesWorkflow, { data: [{ name: 'Standard', type: 'default' }] });
  const fulfillment = await container.resolve(Modules.FULFILLMENT).createFulfillmentSets({
    name: 'Delivery',
    type: 'shipping',
    service_zones: [{ name: 'Delivery', geo_zones: [{ country_code: COUNTRY, type: 'country' }] }],
  });
  await link.create({ ...stock, [Modules.FULFILLMENT]: { fulfillment_set_id: fulfillment.id } });
  const [shipping] = await run(createShippingOptionsWorkflow, [{
    name: 'Standard',
    price_type: 'flat',
    provider_id: 'manual_manual',
    service_zone_id: fulfillment.service_zones[0].id,
    shipping_profile_id: profile.id,
    type: { label: 'Standard', description: 'Standard', code: 'standard' },
    prices: [{ currency_code: CURRENCY, amount: 0 }, { region_id: region.id, amount: 0 }],
  }]);
  const categories = await run(createProductCategoriesWorkflow, {
    product_categories: catalogue.departments.map((name) => ({ name, is_active: true })),
  });
  const categoryIds = Object.fromEntries(categories.map(({ name, id }) => [name, id]));
  const ids = new Map();
  for (let first = 0; first < catalogue.products.length; first += BATCH) {
    const products = await run(createProductsWorkflow, {
      products: catalogue.products.slice(first, first + BATCH).map((product) => ({
        title: product.name,
        handle: product.sku.toLowerCase(),
        description: product.description,
        status: ProductStatus.PUBLISHED,
        category_ids: [categoryIds[product.department]],
        shipping_profile_id: profile.id,
        sales_channels: [{ id: channel.id }],
        options: [{ title: 'Kind', values: ['Standard'] }],
        variants: [{
          title: 'Standard',
          sku: product.sku,
          options: { Kind: 'Standard' },
          prices: [{ currency_code: CURRENCY, amount: product.price }],
        }],
      })),
    });
    for (const { id, variants: [variant] } of products) ids.set(variant.sku, { product: id, variant: variant.id });
  }
  const stockOf = Object.fromEntries(catalogue.products.map(({ sku, stock: quantity }) => [sku, quantity]));
  const items = await container.resolve(Modules.INVENTORY).listInventoryItems({}, { take: catalogue.products.length });
  await run(createInventoryLevelsWorkflow, {
    inventory_levels: items.map(({ id, sku }) => ({
      inventory_item_id: id,
      location_id: location.id,
      stocked_quantity: stockOf[sku],
    })),
  });
  fs.writeFileSync(idsFile, JSON.stringify({
    key: key.token,
    region: region.id,
    shipping: shipping.id,
    categories: categories.map(({ id }) => id),
    products: Object.fromEntries(ids),
  }));
};
