npm install --no-audit --no-fund --registry "$2/npm/" sandgate-sample
node -e 'require("sandgate-sample")'
