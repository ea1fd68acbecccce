#!/bin/bash
# Gives compose's PostgreSQL, for each service: its owner, a database to which only these two can connect, and the role
# that the service runs as, which the migration grants its privileges. Runs whenever the shop starts: creates what is
# missing, and sets the passwords: <DATABASE>_DB_PASSWORD of the owner, <DATABASE>_RUNTIME_PASSWORD of the service's
# role, POSTGRES_PASSWORD of the superuser, else the files /run/secrets/<the same in lower case>.
set -o errexit -o nounset -o pipefail

main() {
  local name
  PGPASSWORD=$(secret POSTGRES_PASSWORD)
  export PGPASSWORD PGHOST=${PGHOST:-postgres} PGUSER=${PGUSER:-postgres} PGDATABASE=postgres
  for name in users products inventory orders payments notifications reviews; do
    OWNER_PASSWORD=$(secret "${name^^}_DB_PASSWORD")
    RUNTIME_PASSWORD=$(secret "${name^^}_RUNTIME_PASSWORD")
    export OWNER_PASSWORD RUNTIME_PASSWORD
    create "$name"
  done
}

secret() { # variable
  local file=/run/secrets/${1,,} value=${!1:-}
  [[ -n $value || ! -e $file ]] || value=$(<"$file")
  if [[ -z $value ]]; then
    echo "$1 is not set: run hack/compose/compose up or hack/compose/compose secrets, which add missing passwords" >&2
    return 1
  fi
  echo "$value"
}

create() { # name
  psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v owner="$1" -v runtime="$1_runtime" -v database="$1_db" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv runtime_password RUNTIME_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', role) FROM unnest(ARRAY[:'owner', :'runtime']) role
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"owner" PASSWORD :'owner_password';
ALTER ROLE :"runtime" PASSWORD :'runtime_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
}

main
