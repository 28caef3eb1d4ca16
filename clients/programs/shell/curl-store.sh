# No variable names the CA: the bundle lies over Debian's own, as a volume mount with subPath would put it there.
mount --bind "$SSL_CERT_FILE" /etc/ssl/certs/ca-certificates.crt
unset SSL_CERT_FILE CURL_CA_BUNDLE
. "$(dirname "$0")/curl.sh"
