#!/bin/bash
# Runs at the first start of compose's PostgreSQL: creates for each service a role, and a database to which no other
# role can connect. Passwords: <ROLE>_DB_PASSWORD, else /run/secrets/<role>_db_password.
set -o errexit -o nounset -o pipefail

for database in users_db products_db inventory_db orders_db payments_db notifications_db reviews_db; do
  role=${database%_db}
  given=${role^^}_DB_PASSWORD
  password=${!given:-$(cat "/run/secrets/${role}_db_password")}
  export PASSWORD=$password
  psql --quiet -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    -v role="$role" -v database="$database" <<'SQL'
\getenv password PASSWORD
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
done
