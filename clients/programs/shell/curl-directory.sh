# The CA alone, in a directory whose names are digests, beside the roots that are compiled in.
mkdir roots
ln -s "$NODE_EXTRA_CA_CERTS" "roots/$(openssl x509 -in "$NODE_EXTRA_CA_CERTS" -noout -subject_hash).0"
unset SSL_CERT_FILE CURL_CA_BUNDLE
export SSL_CERT_DIR="$PWD/roots"
. "$(dirname "$0")/curl.sh"
