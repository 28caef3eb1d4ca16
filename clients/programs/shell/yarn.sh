echo '{"private": true}' >package.json
node "$CLIENTS/npm/node_modules/yarn/bin/yarn.js" --silent add --registry "$2/npm/" sandgate-sample
node -e 'require("sandgate-sample")'
