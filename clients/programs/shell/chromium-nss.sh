mkdir -p "$HOME/.pki/nssdb"
certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n sandgate -i "$NODE_EXTRA_CA_CERTS"
. "$(dirname "$0")/chromium.sh"
