#!/bin/sh
# One database and one role for each password file, named as the file; nobody else may enter the database.
# The image runs it when the cluster is made; run it again after a service came or a password was changed.
#   PASSWORDS     folder of the files (superuser is left out); psql's own variables say where and as whom
set -eu

for file in "${PASSWORDS:-/run/postgres-passwords}"/*; do
    ROLE=$(basename "$file")
    [ "$ROLE" != superuser ] || continue
    export ROLE FILE="$file"
    # The password is read by psql: arguments are seen by every process.
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set role `printf %s "$ROLE"`
\set password `cat "$FILE"`
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'role', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'role') \gexec
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
