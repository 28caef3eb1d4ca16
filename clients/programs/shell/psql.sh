host=${2#https://}
PGCONNECT_TIMEOUT=5 psql "host=$host dbname=sample user=sample sslmode=disable" --command 'select 1'
