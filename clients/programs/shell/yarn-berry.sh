echo '{"name": "here", "private": true}' >package.json
touch yarn.lock
export YARN_NPM_REGISTRY_SERVER="$2/npm" YARN_NODE_LINKER=node-modules YARN_ENABLE_TELEMETRY=0
node "$CLIENTS/npm/node_modules/@yarnpkg/cli-dist/bin/yarn.js" add sandgate-sample
node -e 'require("sandgate-sample")'
