pnpm add --registry "$2/npm/" sandgate-sample
node -e 'require("sandgate-sample")'
