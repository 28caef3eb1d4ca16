# The CA in Debian's own store, as root in the container would put it there, and no variable that names it. The machine's own
# store is left alone.
mkdir local
cp -a /etc/ssl/certs certs
mount --bind certs /etc/ssl/certs
mount --bind local /usr/local/share/ca-certificates
cp "$NODE_EXTRA_CA_CERTS" /usr/local/share/ca-certificates/sandgate.crt
update-ca-certificates >/dev/null 2>&1
unset SSL_CERT_FILE CURL_CA_BUNDLE
. "$(dirname "$0")/curl.sh"
